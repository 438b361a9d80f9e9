// Files whose publisher lies about sizes, nests for ever or crumbles into tiny blocks: exact errors, bounded work.
import { describe, expect, test } from '@jest/globals'
import { join } from 'node:path'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { systemClock } from '../../src/base/clock.ts'
import { RANGE_BLOCKS_MAX } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Attempt } from '../../src/ipfs/attempts.ts'
import { keyOf } from '../../src/ipfs/block-key.ts'
import type { BlockSource, WantList } from '../../src/ipfs/block-source.ts'
import { type CarStore, openCarStore } from '../../src/ipfs/car-store.ts'
import { Exchange, Job, SINGLE_BLOCK, singleNeed } from '../../src/ipfs/exchange.ts'
import { ForegroundGate } from '../../src/ipfs/foreground-gate.ts'
import { GatewayHttp } from '../../src/ipfs/gateway-http.ts'
import { GatewaySource } from '../../src/ipfs/gateway-source.ts'
import { StoreSource } from '../../src/ipfs/store-source.ts'
import { OpenFile } from '../../src/ipfs/unixfs-file.ts'
import { decodeFileNode } from '../../src/ipfs/unixfs-node.ts'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { verifyBlock } from '../../src/verify/verified-bytes.ts'
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

describe('what a job wants', () => {
  class Scripted implements BlockSource {
    readonly name = 'scripted'
    readonly availableAt = 0
    readonly suspect = false
    readonly unusualMs = 1_000
    readonly #blocks: ReadonlyArray<readonly [CID, Uint8Array]>
    fetches = 0
    wantedMost = 0
    constructor (blocks: ReadonlyArray<readonly [CID, Uint8Array]>) { this.#blocks = blocks }
    status = (): never => { throw new Error('not asked') }
    activity = this.status
    close = async (): Promise<void> => {}
    beaten = (): void => {}

    /** One CAR without repeats: each block once, in order, taken or passed over. */
    async fetch (wants: WantList, attempts: Attempt[]): Promise<void> {
      this.fetches++
      for (const [cid, bytes] of this.#blocks) {
        if (wants.wanted(keyOf(cid)) !== undefined) wants.accept(keyOf(cid), verifyBlock(cid, bytes, this.name))
        this.wantedMost = Math.max(this.wantedMost, wants.size)
      }
      attempts.push({ source: this.name, code: 'CAR_TRUNCATED', note: 'ended', ms: 0, transient: false, formatRefused: false })
    }
  }

  function open (dag: Dag, root: CID, order: readonly CID[]): { source: Scripted, file: OpenFile } {
    const source = new Scripted(order.map((cid) => [cid, dag.get(cid) ?? Buffer.alloc(0)] as const))
    const exchange = new Exchange([source], { clock: systemClock, sleep: async () => {} })
    const node = decodeFileNode(root, verifyBlock(root, dag.get(root) ?? Buffer.alloc(0), 'here'))
    return { source, file: new OpenFile(exchange, { cid: root, node }) }
  }

  test('stays bounded when nodes crumble into leaves faster than a reader looks', async () => {
    const dag = new Dag()
    const inner = Array.from({ length: 5 }, (_, node) =>
      dag.file(Array.from({ length: 10_000 }, (_, at) => [rawCidOf(digestOf(Buffer.from(`${node} ${at}`))), 1] as const)))
    const root = dag.file(inner.map((cid) => [cid, 10_000] as const))
    const { source, file } = open(dag, root, inner)
    expect((await failureOf(file.read(0, 50_000))).code).toBe('LIMIT_EXCEEDED')
    expect(source.wantedMost).toBeLessThanOrEqual(RANGE_BLOCKS_MAX)
  })

  test('is not a leaf again that came already and two nodes share', async () => {
    const dag = new Dag()
    const shared = dag.leaf(Buffer.alloc(9))
    const [one, other] = [dag.file([[shared, 9]]), dag.file([[shared, 9], [dag.leaf(Buffer.from('1')), 1]])]
    const root = dag.file([[one, 9], [other, 10]])
    const { source, file } = open(dag, root, [one, shared, other, dag.leaf(Buffer.from('1'))])
    const pieces: Uint8Array[] = []
    for await (const piece of file.stream(0, file.size)) pieces.push(piece)
    expect(Buffer.concat(pieces)).toEqual(Buffer.concat([Buffer.alloc(18), Buffer.from('1')]))
    expect(source.fetches).toBe(1)
  })
})

describe('a long list of blocks that a source lacks is gone through a few times, not once for each', () => {
  const COUNT = 300

  async function looksOf (source: BlockSource): Promise<number> {
    const exchange = new Exchange([source], { clock: systemClock, sleep: async () => {} })
    const job = new Job(exchange, SINGLE_BLOCK, 'foreground')
    for (let at = 0; at < COUNT; at++) exchange.claim(singleNeed(rawCidOf(digestOf(Buffer.from(`absent ${at}`)))), job)
    let looks = 0
    const wants: WantList = {
      target: null,
      what: job.what,
      get size () { return job.size },
      get delivered () { return job.delivered },
      * pending () { for (const entry of job.pending()) { looks++; yield entry } },
      wanted: (key) => job.wanted(key),
      accept: (key, bytes) => job.accept(key, bytes),
      begin: () => job.begin()
    }
    const attempts: Attempt[] = []
    await source.fetch(wants, attempts, { signal: new AbortController().signal, priority: 'foreground' })
    await source.close()
    expect(attempts).toHaveLength(COUNT)
    return looks
  }

  test('by a gateway', async () => {
    const { url } = await gatewayOf(new Dag())
    const http = new GatewayHttp({ url, timeoutMs: 5_000, clock: systemClock })
    expect(await looksOf(new GatewaySource(http, { clock: systemClock, log: silentLog, gate: new ForegroundGate() }))).toBeLessThan(4 * COUNT)
  })

  test('by a CAR file', async () => {
    const car = join(import.meta.dirname, '../fixtures/cars/layout-gzip-inline.car')
    const open = async (): Promise<CarStore> => await openCarStore([car])
    expect(await looksOf(new StoreSource({ name: car, type: 'car', open, tellsMissing: true, clock: systemClock }))).toBeLessThan(4 * COUNT)
  })
})
