// What names a block inside this room: its multihash. CIDv0 and v1, raw and dag-pb of one multihash are one block.
import type { CID } from 'multiformats/cid'

export type BlockKey = string

export function keyOf (cid: CID): BlockKey {
  return keyOfMultihash(cid.multihash.bytes)
}

export function keyOfMultihash (multihash: Uint8Array): BlockKey {
  return Buffer.from(multihash.buffer, multihash.byteOffset, multihash.byteLength).toString('latin1')
}
