// HAMT shards of UnixFS directories (specs/unixfs, "HAMT directories"): which slot a name falls in, and which links of
// a shard lead to further shards.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import type { DagPbNode } from '../ipfs/dag-pb.ts'
import { murmur3x64 } from '../ipfs/murmur3.ts'
import { ProtobufReader, WIRE_VARINT } from '../ipfs/protobuf.ts'

export interface ShardGeometry {
  /** Bits of a name's hash that choose a slot. */
  readonly bits: number
  /** Hex digits of the slot in front of each link's name. */
  readonly digits: number
}

const FIELD_HASH_TYPE = 5 << 3 | WIRE_VARINT
const FIELD_FANOUT = 6 << 3 | WIRE_VARINT
const MURMUR3_X64_64 = 0x22
const FANOUT_MAX = 1024

/** @throws BLOCK_INVALID for a fanout that is no power of two, no multiple of 8 or over 1024, and for other hashes. */
export function shardGeometry (cid: CID, node: DagPbNode): ShardGeometry {
  const what = `shard ${cid.toString()}`
  const reader = new ProtobufReader(node.data ?? new Uint8Array(0), () => what)
  let hashType = 0
  let fanout = 0
  while (!reader.done) {
    const tag = reader.tag()
    if (tag === FIELD_HASH_TYPE) hashType = reader.uint()
    else if (tag === FIELD_FANOUT) fanout = reader.uint()
    else reader.skip(tag & 7)
  }
  const bits = Math.log2(fanout)
  if (hashType !== MURMUR3_X64_64 || fanout < 8 || fanout > FANOUT_MAX || !Number.isInteger(bits)) {
    throw new SnapshotterError('BLOCK_INVALID', `${what}: fanout ${fanout}, hash 0x${hashType.toString(16)}`)
  }
  return { bits, digits: (fanout - 1).toString(16).length }
}

/** True when the link's name is a slot number only: it leads to a further shard. */
export function isSubShard (node: DagPbNode, geometry: ShardGeometry, link: number): boolean {
  return node.nameBytes(link).byteLength === geometry.digits
}

/** Hands out a name's slots, one level after the other, as they stand in front of link names. */
export class ShardPath {
  readonly #bits: string
  #used = 0

  constructor (name: string) {
    this.#bits = Array.from(murmur3x64(Buffer.from(name)), (byte) => byte.toString(2).padStart(8, '0')).join('')
  }

  /** null when the hash is used up: no directory is deeper. */
  next ({ bits, digits }: ShardGeometry): string | null {
    if (this.#used + bits > this.#bits.length) return null
    const slot = parseInt(this.#bits.slice(this.#used, this.#used + bits), 2)
    this.#used += bits
    return slot.toString(16).toUpperCase().padStart(digits, '0')
  }
}
