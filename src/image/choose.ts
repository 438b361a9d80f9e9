// From an index to the one manifest that is meant: by the reference's digest if it has one, and for exactly one platform.
// Nothing is approximated: no match, several matches and deeper nesting are errors that say what there is.
import { SnapshotterError } from '../base/errors.ts'
import { NESTED_INDEXES_MAX } from '../base/limits.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { readIndex } from '../oci/index-document.ts'
import { isIndexType, isManifestType } from '../oci/media-types.ts'
import { formatPlatform, type Platform, samePlatform } from '../oci/platform.ts'
import type { Digest } from '../verify/digest.ts'
import type { BlobFinder } from './blob-finder.ts'
import { isArtifactDocument, openImage, type OpenedImage } from './opened-image.ts'
import type { VerifiedDocument } from './plan.ts'

export interface Choice {
  readonly index: VerifiedDocument
  readonly image: OpenedImage
}

interface Candidate {
  readonly index: VerifiedDocument
  readonly descriptor: Descriptor
}

export interface Wanted {
  readonly digest: Digest | null
  readonly platform: Platform
  /** `ipfs://<CID>` for messages. */
  readonly root: string
}

/** @throws PLATFORM_MISSING, DIGEST_MISMATCH, REF_INVALID (several images match), NOT_OCI, LIMIT_EXCEEDED … */
export async function chooseManifest (index: VerifiedDocument, wanted: Wanted, finder: BlobFinder): Promise<Choice> {
  const all = await candidates(index, wanted, finder)
  const pinned = pinnedCandidates(all, index, wanted)
  const images = distinct(pinned.filter(({ descriptor }) => descriptor.artifactType === null || descriptor.digest === wanted.digest))
  const stated = images.filter(({ descriptor }) => descriptor.platform !== null && samePlatform(descriptor.platform, wanted.platform))
  const unstated = images.filter(({ descriptor }) => descriptor.platform === null)
  const opened = await openAll(unstated, wanted, finder)
  const matching = opened.filter(({ image }) => samePlatform(image.platform, wanted.platform))

  const digests = [...stated.map(({ descriptor }) => descriptor.digest), ...matching.map(({ image }) => image.manifest.digest)]
  if (digests.length > 1) {
    throw new SnapshotterError('REF_INVALID', `${wanted.root} names ${digests.length} images for ${formatPlatform(wanted.platform)} ` +
      `(${digests.slice(0, 4).join(', ')}); add @sha256:<manifest digest>`)
  }
  const [candidate] = stated
  if (candidate !== undefined) {
    const document = await finder.document(candidate.descriptor, 'manifest')
    return { index: candidate.index, image: await openImage(document, candidate.descriptor.platform, wanted.root, finder) }
  }
  return matching[0] ?? refuseMissing(images, opened, wanted)
}

/** The entries of the index and of the indexes in it. */
async function candidates (index: VerifiedDocument, { root, digest }: Wanted, finder: BlobFinder): Promise<Candidate[]> {
  const entries = readIndex(index.bytes, index.mediaType, `index ${index.digest} of ${root}`).manifests
  const direct = entries.filter(({ mediaType }) => isManifestType(mediaType)).map((descriptor) => ({ index, descriptor }))
  const exact = direct.filter(({ descriptor }) => descriptor.digest === digest)
  if (exact.length > 0) return exact

  const nested = entries.filter(({ mediaType }) => isIndexType(mediaType))
  if (nested.length > NESTED_INDEXES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `index ${index.digest} of ${root} lists ${nested.length} indexes, limit ${NESTED_INDEXES_MAX}`)
  }
  const inner = await Promise.all(nested.map(async (descriptor) => nestedEntries(await finder.document(descriptor, 'index'), root)))
  return [...direct, ...inner.flat()]
}

function nestedEntries (index: VerifiedDocument, root: string): Candidate[] {
  const what = `index ${index.digest} of ${root}`
  const { manifests } = readIndex(index.bytes, index.mediaType, what)
  if (manifests.some(({ mediaType }) => isIndexType(mediaType))) {
    throw new SnapshotterError('NOT_OCI', `${what} lists another index; indexes may be nested once`)
  }
  return manifests.filter(({ mediaType }) => isManifestType(mediaType)).map((descriptor) => ({ index, descriptor }))
}

function pinnedCandidates (all: readonly Candidate[], index: VerifiedDocument, { digest, root }: Wanted): readonly Candidate[] {
  if (digest === null || digest === index.digest) return all
  const pinned = all.filter((candidate) => candidate.descriptor.digest === digest || candidate.index.digest === digest)
  if (pinned.length > 0) return pinned
  const there = all.slice(0, 4).map(({ descriptor }) => descriptor.digest).join(', ')
  throw new SnapshotterError('DIGEST_MISMATCH',
    `${root}: want ${digest}, the root names ${there === '' ? 'no image' : there}`, { want: digest })
}

/** One image may be listed under several tags. */
function distinct (all: readonly Candidate[]): Candidate[] {
  return [...new Map([...all].reverse().map((candidate) => [candidate.descriptor.digest, candidate])).values()].reverse()
}

/** Entries that state no platform: their configs do. Artifacts among them are passed over, unless one was asked for. */
async function openAll (unstated: readonly Candidate[], wanted: Wanted, finder: BlobFinder): Promise<Choice[]> {
  if (unstated.length > NESTED_INDEXES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `${wanted.root} lists ${unstated.length} manifests without a platform, limit ${NESTED_INDEXES_MAX}; add @sha256:<manifest digest>`)
  }
  const opened = await Promise.all(unstated.map(async ({ index, descriptor }) => {
    const document = await finder.document(descriptor, 'manifest')
    const skip = descriptor.digest !== wanted.digest && isArtifactDocument(document, wanted.root)
    return skip ? [] : [{ index, image: await openImage(document, null, wanted.root, finder) }]
  }))
  return opened.flat()
}

function refuseMissing (images: readonly Candidate[], opened: readonly Choice[], { platform, root }: Wanted): never {
  const there = [
    ...images.flatMap(({ descriptor }) => descriptor.platform === null ? [] : [formatPlatform(descriptor.platform)]),
    ...opened.map(({ image }) => formatPlatform(image.platform))
  ].filter((name) => name !== 'unknown/unknown')
  const list = there.length === 0 ? 'it lists no image' : `it has ${[...new Set(there)].sort().slice(0, 24).join(', ')}`
  throw new SnapshotterError('PLATFORM_MISSING', `${root}: no image for ${formatPlatform(platform)}; ${list}`)
}
