// One manifest out of many: by platform, by digest, never by chance.
import { describe, expect, test } from '@jest/globals'
import type { CID } from 'multiformats/cid'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { INDEX_MANIFESTS_MAX, NESTED_INDEXES_MAX } from '../../src/base/limits.ts'
import type { ImagePlan } from '../../src/image/plan.ts'
import { resolveImage } from '../../src/image/resolver.ts'
import { OCI_MANIFEST } from '../../src/oci/media-types.ts'
import { formatPlatform, hostPlatform } from '../../src/oci/platform.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { type Blob, blob, blobsOf, descriptorOf, entryOf, type Json, makeImage, makeIndex, putLayout } from '../fakes/test-image.ts'

const AMD64 = makeImage()
const ARM64 = makeImage({ architecture: 'arm64' })
const ARM64_V8 = makeImage({ architecture: 'arm64', variant: 'v8', layers: ['arm64 v8'] })
const OTHER_AMD64 = makeImage({ layers: ['other'] })
const AMD64_V3 = makeImage({ variant: 'v3' })
const ATTESTATION = makeImage({ architecture: 'unknown', config: { os: 'unknown' } })
const EMPTY_CONFIG = blob('application/vnd.oci.empty.v1+json', '{}')
const EMPTY = { schemaVersion: 2, config: descriptorOf(EMPTY_CONFIG), layers: [descriptorOf(EMPTY_CONFIG)] }
const ARTIFACT = blob(OCI_MANIFEST, { ...EMPTY, mediaType: OCI_MANIFEST, artifactType: 'application/spdx' })
const SIGNATURE = blob(OCI_MANIFEST, EMPTY)
const IMAGES = [AMD64, ARM64, ARM64_V8, OTHER_AMD64, AMD64_V3, ATTESTATION]
const BLOBS = [...IMAGES.flatMap(blobsOf), ARTIFACT, SIGNATURE, EMPTY_CONFIG]

interface Case {
  readonly root: CID
  readonly blocks: MemoryBlocks
  readonly resolve: (options?: { platform?: string, digest?: string }) => Promise<ImagePlan>
  readonly lineOf: (options?: { platform?: string, digest?: string }) => Promise<string>
}

function layout (entries: readonly Json[], more: readonly Blob[] = []): Case {
  const blocks = new MemoryBlocks()
  const root = putLayout(blocks, { blobs: [...BLOBS, ...more], index: makeIndex(entries) })
  const resolve: Case['resolve'] = async ({ platform = 'linux/amd64', digest } = {}) =>
    resolveImage(parseReference(`ipfs://${root.toString()}${digest === undefined ? '' : `@${digest}`}`), { blocks, platform })
  return {
    root,
    blocks,
    resolve,
    lineOf: async (options) => resolve(options).then(({ manifest }) => manifest.digest, (error: unknown) => {
      if (isSnapshotterError(error)) return error.line.replaceAll(root.toString(), 'ROOT')
      throw error
    })
  }
}

describe('by platform', () => {
  test.each([
    ['linux/amd64', AMD64], ['linux/arm64', ARM64], ['linux/arm64/v8', ARM64], ['linux/amd64/v3', AMD64_V3]
  ])('%s', async (platform, image) => {
    const plan = await layout([AMD64, ARM64, AMD64_V3].map((one) => entryOf(one))).resolve({ platform })

    expect(plan.manifest.digest).toBe(image.manifest.digest)
  })

  test('this machine\'s by default', async () => {
    const { root, blocks } = layout([entryOf(AMD64), entryOf(ARM64)])
    const plan = await resolveImage(parseReference(root.toString()), { blocks })

    expect(plan.platform).toBe(formatPlatform(hostPlatform()))
  })

  test('arm64 and arm64/v8 are one platform', async () => {
    const plan = await layout([entryOf(ARM64_V8)]).resolve({ platform: 'linux/arm64' })
    expect(plan.platform).toBe('linux/arm64')
  })

  test('in an index that index.json names', async () => {
    const inner = makeIndex([entryOf(AMD64), entryOf(ARM64)])
    const plan = await layout([descriptorOf(inner)], [inner]).resolve({ platform: 'linux/arm64' })

    expect(plan.manifest.digest).toBe(ARM64.manifest.digest)
    expect(plan.index?.digest).toBe(inner.digest)
  })

  test('of the config where the index states none', async () => {
    const { resolve, lineOf } = layout([descriptorOf(ARM64.manifest), descriptorOf(AMD64.manifest)])

    expect((await resolve()).manifest.digest).toBe(AMD64.manifest.digest)
    expect(await lineOf({ platform: 'linux/s390x' }))
      .toBe('PLATFORM_MISSING: ipfs://ROOT: no image for linux/s390x; it has linux/amd64, linux/arm64')
  })

  test('the same image under two tags is one image', async () => {
    const plan = await layout([entryOf(AMD64, { annotations: { tag: '1' } }), entryOf(AMD64, { annotations: { tag: 'latest' } })]).resolve()
    expect(plan.manifest.digest).toBe(AMD64.manifest.digest)
  })

  test('attestations, signatures and other artifacts are passed over', async () => {
    const entries = [
      entryOf(ATTESTATION, { platform: { os: 'unknown', architecture: 'unknown' } }),
      descriptorOf(ARTIFACT, { artifactType: 'application/spdx', platform: AMD64.platform }),
      descriptorOf(ARTIFACT),
      descriptorOf(SIGNATURE),
      { ...descriptorOf(EMPTY_CONFIG), mediaType: 'application/vnd.example.future+json' }, entryOf(AMD64)
    ]
    expect((await layout(entries).resolve()).manifest.digest).toBe(AMD64.manifest.digest)
    expect(await layout(entries.slice(0, -1)).lineOf()).toBe('PLATFORM_MISSING: ipfs://ROOT: no image for linux/amd64; it lists no image')
  })
})

