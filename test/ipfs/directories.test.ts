// Directories: plain ones are read by us, sharded ones by @helia/unixfs over our broker; both within limits. And the
// verifying blockstore, which Helia trusts and which trusts nothing.
import { describe, expect, test } from '@jest/globals'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { importer } from 'ipfs-unixfs-importer'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { createHeliaNode, type HeliaStorage, VerifyingBlockstore } from '../../src/ipfs/helia-node.ts'
import { collect } from '../../src/ipfs/collect.ts'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { CarBlocks } from '../fakes/gateway.ts'
import { failureOf, gatewayOf, serviceOver } from './block-services.ts'

const leafBytes = Buffer.from('leaf')
const leafCid = rawCidOf(digestOf(leafBytes))

function put (blocks: CarBlocks, node: dagPb.PBNode): CID {
  const bytes = dagPb.encode(node)
  const cid = CID.createV1(dagPb.code, rawCidOf(digestOf(bytes)).multihash)
  blocks.put(cid, bytes)
  return cid
}

function directory (links: ReadonlyArray<readonly [string, CID]>): dagPb.PBNode {
  return { Data: new UnixFS({ type: 'directory' }).marshal(), Links: links.map(([Name, Hash]) => ({ Name, Hash, Tsize: 1 })) }
}

function shard (links: ReadonlyArray<readonly [string, CID]>, fanout = 256n): dagPb.PBNode {
  const Data = new UnixFS({ type: 'hamt-sharded-directory', data: Buffer.alloc(32, 0xff), fanout, hashType: 0x22n }).marshal()
  return { Data, Links: links.map(([Name, Hash]) => ({ Name, Hash, Tsize: 1 })) }
}

async function shardedDirectory (files: number): Promise<CarBlocks> {
  const blocks = new CarBlocks()
  const store = { put: (cid: CID, bytes: Uint8Array): CID => { blocks.put(cid, bytes); return cid } }
  const source = Array.from({ length: files }, (_, index) => ({ path: `d/file-${index}`, content: Buffer.from(String(index)) }))
  for await (const { cid } of importer(source, store, { shardSplitThresholdBytes: 0 })) blocks.roots[0] = cid
  return blocks
}

describe('sharded directories', () => {
  test.each(['both', 'raw', 'car'] as const)('of 1,500 names are listed whole, the gateway knowing %s', async (formats) => {
    const blocks = await shardedDirectory(1_500)
    const gateway = await gatewayOf(blocks, { formats })
    const entries = await serviceOver([gateway]).listDirectory(blocks.root)
    expect(entries?.map(({ name }) => name).sort()).toEqual(Array.from({ length: 1_500 }, (_, index) => `file-${index}`).sort())
    if (formats === 'both') expect(gateway.requests.map(({ format }) => format)).toEqual(['raw', 'car'])
  })

  test('a name below one is resolved', async () => {
    const blocks = await shardedDirectory(300)
    const over = serviceOver([await gatewayOf(blocks)])
    const cid = await over.resolvePath(blocks.root, ['file-123'])
    expect(cid === null ? null : Buffer.from(await over.readAll(cid, 10)).toString()).toBe('123')
    expect(await over.resolvePath(blocks.root, ['file-1234'])).toBeNull()
  })

  test('one that branches without end is refused', async () => {
    const blocks = new CarBlocks()
    let node = put(blocks, shard([]))
    for (let depth = 0; depth < 12; depth++) {
      const below = node
      node = put(blocks, shard(Array.from({ length: 16 }, (_, index) => [index.toString(16).padStart(2, '0').toUpperCase(), below] as const)))
    }
    const failure = await failureOf(serviceOver([await gatewayOf(blocks)]).listDirectory(node))
    expect(failure.line).toBe(`LIMIT_EXCEEDED: directory ${node.toString()} has more than 65536 entries or 8192 shards`)
  })

  test('a missing shard is told like any missing block', async () => {
    const blocks = await shardedDirectory(1_500)
    const child = dagPb.decode(blocks.get(blocks.root) ?? new Uint8Array(0)).Links.find(({ Name }) => Name?.length === 2)?.Hash
    const gateway = await gatewayOf(blocks, { missing: new Set([String(child)]) })
    expect((await failureOf(serviceOver([gateway]).listDirectory(blocks.root))).code).toMatch(/^(ROOT_NOT_FOUND|CAR_TRUNCATED|ROOT_UNREACHABLE)$/)
  })

  test.each([7n, 2_048n, 12n])('a fanout of %s is refused', async (fanout) => {
    const blocks = new CarBlocks()
    const cid = put(blocks, shard([], fanout))
    const failure = await failureOf(serviceOver([await gatewayOf(blocks)]).listDirectory(cid))
    expect(failure.line).toBe(`BLOCK_INVALID: sharded directory ${cid.toString()}: fanout ${fanout}`)
  })
})

