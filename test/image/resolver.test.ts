// What a resolve promises when bytes lie, are missing, or do not come.
import { describe, expect, test } from '@jest/globals'
import type { CID } from 'multiformats/cid'
import { isSnapshotterError } from '../../src/base/errors.ts'
import type { ImagePlan } from '../../src/image/plan.ts'
import { resolveImage, type ResolveOptions } from '../../src/image/resolver.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { blob, blobsOf, entryOf, type ImageRecipe, makeImage, makeIndex, putImage, putLayout } from '../fakes/test-image.ts'

const FOREIGN = 'application/vnd.oci.image.layer.nondistributable.v1.tar'

async function lineOf (blocks: MemoryBlocks, root: CID, options: Partial<ResolveOptions> = {}): Promise<string> {
  return resolveImage(parseReference(root.toString()), { blocks, platform: 'linux/amd64', ...options })
    .then(() => 'resolved', (error: unknown) => {
    if (isSnapshotterError(error)) return error.line.replaceAll(root.toString(), 'ROOT')
    throw error
  })
}

describe('a document that differs from its descriptor', () => {
  test.each(['manifest', 'config'] as const)('in its bytes: %s', async (which) => {
    const blocks = new MemoryBlocks()
    const image = makeImage()
    const text = Buffer.from(image[which].bytes).toString().replace('amd64', 'arm64').replace('"size":', '"Size":')
    const lie = { ...image[which], bytes: Buffer.from(text) }
    const root = putLayout(blocks,
      { blobs: [...blobsOf(image).filter(({ digest }) => digest !== lie.digest), lie], index: makeIndex([entryOf(image)]) })

    expect(await lineOf(blocks, root)).toBe(
      `DIGEST_MISMATCH: ${which} ${lie.digest} of ipfs://ROOT: want ${lie.digest}, got ${blob('', lie.bytes).digest}`)
  })

  test.each([[-1, 'more'], [1, 'N']])('in its size by %i', async (difference, got) => {
    const blocks = new MemoryBlocks()
    const image = makeImage()
    const size = image.manifest.bytes.byteLength
    const root = putLayout(blocks, { blobs: blobsOf(image), index: makeIndex([entryOf(image, { size: size + difference })]) })

    expect(await lineOf(blocks, root)).toBe(`DIGEST_MISMATCH: manifest ${image.manifest.digest} of ipfs://ROOT: ` +
      `the descriptor says ${size + difference} bytes, the file has ${got === 'N' ? size : got}`)
  })

  test('in its media type', async () => {
    const blocks = new MemoryBlocks()
    const image = makeImage({ docker: true })
    const root = putLayout(blocks,
      { blobs: blobsOf(image), index: makeIndex([entryOf(image, { mediaType: 'application/vnd.oci.image.manifest.v1+json' })]) })

    expect(await lineOf(blocks, root)).toBe(`NOT_OCI: manifest ${image.manifest.digest} of ipfs://ROOT calls itself ` +
      '"application/vnd.docker.distribution.manifest.v2+json", its descriptor says "application/vnd.oci.image.manifest.v1+json"')
  })

  test('by claiming more than the limit', async () => {
    const blocks = new MemoryBlocks()
    const image = makeImage()
    const root = putLayout(blocks, { blobs: blobsOf(image), index: makeIndex([entryOf(image, { size: 4194305 })]) })

    expect(await lineOf(blocks, root))
      .toBe(`LIMIT_EXCEEDED: manifest ${image.manifest.digest} of ipfs://ROOT: 4194305 bytes, limit 4194304`)
  })
})

describe('an image that cannot be run', () => {
  test.each<[string, ImageRecipe, RegExp]>([
    ['without layers', { layers: [] }, /^NOT_OCI: manifest \S+ of ipfs:\/\/ROOT has no layers; an image needs at least one$/],
    ['with another count of diffIDs', { config: { rootfs: { type: 'layers', diff_ids: [] } } },
      /^NOT_OCI: config \S+ of ipfs:\/\/ROOT, rootfs has 0 diff_ids for 1 layers$/],
    ['that is also an index', { manifest: { manifests: [] } }, /^NOT_OCI: manifest \S+ of ipfs:\/\/ROOT has both "layers" and "manifests"/],
    ['of schema 1', { manifest: { schemaVersion: 1 } },
      /^MEDIA_TYPE_UNSUPPORTED: manifest \S+ of ipfs:\/\/ROOT is a Docker schema 1 manifest/],
    ['with a foreign layer',
      { child: ({ mediaType }) => mediaType.includes('layer') ? { mediaType: FOREIGN } : {} },
      /^MEDIA_TYPE_UNSUPPORTED: manifest \S+ of ipfs:\/\/ROOT, layer 0 is a foreign layer/]
  ])('%s', async (_name, recipe, line) => {
    const blocks = new MemoryBlocks()
    expect(await lineOf(blocks, putImage(blocks, makeImage(recipe)))).toMatch(line)
  })
})