describe('refuses', () => {
  test('an index without the platform, listing what there is', async () => {
    expect(await layout([entryOf(ARM64), entryOf(AMD64_V3)]).lineOf()).toBe(
      'PLATFORM_MISSING: ipfs://ROOT: no image for linux/amd64; it has linux/amd64/v3, linux/arm64')
  })

  test('an empty index', async () => {
    expect(await layout([]).lineOf()).toBe('PLATFORM_MISSING: ipfs://ROOT: no image for linux/amd64; it lists no image')
  })

  test('two images for one platform, stated or not', async () => {
    const digests = `${AMD64.manifest.digest}, ${OTHER_AMD64.manifest.digest}`
    const line = `REF_INVALID: ipfs://ROOT names 2 images for linux/amd64 (${digests}); add @sha256:<manifest digest>`

    expect(await layout([entryOf(AMD64), entryOf(OTHER_AMD64)]).lineOf()).toBe(line)
    expect(await layout([entryOf(AMD64), descriptorOf(OTHER_AMD64.manifest)]).lineOf()).toBe(line)
    expect(await layout([descriptorOf(AMD64.manifest), descriptorOf(OTHER_AMD64.manifest)]).lineOf()).toBe(line)
  })

  test('an index in an index in an index', async () => {
    const inmost = makeIndex([entryOf(AMD64)])
    const inner = makeIndex([descriptorOf(inmost)])
    expect(await layout([descriptorOf(inner)], [inner, inmost]).lineOf()).toBe(
      `NOT_OCI: index ${inner.digest} of ipfs://ROOT lists another index; indexes may be nested once`)
  })

  test('an index that states another platform than the config', async () => {
    expect(await layout([descriptorOf(ARM64.manifest, { platform: { os: 'linux', architecture: 'amd64' } })]).lineOf()).toBe(
      `NOT_OCI: manifest ${ARM64.manifest.digest} of ipfs://ROOT: the index says linux/amd64, the config says linux/arm64`)
  })

  test('a variant that the config contradicts, but not one that it leaves out', async () => {
    const silent = makeImage({ architecture: 'arm' })
    const v7 = makeImage({ architecture: 'arm', variant: 'v7' })
    const entry = (image: typeof v7): Json =>
      descriptorOf(image.manifest, { platform: { os: 'linux', architecture: 'arm', variant: 'v6' } })

    expect(await layout([entry(silent)], blobsOf(silent)).lineOf({ platform: 'linux/arm/v6' })).toBe(silent.manifest.digest)
    expect(await layout([entry(v7)], blobsOf(v7)).lineOf({ platform: 'linux/arm/v6' }))
      .toMatch(/the index says linux\/arm\/v6, the config says linux\/arm\/v7$/)
  })

  test('what is no platform', async () => {
    expect(await layout([entryOf(AMD64)]).lineOf({ platform: 'amd64' }))
      .toBe('INVALID_ARGUMENT: not a platform: "amd64"; write linux/amd64 or linux/arm/v7')
  })

  test.each<[string, (count: number) => [Json[], Blob[]], number, string]>([
    ['entries', (count) => [Array.from({ length: count }, () => entryOf(AMD64)), []], INDEX_MANIFESTS_MAX,
      'index.json of ipfs://ROOT lists 1025 manifests, limit 1024'],
    ['nested indexes', (count) => {
      const inner = Array.from({ length: count }, (_, at) => makeIndex([entryOf(AMD64)], { annotations: { at: String(at) } }))
      return [inner.map((index) => descriptorOf(index)), inner]
    }, NESTED_INDEXES_MAX, 'lists 17 indexes, limit 16'],
    ['manifests without a platform', (count) => {
      const images = Array.from({ length: count }, (_, at) => makeImage({ layers: [`${at}`], architecture: at === 0 ? 'amd64' : 'arm64' }))
      return [images.map(({ manifest }) => descriptorOf(manifest)), images.flatMap(blobsOf)]
    }, NESTED_INDEXES_MAX, 'lists 17 manifests without a platform, limit 16; add @sha256:<manifest digest>']
  ])('more %s than the limit', async (_name, make, max, line) => {
    expect(await layout(...make(max)).lineOf()).toMatch(/^sha256:/)
    expect(await layout(...make(max + 1)).lineOf()).toMatch(new RegExp(`^LIMIT_EXCEEDED: .*${line}$`))
  })
})

