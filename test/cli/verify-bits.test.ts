// The claim of `verify`: whatever bit of an image is wrong, it does not pass. Once with blocks that lie about their CIDs, once
// with a publisher who made all CIDs right for wrong bytes.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { CarIndexer } from '@ipld/car'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { silentLog } from '../../src/base/log.ts'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { layerProver } from '../../src/library/prove-layer.ts'
import { type ImageProof, proveImage } from '../../src/image/prove-image.ts'
import { createBlockService } from '../../src/ipfs/block-service.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { smallTar } from '../fakes/small-tar.ts'
import { type Blob, blob, blobsOf, descriptorOf, makeImage, makeIndex, putLayout, sha256, type TestImage } from '../fakes/test-image.ts'

const CARS = join(import.meta.dirname, '..', 'fixtures', 'cars')
let scratch = ''

beforeAll(async () => { scratch = await mkdtemp(join(tmpdir(), 'verify-bits-')) })
afterAll(async () => { await rm(scratch, { recursive: true, force: true }) })

async function prove (blocks: BlockService, reference: string): Promise<ImageProof> {
  return proveImage(parseReference(reference), { blocks, platform: 'linux/amd64', prove: layerProver() })
}

/** The code of the error, or what is wrong with there being none. */
async function codeOf (proof: Promise<ImageProof>): Promise<string> {
  return proof.then(() => 'passed', (error: unknown) => isSnapshotterError(error) ? error.code : String(error))
}

async function proveCar (path: string, root: string): Promise<ImageProof> {
  const blocks = createBlockService({ sources: [{ type: 'car', path }], log: silentLog })
  try {
    return await prove(blocks, root)
  } finally {
    await blocks.close()
  }
}

