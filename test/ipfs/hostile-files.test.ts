// Files whose publisher lies about sizes, nests for ever or crumbles into tiny blocks: exact errors, bounded work.
import { describe, expect, test } from '@jest/globals'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { CarBlocks } from '../fakes/gateway.ts'
import { failureOf, gatewayOf, serviceOver } from './block-services.ts'

class Dag extends CarBlocks {
  leaf (bytes: Uint8Array): CID {
    const cid = rawCidOf(digestOf(bytes))
    this.put(cid, bytes)
    return cid
  }

  file (children: ReadonlyArray<readonly [CID, number]>, inline?: Uint8Array): CID {
    const Data = new UnixFS({ type: 'file', ...inline === undefined ? {} : { data: inline }, blockSizes: children.map(([, size]) => BigInt(size)) }).marshal()
    const bytes = dagPb.encode({ Data, Links: children.map(([Hash, Tsize]) => ({ Hash, Name: '', Tsize })) })
    const cid = CID.createV1(dagPb.code, rawCidOf(digestOf(bytes)).multihash)
    this.put(cid, bytes)
    return cid
  }
}

async function readAll (dag: Dag, root: CID): Promise<Buffer> {
  const file = await serviceOver([await gatewayOf(dag)]).openFile(root)
  return Buffer.from(await file.read(0, file.size))
}

test('inline bytes in inner nodes, identity leaves and repeated leaves are all content', async () => {
  const dag = new Dag()
  const leaf = dag.leaf(Buffer.from('leaf;'))
  const identity = CID.createV1(0x55, createMultihash(0, Buffer.from('identity;')))
  const inner = dag.file([[leaf, 5], [identity, 9], [leaf, 5]], Buffer.from('inner;'))
  const root = dag.file([[inner, 25], [leaf, 5], [inner, 25]], Buffer.from('root;'))
  const innerText = 'inner;leaf;identity;leaf;'
  expect((await readAll(dag, root)).toString()).toBe(`root;${innerText}leaf;${innerText}`)
  const file = await serviceOver([await gatewayOf(dag)]).openFile(root)
  for (let at = 0; at < file.size; at++) {
    expect(Buffer.from(await file.read(at, 11)).toString()).toBe(`root;${innerText}leaf;${innerText}`.slice(at, at + 11))
  }
})

test('an identity dag-pb root is read without any source', async () => {
  const node = dagPb.encode({ Data: new UnixFS({ type: 'file', data: Buffer.from('inside') }).marshal(), Links: [] })
  const over = serviceOver([])
  expect(Buffer.from(await over.readAll(CID.createV1(dagPb.code, createMultihash(0, node)), 10)).toString()).toBe('inside')
})

describe('a lie about sizes is found when the child arrives', () => {
  test('a leaf longer than its parent says', async () => {
    const dag = new Dag()
    const leaf = dag.leaf(Buffer.from('123456'))
    const root = dag.file([[leaf, 5]])
    expect((await failureOf(readAll(dag, root))).line).toBe(
      `BLOCK_INVALID: file ${root.toString()}: block ${leaf.toString()} has 6 bytes, its parent says 5`)
  })

  test('an inner node with fewer bytes than its parent says', async () => {
    const dag = new Dag()
    const inner = dag.file([[dag.leaf(Buffer.from('12345')), 5]])
    const root = dag.file([[inner, 50]])
    expect((await failureOf(readAll(dag, root))).line).toBe(
      `BLOCK_INVALID: file ${root.toString()}: block ${inner.toString()} has 5 bytes, its parent says 50`)
  })

  test('a raw leaf that no block can hold', async () => {
    const dag = new Dag()
    const leaf = dag.leaf(Buffer.from('x'))
    const root = dag.file([[leaf, 3 << 20]])
    const file = await serviceOver([await gatewayOf(dag)]).openFile(root)
    expect((await failureOf(file.read(0, 10))).line).toBe(`BLOCK_INVALID: a file claims a block of 3145728 bytes (${leaf.toString()}), limit 2097152`)
  })
})

test('a directory inside a file is refused', async () => {
  const dag = new Dag()
  const bytes = dagPb.encode({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: [] })
  const folder = CID.createV1(dagPb.code, rawCidOf(digestOf(bytes)).multihash)
  dag.put(folder, bytes)
  expect((await failureOf(readAll(dag, dag.file([[folder, 5]])))).message).toContain('it is a directory, not a file')
})

test('a file that nests deeper than any importer makes is refused', async () => {
  const dag = new Dag()
  let node = dag.leaf(Buffer.from('12345'))
  for (let depth = 0; depth < 40; depth++) node = dag.file([[node, 5]])
  expect((await failureOf(readAll(dag, node))).line).toBe(`LIMIT_EXCEEDED: file ${node.toString()} is deeper than 32 nodes`)
})

test('a file that crumbles into one-byte leaves is refused before it fills memory', async () => {
  const dag = new Dag()
  const leaf = dag.leaf(Buffer.from('1'))
  const inner = dag.file(Array.from({ length: 10_000 }, () => [leaf, 1] as const))
  const root = dag.file(Array.from({ length: 200 }, () => [inner, 10_000] as const))
  expect((await failureOf(readAll(dag, root))).line).toBe(`LIMIT_EXCEEDED: file ${root.toString()} has over 32768 blocks in one range`)
})

test('links to codecs and hashes that we refuse end the read', async () => {
  const dag = new Dag()
  const leaf = dag.leaf(Buffer.from('12345'))
  const cbor = CID.createV1(0x71, leaf.multihash)
  expect((await failureOf(readAll(dag, dag.file([[cbor, 5]])))).code).toBe('CID_UNSUPPORTED')
})
