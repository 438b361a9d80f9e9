// Whole DAGs of a publisher: directories, sharded directories, files of many blocks. An input is a list of blocks (2 bytes of
// length, then the block), the root first; 31 bytes of 0xEE and a number stand for the digest of the block of that number, so that
// every mutation is a DAG whose hashes are right.
import { UnixFS } from 'ipfs-unixfs'
import * as dagPb from '@ipld/dag-pb'
import { CID } from 'multiformats/cid'
import { sleep, systemClock } from '../../../src/base/clock.ts'
import { keyOf } from '../../../src/ipfs/block-key.ts'
import type { BlockSource } from '../../../src/ipfs/block-source.ts'
import { listDirectory, resolvePath } from '../../../src/ipfs/directory.ts'
import { Exchange, singleNeed } from '../../../src/ipfs/exchange.ts'
import { ForegroundGate } from '../../../src/ipfs/foreground-gate.ts'
import { Session } from '../../../src/ipfs/session.ts'
import { OpenFile } from '../../../src/ipfs/unixfs-file.ts'
import { decodeFileNode } from '../../../src/ipfs/unixfs-node.ts'
import { CODE_DAG_PB, rawCidOf } from '../../../src/verify/cid.ts'
import { digestBytes, digestOf } from '../../../src/verify/digest.ts'
import { verifyBlock } from '../../../src/verify/verified-bytes.ts'
import { Broken, type Target } from '../target.ts'

const PLACE = Buffer.alloc(31, 0xee)
const BLOCKS_MAX = 24
const BYTES_READ_MAX = 1 << 20

function linkTo (number: number, codec: number): CID {
  const digest = Buffer.concat([PLACE, Buffer.of(number)])
  const bytes = Buffer.concat([Buffer.of(0x12, 0x20), digest])
  return CID.createV1(codec, { code: 0x12, size: 32, bytes, digest })
}

function pack (...blocks: readonly Uint8Array[]): Buffer {
  return Buffer.concat(blocks.flatMap((block) => [Buffer.of(block.byteLength >> 8, block.byteLength & 0xff), block]))
}

interface Dag { readonly root: CID, readonly blocks: ReadonlyMap<string, Uint8Array> }

/** From the last block to the first: links lead to later blocks only. */
function unpack (input: Buffer): Dag {
  const parts: Buffer[] = []
  for (let at = 0; at + 2 <= input.byteLength && parts.length < BLOCKS_MAX;) {
    const length = input.readUInt16BE(at)
    parts.push(Buffer.from(input.subarray(at + 2, at + 2 + length)))
    at += 2 + length
  }
  const blocks = new Map<string, Uint8Array>()
  const digests: Uint8Array[] = []
  for (let number = parts.length - 1; number >= 0; number--) {
    const bytes = parts[number] ?? Buffer.alloc(0)
    for (let at = bytes.indexOf(PLACE); at >= 0 && at + 32 <= bytes.byteLength; at = bytes.indexOf(PLACE, at + 1)) {
      const digest = digests[bytes[at + 31] ?? 0]
      if (digest !== undefined) bytes.set(digest, at)
    }
    const digest = digestOf(bytes)
    digests[number] = digestBytes(digest)
    blocks.set(keyOf(rawCidOf(digest)), bytes)
  }
  return { root: CID.createV1(CODE_DAG_PB, rawCidOf(digestOf(parts[0] ?? Buffer.alloc(0))).multihash), blocks }
}

class Memory implements BlockSource {
  readonly name = 'fuzz'
  readonly availableAt = 0
  readonly suspect = false
  readonly unusualMs = 3_000
  readonly beaten = (): void => {}
  readonly #blocks: ReadonlyMap<string, Uint8Array>

  constructor (blocks: ReadonlyMap<string, Uint8Array>) {
    this.#blocks = blocks
  }

  readonly fetch: BlockSource['fetch'] = async (wants, attempts) => {
    wants.begin()
    for (const [key, { cid }] of wants.pending()) {
      const bytes = this.#blocks.get(keyOf(cid))
      if (bytes !== undefined) wants.accept(key, verifyBlock(cid, bytes, this.name))
      else attempts.push({ source: this.name, code: 'ROOT_NOT_FOUND', note: 'not there', ms: 0, transient: false, formatRefused: false })
    }
  }

  status (): ReturnType<BlockSource['status']> {
    return {
      name: this.name, type: 'car', requests: 0, failures: 0, failuresByCode: {}, bytes: 0, blocks: 0, budget: null, retryAt: null, health: 'ok', usualMs: null
    }
  }

  activity (): ReturnType<BlockSource['activity']> {
    throw new Broken('nobody asks')
  }

  async close (): Promise<void> { /* nothing is open */ }
}