describe('bytes that do not come', () => {
  test('a root that nobody has', async () => {
    const root = putImage(new MemoryBlocks(), makeImage())
    expect(await lineOf(new MemoryBlocks(), root)).toBe('ROOT_NOT_FOUND: ROOT: not pinned or not provided; checked: memory')
  })

  test('each block of the documents in turn: the error names document, CID and sources', async () => {
    const blocks = new MemoryBlocks()
    const image = makeImage()
    const root = putImage(blocks, image)
    await resolveImage(parseReference(root.toString()), { blocks, platform: 'linux/amd64' })
    const needed = [...new Set(blocks.asked)]
    const lines: string[] = []
    for (const cid of needed) {
      const poor = await copyWithout(blocks, cid)
      lines.push((await lineOf(poor, root)).replaceAll(cid, 'MISSING').replaceAll(/sha256:\w{64}/g, 'DIGEST'))
    }

    expect(lines.sort()).toEqual([
      'ROOT_NOT_FOUND: ROOT: not pinned or not provided; checked: memory',
      ...['blobs/sha256', 'blobs/sha256', 'config DIGEST', 'index.json', 'manifest DIGEST']
        .map((what) => `ROOT_NOT_FOUND: ${what} of ipfs://ROOT: MISSING: not pinned or not provided; checked: memory`)
    ].sort())
  })

  test('a flipped bit in each block of the documents in turn', async () => {
    const blocks = new MemoryBlocks()
    const root = putImage(blocks, makeImage(), 64)
    await resolveImage(parseReference(root.toString()), { blocks, platform: 'linux/amd64' })
    const needed = new Set(blocks.asked)
    expect(needed.size).toBeGreaterThan(12)

    for (const { cid, bytes } of [...blocks.blocks.values()].filter(({ cid }) => needed.has(cid.toString()))) {
      const flipped = Uint8Array.from(bytes)
      flipped[bytes.byteLength >> 1] = (flipped[bytes.byteLength >> 1] ?? 0) ^ 1
      const damaged = await copyWithout(blocks, '')
      damaged.blocks.set(Buffer.from(cid.multihash.bytes).toString('hex'), { cid, bytes: flipped })
      const name = cid.toString() === root.toString() ? 'ROOT' : cid.toString()
      expect(await lineOf(damaged, root)).toMatch(new RegExp(`^BLOCK_HASH_MISMATCH: .*block ${name} from memory has other bytes`))
    }
  })

  test('at the deadline it gives up with one line, and asks for nothing afterwards', async () => {
    const blocks = new MemoryBlocks()
    const root = putImage(blocks, makeImage())
    blocks.hangs = true

    expect(await lineOf(blocks, root, { deadlineMs: 50 })).toBe(
      'GATEWAY_TIMEOUT: ipfs://ROOT was not resolved within 50 ms (memory: 3 requests, 0 failed)')
    const asked = blocks.asked.length
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(blocks.asked.length).toBe(asked)
  })

  test('when the caller gives up it is CANCELLED', async () => {
    const blocks = new MemoryBlocks()
    const root = putImage(blocks, makeImage())
    blocks.hangs = true
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 20)

    expect(await lineOf(blocks, root, { signal: controller.signal })).toBe('CANCELLED: resolve of ipfs://ROOT was given up')
    expect(await lineOf(blocks, root, { signal: AbortSignal.abort() })).toBe('CANCELLED: resolve of ipfs://ROOT was given up')
  })
})

test('an image whose root is a CIDv0 is called by its CIDv1', async () => {
  const blocks = new MemoryBlocks()
  const image = makeImage()
  const root = putImage(blocks, image)
  const plan: ImagePlan = await resolveImage(parseReference(root.toV0().toString()), { blocks, platform: 'linux/amd64' })

  expect(plan.canonical).toBe(`ipfs://${root.toString()}@${image.manifest.digest}`)
})

test('logs one event with what was resolved', async () => {
  const blocks = new MemoryBlocks()
  const image = makeImage()
  const root = putImage(blocks, image)
  const events: Array<[object, string]> = []
  const note = (fields: object, event: string): void => { events.push([fields, event]) }
  await resolveImage(parseReference(root.toString()),
    { blocks, platform: 'linux/amd64', log: { debug: note, info: note, warn: note, error: note } })

  expect(events).toEqual(
    [[{ cid: root.toString(), manifest: image.manifest.digest, platform: 'linux/amd64', layers: 1 }, 'image resolved']])
})

async function copyWithout (blocks: MemoryBlocks, missing: string): Promise<MemoryBlocks> {
  const copy = new MemoryBlocks()
  for (const [key, block] of blocks.blocks) if (block.cid.toString() !== missing) copy.blocks.set(key, block)
  return copy
}