// 7, 9, 10, 11 and 39 blocks; the trickle CAR's 143 are of the same kinds.
describe.each([
  ['nerdctl-estargz', 'bafkreih27ajrojltfvxnbaf7dizcbiwumkmm7kmdavc3izdgd57cij5n7q'],
  ['layout-gzip-inline', 'bafybeiauut6llh7tafut5ouixk46zw6pulob35jix2lwy6rytvxxaj7fli'],
  ['layout-estargz-unixfs-v1-2025', 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'],
  ['layout-gzip-unixfs-v0-2015', 'QmNWUN9Hk8gMEeRUaBuznW1xv1SXGeSKqZSdesSpmiKm9L'],
  ['layout-gzip-rabin', 'bafybeibtyz43uspevs3yi2y2xbxqtlrrsecwjheoifmop3fdgobw75slku']
])('%s', (car, root) => {
  test('passes as it is, and one flipped bit in each block in turn does not', async () => {
    const bytes = await readFile(join(CARS, `${car}.car`))
    const sections = await CarIndexer.fromBytes(bytes)
    const damaged = join(scratch, `${car}.car`)
    expect((await proveCar(join(CARS, `${car}.car`), root)).layers).toHaveLength(2)

    const codes = new Map<string, string>()
    let flip = 0
    for await (const { cid, blockOffset, blockLength } of sections) {
      // An identity CID's block stands in its parent's link, too, and is never read from here.
      if (cid.multihash.code === 0) continue
      const copy = Uint8Array.from(bytes)
      flip += 7919
      const at = blockOffset + flip % blockLength
      copy[at] = (copy[at] ?? 0) ^ 1 << flip % 8
      await writeFile(damaged, copy)
      codes.set(cid.toString(), await codeOf(proveCar(damaged, root)))
    }

    expect(codes.size).toBeGreaterThanOrEqual(7)
    expect([...codes].filter(([, code]) => code !== 'BLOCK_HASH_MISMATCH')).toEqual([])
  })
})

describe('a publisher who makes every CID fit', () => {
  interface Case {
    readonly image: TestImage
    readonly index: Blob
    readonly tar: Uint8Array
    readonly prove: (blobs: readonly Blob[], files?: (blocks: MemoryBlocks) => Record<string, CID>) => Promise<string>
  }

  async function build (): Promise<Case> {
    const tar = await smallTar({ 'etc/': '', 'etc/motd': 'hello\n'.repeat(500) })
    const image = makeImage({
      layers: [gzipSync(tar)], config: { rootfs: { type: 'layers', diff_ids: [sha256(tar)] } }
    })
    const index = makeIndex([descriptorOf(image.manifest)])
    return {
      image,
      index,
      tar,
      prove: async (blobs, files = () => ({})) => {
        const blocks = new MemoryBlocks()
        const root = putLayout(blocks, { blobs, index, files: files(blocks) }, 256)
        return codeOf(prove(blocks, `ipfs://${root.toString()}@${image.manifest.digest}`))
      }
    }
  }

  test('passes with the right bytes', async () => {
    const { image, prove } = await build()
    expect(await prove(blobsOf(image))).toBe('passed')
  })

  test.each(['manifest', 'config', 'layer'] as const)('does not with one wrong bit anywhere in the %s', async (which) => {
    const { image, prove } = await build()
    const blobs = blobsOf(image)
    const target = which === 'layer' ? image.layers[0] as Blob : image[which]
    const codes = new Set<string>()
    for (let at = 0; at < target.bytes.byteLength; at++) {
      const bytes = Uint8Array.from(target.bytes)
      bytes[at] = (bytes[at] ?? 0) ^ 1 << at % 8
      codes.add(await prove(blobs.map((one) => one === target ? { ...one, bytes } : one)))
    }

    expect([...codes]).toEqual(['DIGEST_MISMATCH'])
  })

  test('does not with a layer cut or grown by one byte', async () => {
    const { image, prove } = await build()
    const [layer] = image.layers as [Blob]
    const swap = (bytes: Uint8Array): Blob[] => blobsOf(image).map((one) => one === layer ? { ...one, bytes } : one)

    expect(await prove(swap(layer.bytes.subarray(0, -1)))).toBe('DIGEST_MISMATCH')
    expect(await prove(swap(Buffer.concat([layer.bytes, Buffer.of(0)])))).toBe('DIGEST_MISMATCH')
  })

  test('does not with a diffID that is not the tar\'s', async () => {
    const blocks = new MemoryBlocks()
    const { tar } = await build()
    const image = makeImage({ layers: [gzipSync(tar)] })
    const root = putLayout(blocks, { blobs: blobsOf(image), index: makeIndex([descriptorOf(image.manifest)]) })

    expect(await codeOf(prove(blocks, root.toString()))).toBe('DIFFID_MISMATCH')
  })

  test('does not with another blob, of another platform perhaps, that has not the digest it is called by', async () => {
    const { image, prove } = await build()
    const other = blob('application/octet-stream', 'another platform\'s layer')

    expect(await prove([...blobsOf(image), other])).toBe('passed')
    expect(await prove([...blobsOf(image), { ...other, bytes: Buffer.from('something else') }])).toBe('DIGEST_MISMATCH')
  })

  test('does not with a file beside the blobs whose few blocks say that they are a terabyte', async () => {
    const { image, prove } = await build()
    const times = (blocks: MemoryBlocks, child: CID, size: number): CID => {
      const message = new UnixFS({ type: 'file', blockSizes: Array.from({ length: 1024 }, () => BigInt(size)) })
      return blocks.put(dagPb.encode({ Data: message.marshal(), Links: Array.from({ length: 1024 }, () => ({ Hash: child, Name: '', Tsize: 0 })) }), dagPb.code)
    }
    const huge = (blocks: MemoryBlocks): CID => times(blocks, times(blocks, blocks.put(Buffer.alloc(1 << 20)), 1 << 20), 1 << 30)

    expect(await prove(blobsOf(image), (blocks) => ({ huge: huge(blocks) }))).toBe('LIMIT_EXCEEDED')
  })

  test('does not when a blob is a directory', async () => {
    const { image, prove } = await build()
    const blobs = blobsOf(image)

    expect(await prove(blobs, (blocks) => {
      const files = Object.fromEntries(blobs.map(({ digest, bytes }) => [digest.slice(7), blocks.putFile(bytes)]))
      return { blobs: blocks.putDirectory({ sha256: blocks.putDirectory({ ...files, ['0'.repeat(64)]: blocks.putDirectory({}) }) }) }
    })).toBe('DIGEST_MISMATCH')
  })

  test('reads what else is pinned with the image, and misses nothing of it', async () => {
    const { image, index } = await build()
    const blocks = new MemoryBlocks()
    const extra = blocks.putFile('x'.repeat(1000), 100)
    const root = putLayout(blocks, { blobs: blobsOf(image), index, files: { 'more': blocks.putDirectory({ extra }) } }, 256)
    const proof = await prove(blocks, root.toString())

    // root, blobs, sha256, more; manifest, config, index.json, oci-layout, extra
    expect([proof.directories, proof.otherFiles]).toEqual([4, 5])
    expect(new Set(blocks.asked).size).toBe(blocks.blocks.size)
    const poor = new MemoryBlocks()
    for (const [key, value] of blocks.blocks) if (value.cid.toString() !== extra.toString()) poor.blocks.set(key, value)
    await expect(prove(poor, root.toString())).rejects.toMatchObject({
      line: `ROOT_NOT_FOUND: ipfs://${root.toString()}/more/extra: ${extra.toString()}: not pinned or not provided; checked: memory`
    })
  })
})