function shard (links: ReadonlyArray<readonly [string, CID]>, fanout = 256n): Uint8Array {
  const Data = new UnixFS({ type: 'hamt-sharded-directory', data: Buffer.of(0xff), fanout, hashType: 0x22n }).marshal()
  return dagPb.encode(dagPb.prepare({ Data, Links: links.map(([Name, Hash]) => ({ Name, Hash, Tsize: 1 })) }))
}

function directory (links: ReadonlyArray<readonly [string, CID]>): Uint8Array {
  return dagPb.encode(dagPb.prepare({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: links.map(([Name, Hash]) => ({ Name, Hash, Tsize: 1 })) }))
}

function file (sizes: readonly bigint[], links: readonly CID[], data = ''): Uint8Array {
  const Data = new UnixFS({ type: 'file', data: Buffer.from(data), blockSizes: [...sizes] }).marshal()
  return dagPb.encode({ Data, Links: links.map((Hash) => ({ Hash, Name: '', Tsize: 1 })) })
}

const RAW = 0x55
const LEAF = Buffer.from('leaf')
const INDEX_SHARD = 'E8' // any slot: the listing does not look names up
const SEEDS = [
  pack(directory([['a', linkTo(1, RAW)], ['blobs', linkTo(2, CODE_DAG_PB)]]), LEAF, directory([['b', linkTo(1, RAW)]])),
  pack(shard([[`${INDEX_SHARD}a`, linkTo(2, RAW)], ['07', linkTo(1, CODE_DAG_PB)]]), shard([['A1blobs', linkTo(2, RAW)]]), LEAF),
  pack(shard([['1', linkTo(1, CODE_DAG_PB)], ['2', linkTo(1, CODE_DAG_PB)]], 16n), shard([['3a', linkTo(2, RAW)]], 16n), LEAF),
  pack(shard([['0', linkTo(1, CODE_DAG_PB)]], 8n), file([], [], 'not a shard'), LEAF),
  pack(file([4n, 8n], [linkTo(2, RAW), linkTo(1, CODE_DAG_PB)], 'head'), file([4n, 4n], [linkTo(2, RAW), linkTo(2, RAW)]), LEAF),
  pack(file([9n], [linkTo(1, CODE_DAG_PB)]), file([4n], [linkTo(2, RAW)], 'inner'), LEAF)
]

const TOKENS = [
  ...[0, 1, 2, 3, 4].flatMap((number) => [RAW, CODE_DAG_PB].map((codec) => linkTo(number, codec).bytes)), 'a', 'blobs', '/', '..', '00', 'FF',
  Buffer.of(0x08, 5), Buffer.of(0x08, 1), Buffer.of(0x08, 2), Buffer.of(0x30, 8), Buffer.of(0x30, 0x80, 2), Buffer.of(0x28, 0x22), Buffer.of(0x28, 0x12),
  Buffer.of(0x20, 4), Buffer.of(0x18, 4), Buffer.of(0, 0), Buffer.of(0, 4)
]

/** Links lead down only, so that every name is found by its listing, and what is read has the size that the root states. */
export function makeDirectory (): Target {
  return dagTarget(async (exchange, root) => {
    const entries = await listDirectory(exchange, root, {})
    const [first] = entries ?? []
    if (first === undefined) return
    const found = await resolvePath(exchange, root, [first.name, 'a'], {})
    if (found !== null) await listDirectory(exchange, found, {})
  })
}

export function makeFileDag (): Target {
  return dagTarget(async (exchange, root) => {
    const session = new Session(exchange, {})
    try {
      session.request([singleNeed(root)])
      const file = new OpenFile(exchange, { cid: root, node: decodeFileNode(root, await session.wait(root)) })
      const length = Math.min(file.size, BYTES_READ_MAX)
      const bytes = await file.read(0, length)
      if (bytes.byteLength !== length) throw new Broken(`${bytes.byteLength} bytes of ${length}`)
      const middle = await file.read(Math.floor(length / 3), Math.floor(length / 2))
      const part = bytes.subarray(Math.floor(length / 3), Math.floor(length / 3) + Math.floor(length / 2))
      if (Buffer.compare(part, middle) !== 0) throw new Broken('another middle')
    } finally {
      session.close()
    }
  })
}

function dagTarget (run: (exchange: Exchange, root: CID) => Promise<void>): Target {
  return {
    seeds: SEEDS,
    tokens: TOKENS,
    bytesMax: 4096,
    run: async (input) => {
      const { root, blocks } = unpack(input)
      const gate = new ForegroundGate()
      const exchange = new Exchange([new Memory(blocks)], { clock: systemClock, sleep: async () => { await sleep(0) } }, gate)
      try {
        await run(exchange, root)
      } finally {
        await exchange.close()
      }
    }
  }
}
