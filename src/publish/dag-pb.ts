// Canonical dag-pb nodes with UnixFS data, written by hand: two protobuf messages of a few fields (IPLD dag-pb spec,
// UnixFS spec). Links stand before Data and in the order given; what is default is left out, so equal nodes are equal bytes.
import { hash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { CODE_DAG_PB, CODE_RAW, CODE_SHA2_256 } from '../verify/cid.ts'

export interface Link {
  readonly name: string
  readonly cid: CID
  /** Cumulative bytes of the child and everything below it. */
  readonly tsize: number
}

export interface UnixfsData {
  readonly type: 'directory' | 'file' | 'shard'
  readonly data?: Uint8Array
  readonly fileSize?: number
  readonly blockSizes?: readonly number[]
  readonly hashType?: number
  readonly fanout?: number
}

const TYPES = { directory: 1, file: 2, shard: 5 } as const
const VARINT = 0
const BYTES = 2

export function encodeNode (links: readonly Link[], data: UnixfsData): Buffer {
  return Buffer.concat([...links.map((link) => bytesField(2, encodeLink(link))), bytesField(1, encodeUnixfs(data))])
}

export function rawCid (bytes: Uint8Array): CID {
  return cidOf(CODE_RAW, bytes)
}

export function nodeCid (bytes: Uint8Array): CID {
  return cidOf(CODE_DAG_PB, bytes)
}

/** The same node under a CID of version 0. */
export function nodeCidV0 (bytes: Uint8Array): CID {
  return CID.createV0({ ...nodeCid(bytes).multihash, code: CODE_SHA2_256 })
}

/** Unsigned LEB128, for numbers up to 2^53. */
export function varint (value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}

function cidOf (code: number, bytes: Uint8Array): CID {
  const multihash = new Uint8Array(34)
  multihash.set([CODE_SHA2_256, 32])
  multihash.set(hash('sha256', bytes, 'buffer'), 2)
  return CID.createV1(code, { code: CODE_SHA2_256, size: 32, bytes: multihash, digest: multihash.subarray(2) })
}

function encodeLink (link: Link): Buffer {
  return Buffer.concat([bytesField(1, link.cid.bytes), bytesField(2, Buffer.from(link.name)), numberField(3, link.tsize)])
}

function encodeUnixfs (data: UnixfsData): Buffer {
  const parts = [numberField(1, TYPES[data.type])]
  if (data.data !== undefined) parts.push(bytesField(2, data.data))
  if (data.fileSize !== undefined) parts.push(numberField(3, data.fileSize))
  for (const size of data.blockSizes ?? []) parts.push(numberField(4, size))
  if (data.hashType !== undefined) parts.push(numberField(5, data.hashType))
  if (data.fanout !== undefined) parts.push(numberField(6, data.fanout))
  return Buffer.concat(parts)
}

function numberField (field: number, value: number): Buffer {
  return Buffer.concat([varint(field << 3 | VARINT), varint(value)])
}

function bytesField (field: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint(field << 3 | BYTES), varint(value.byteLength), value])
}
