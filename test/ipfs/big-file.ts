// A file of many GiB that exists only as a rule: leaf n is 1 MiB made from n modulo DISTINCT, so that its blocks fit memory.
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import type { FakeBlocks } from '../fakes/gateway-dag.ts'

export const LEAF_BYTES = 1 << 20
/** Distinct leaves: more than any cache of the reader holds. */
export const DISTINCT = 128
const LINKS = 1024

function leafOf (number: number): Buffer {
  const bytes = Buffer.alloc(LEAF_BYTES, number & 0xff)
  bytes.writeUInt32LE(number, 0)
  return bytes
}

export class BigFile implements FakeBlocks {
  readonly root: CID
  readonly #nodes = new Map<string, Uint8Array>()
  readonly #leaves = new Map<string, Buffer>()

  constructor (leaves: number) {
    const cids: CID[] = []
    for (let number = 0; number < DISTINCT; number++) {
      const leaf = leafOf(number)
      const cid = rawCidOf(digestOf(leaf))
      cids.push(cid)
      this.#leaves.set(cid.toString(), leaf)
    }
    const inner: Array<readonly [CID, number]> = []
    for (let first = 0; first < leaves; first += LINKS) {
      const count = Math.min(LINKS, leaves - first)
      const links = Array.from({ length: count }, (_, index) => [cids[(first + index) % DISTINCT] as CID, LEAF_BYTES] as const)
      inner.push([this.#node(links), count * LEAF_BYTES])
    }
    this.root = this.#node(inner)
  }

  get (cid: CID): Uint8Array | undefined {
    return this.#leaves.get(cid.toString()) ?? this.#nodes.get(cid.toString())
  }

  #node (links: ReadonlyArray<readonly [CID, number]>): CID {
    const Data = new UnixFS({ type: 'file', blockSizes: links.map(([, size]) => BigInt(size)) }).marshal()
    const bytes = dagPb.encode({ Data, Links: links.map(([Hash, Tsize]) => ({ Hash, Name: '', Tsize })) })
    const cid = CID.createV1(dagPb.code, rawCidOf(digestOf(bytes)).multihash)
    this.#nodes.set(cid.toString(), bytes)
    return cid
  }
}
