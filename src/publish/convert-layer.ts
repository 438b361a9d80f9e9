// One layer of the source as a layer of the published image: eStargz where a table of contents can express it, plain
// gzip where not. The new blob goes straight into the CAR; the source's digest and diffID are proven before.
import { SnapshotterError } from '../base/errors.ts'
import { PUBLISH_WRITE_BYTES } from '../base/limits.ts'
import { isGzip } from '../layer/gzip-members.ts'
import { ANNOTATION_CID, ANNOTATION_TOC_DIGEST, ANNOTATION_UNCOMPRESSED_SIZE } from '../oci/annotations.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { compressionOf, OCI_LAYER_GZIP } from '../oci/media-types.ts'
import type { Digest } from '../verify/digest.ts'
import type { ByteSource } from './byte-source.ts'
import { estargzStream, type EstargzFacts } from './estargz.ts'
import { type Compression, gzipMembers } from './gzip-members.ts'
import { planItems, planLayer } from './layer-plan.ts'
import { openLayerTar } from './layer-tar.ts'
import { currentAnnotations } from './documents.ts'
import type { AddedBlob, Layout } from './layout.ts'
import type { Report } from './report.ts'

export interface ConvertOptions extends Compression {
  readonly chunkBytes: number
  /** Cleaned paths of the files that go first. */
  readonly wanted: readonly string[]
  readonly spoolBeside: string
  readonly report: Report
  readonly signal?: AbortSignal | undefined
}

interface Advancing extends Compression { readonly advance: (bytes: number) => void }

export interface PublishedLayer {
  readonly mediaType: string
  readonly diffId: Digest
  readonly annotations: Readonly<Record<string, string>>
  readonly tocDigest: Digest | null
  readonly blob: AddedBlob
}

/** @throws UNSUPPORTED (zstd), DIGEST_MISMATCH, DIFFID_MISMATCH, LAYER_INVALID, LIMIT_EXCEEDED, MEDIA_TYPE_UNSUPPORTED */
export async function convertLayer (
  blob: ByteSource, descriptor: Descriptor, diffId: Digest, layout: Layout, options: ConvertOptions
): Promise<PublishedLayer> {
  const { digest, size, mediaType } = descriptor
  if (compressionOf(mediaType, `layer ${digest}`) === 'zstd') {
    throw new SnapshotterError('UNSUPPORTED',
      `layer ${digest} is compressed with zstd, which is not supported yet; recompress the image with gzip`)
  }
  const advance = (bytes: number): void => options.report({ event: 'advance', item: digest, bytes })
  options.report({ event: 'begin', item: digest, phase: 'read', total: size })
  const names = { digest, size, diffId, mediaType, signal: options.signal }
  const tar = await openLayerTar(blob, names, { spoolBeside: options.spoolBeside, advance })
  try {
    const plan = await planLayer(tar.source, options.wanted)
    options.report({ event: 'begin', item: digest, phase: 'convert', total: tar.source.size })
    if (plan.plain !== null) {
      options.report({ event: 'note', text: `layer ${digest} stays plain gzip, not lazy: ${plan.plain}` })
      return await plainLayer(blob, tar.source, descriptor, diffId, layout, { ...options, advance })
    }
    const facts: EstargzFacts = { diffId: null, tocDigest: null, uncompressedBytes: 0 }
    const added = await layout.add(estargzStream(tar.source, planItems(tar.source, plan), { ...options, advance }, facts))
    if (facts.diffId === null || facts.tocDigest === null) {
      throw new SnapshotterError('INTERNAL', `layer ${digest}: the writer ended without its digests`)
    }
    const annotations = {
      ...currentAnnotations(descriptor.annotations),
      [ANNOTATION_TOC_DIGEST]: facts.tocDigest,
      [ANNOTATION_UNCOMPRESSED_SIZE]: String(facts.uncompressedBytes),
      [ANNOTATION_CID]: added.file.cid.toString()
    }
    return { mediaType: OCI_LAYER_GZIP, diffId: facts.diffId, annotations, tocDigest: facts.tocDigest, blob: added }
  } finally {
    await tar.close()
  }
}

/** The gzip blob as it is; a tar without compression is compressed in pieces, its diffID stays. */
async function plainLayer (
  blob: ByteSource, tar: ByteSource, descriptor: Descriptor, diffId: Digest, layout: Layout, options: Advancing
): Promise<PublishedLayer> {
  const gzip = blob.size > 1 && isGzip(await blob.read(0, 2))
  const added = await layout.add(gzip ? blob.stream() : compressed(tar, options))
  const annotations = { ...currentAnnotations(descriptor.annotations), [ANNOTATION_CID]: added.file.cid.toString() }
  return { mediaType: OCI_LAYER_GZIP, diffId, annotations, tocDigest: null, blob: added }
}

async function * compressed (tar: ByteSource, options: Advancing): AsyncGenerator<Buffer> {
  for await (const piece of gzipMembers(pieces(tar), options)) {
    options.advance(piece.member.bytes.byteLength)
    yield piece.compressed
  }
}

async function * pieces (tar: ByteSource): AsyncGenerator<{ bytes: Buffer }> {
  for (let at = 0; at < tar.size; at += PUBLISH_WRITE_BYTES) {
    yield { bytes: await tar.read(at, Math.min(PUBLISH_WRITE_BYTES, tar.size - at)) }
  }
}