describe('plain directories', () => {
  test.each<[string, Array<readonly [string, CID]>, string]>([
    ['two entries of one name', [['a', leafCid], ['a', leafCid]], 'has two entries called "a"'],
    ['an entry without a name', [['', leafCid]], 'has an entry called ""'],
    ['an entry with a slash', [['a/b', leafCid]], 'has an entry called "a/b"']
  ])('with %s are refused', async (_name, links, why) => {
    const blocks = new CarBlocks()
    const cid = put(blocks, directory(links))
    const failure = await failureOf(serviceOver([await gatewayOf(blocks)]).listDirectory(cid))
    expect([failure.code, failure.message]).toEqual(['BLOCK_INVALID', `directory ${cid.toString()} ${why}`])
  })

  test('of a cut digest name it and go no further', async () => {
    const blocks = new CarBlocks()
    const cut = CID.createV1(0x55, createMultihash(0x12, leafCid.multihash.digest.subarray(0, 20)))
    const gateway = await gatewayOf(blocks)
    const failure = await failureOf(serviceOver([gateway]).listDirectory(put(blocks, directory([['a', cut]]))))
    expect(failure.code).toBe('CID_UNSUPPORTED')
    expect(gateway.requests.length).toBe(1)
  })

  test('are the only thing that is listed', async () => {
    const blocks = new CarBlocks()
    blocks.put(leafCid, leafBytes)
    const over = serviceOver([await gatewayOf(blocks)])
    expect(await over.listDirectory(leafCid)).toBeNull()
    expect(await over.listDirectory(put(blocks, { Data: new UnixFS({ type: 'file', data: leafBytes }).marshal(), Links: [] }))).toBeNull()
    expect(await over.listDirectory(put(blocks, { Links: [] }))).toBeNull()
    expect(await over.listDirectory(put(blocks, directory([])))).toEqual([])
  })

  test('a path of three names costs one request, and its end is in hand', async () => {
    const blocks = new CarBlocks()
    blocks.put(leafCid, leafBytes)
    const root = put(blocks, directory([['a', put(blocks, directory([['b', put(blocks, directory([['ü c', leafCid]]))]]))]]))
    const gateway = await gatewayOf(blocks)
    const over = serviceOver([gateway])
    const cid = await over.resolvePath(root, ['a', 'b', 'ü c'])
    expect(cid?.toString()).toBe(leafCid.toString())
    expect(Buffer.from(await over.readAll(leafCid, 100)).toString()).toBe('leaf')
    expect(gateway.requests.length).toBe(1)
    expect(await over.resolvePath(root, ['a', 'nothing', 'c'])).toBeNull()
    expect(await over.resolvePath(root, [])).toEqual(root)
  })
})

describe("Helia's blockstore", () => {
  const storageOf = (bytes: Uint8Array | null): HeliaStorage & { puts: number } => {
    const storage = { puts: 0, has: () => bytes !== null, get: () => bytes, put: () => { storage.puts++ } }
    return storage
  }

  test('gives out what matches, and nothing else', async () => {
    expect(Buffer.from(await collect(new VerifyingBlockstore(storageOf(leafBytes)).get(leafCid))).toString()).toBe('leaf')
    expect((await failureOf(collect(new VerifyingBlockstore(storageOf(Buffer.from('evil'))).get(leafCid)))).code).toBe('BLOCK_HASH_MISMATCH')
    expect((await failureOf(collect(new VerifyingBlockstore(storageOf(null)).get(leafCid)))).code).toBe('NOT_FOUND')
  })

  test('takes only what matches', async () => {
    const storage = storageOf(null)
    await new VerifyingBlockstore(storage).put(leafCid, leafBytes)
    expect((await failureOf(new VerifyingBlockstore(storage).put(leafCid, Buffer.from('evil')))).code).toBe('BLOCK_HASH_MISMATCH')
    expect(storage.puts).toBe(1)
  })

  test('a tampered store, a cut digest and a lying broker do not get past the node', async () => {
    const cut = CID.createV1(0x55, createMultihash(0x12, leafCid.multihash.digest.subarray(0, 20)))
    const tampered = await createHeliaNode(storageOf(Buffer.from('TAMPERED')))
    const lied = await createHeliaNode(storageOf(null), async () => Buffer.from('EVIL') as never)
    try {
      expect((await failureOf(collect(tampered.unixfs.cat(leafCid)))).code).toBe('BLOCK_HASH_MISMATCH')
      await expect(collect(tampered.unixfs.cat(cut))).rejects.toThrow('only full sha2-256')
      await expect(collect(lied.unixfs.cat(leafCid))).rejects.toThrow()
    } finally {
      await tampered.stop()
      await lied.stop()
    }
  })

  test('imports through the node', async () => {
    const blocks = new CarBlocks()
    const node = await createHeliaNode({
      has: (cid) => blocks.get(cid) !== undefined,
      get: (cid) => blocks.get(cid) ?? null,
      put: (cid, block) => { blocks.put(cid, block) }
    })
    const cid = await node.unixfs.addBytes(Buffer.from('hello world'), { profile: 'unixfs-v1-2025' })
    await node.stop()
    expect(cid.toString()).toBe('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e')
    expect(Buffer.from(blocks.get(cid) ?? []).toString()).toBe('hello world')
  })
})