describe('by the digest of the reference', () => {
  test('of a manifest, also where several match', async () => {
    const { resolve } = layout([entryOf(AMD64), entryOf(OTHER_AMD64)])
    const plan = await resolve({ digest: OTHER_AMD64.manifest.digest })

    expect(plan.manifest.digest).toBe(OTHER_AMD64.manifest.digest)
    expect(plan.canonical).toMatch(new RegExp(`^ipfs://\\w+@${OTHER_AMD64.manifest.digest}$`))
  })

  test('of a manifest in a nested index', async () => {
    const inner = makeIndex([entryOf(AMD64), entryOf(ARM64)])
    const { resolve } = layout([descriptorOf(inner), entryOf(OTHER_AMD64)], [inner])

    expect((await resolve({ digest: AMD64.manifest.digest })).manifest.digest).toBe(AMD64.manifest.digest)
  })

  test('of an index, and then by platform in it', async () => {
    const inner = makeIndex([entryOf(AMD64), entryOf(ARM64)])
    const { resolve } = layout([descriptorOf(inner), entryOf(OTHER_AMD64)], [inner])
    const plan = await resolve({ digest: inner.digest })

    expect(plan.manifest.digest).toBe(AMD64.manifest.digest)
    expect(plan.index?.digest).toBe(inner.digest)
  })

  test('of index.json itself', async () => {
    const { resolve } = layout([entryOf(AMD64)])
    expect((await resolve({ digest: makeIndex([entryOf(AMD64)]).digest })).manifest.digest).toBe(AMD64.manifest.digest)
  })

  test('that nothing in the root has', async () => {
    const digest = `sha256:${'0'.repeat(64)}`
    expect(await layout([entryOf(AMD64), entryOf(ARM64)]).lineOf({ digest })).toBe(
      `DIGEST_MISMATCH: ipfs://ROOT: want ${digest}, the root names ${AMD64.manifest.digest}, ${ARM64.manifest.digest}`)
  })

  test('of an image for another platform', async () => {
    expect(await layout([entryOf(AMD64), entryOf(ARM64)]).lineOf({ digest: ARM64.manifest.digest })).toBe(
      'PLATFORM_MISSING: ipfs://ROOT: no image for linux/amd64; it has linux/arm64')
  })

  test('of an artifact', async () => {
    expect(await layout([descriptorOf(ARTIFACT), entryOf(AMD64)]).lineOf({ digest: ARTIFACT.digest })).toBe(
      `MEDIA_TYPE_UNSUPPORTED: manifest ${ARTIFACT.digest} of ipfs://ROOT is an artifact ("application/spdx"), not an image`)
  })

  test('of a layer or config: neither is an image', async () => {
    const digest = AMD64.config.digest
    expect(await layout([entryOf(AMD64)]).lineOf({ digest }))
      .toBe(`DIGEST_MISMATCH: ipfs://ROOT: want ${digest}, the root names ${AMD64.manifest.digest}`)
  })

  test('where the root is a manifest', async () => {
    const blocks = new MemoryBlocks()
    for (const { bytes } of blobsOf(AMD64)) blocks.putFile(bytes)
    const root = blocks.putFile(AMD64.manifest.bytes)
    const resolve = async (digest: string, platform = 'linux/amd64'): Promise<ImagePlan> =>
      resolveImage(parseReference(`ipfs://${root.toString()}@${digest}`), { blocks, platform })

    expect((await resolve(AMD64.manifest.digest)).index).toBeNull()
    await expect(resolve(ARM64.manifest.digest)).rejects.toMatchObject({
      line: `DIGEST_MISMATCH: ipfs://${root.toString()}: want ${ARM64.manifest.digest}, the root is ${AMD64.manifest.digest}`
    })
    await expect(resolve(AMD64.manifest.digest, 'linux/arm64')).rejects.toMatchObject({
      line: `PLATFORM_MISSING: ipfs://${root.toString()}: no image for linux/arm64; it is for linux/amd64`
    })
  })
})
