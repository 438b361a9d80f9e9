// The UnixFS message inside a dag-pb node (specs/unixfs), decoded, and the checks that make a file node's byte ranges
// mean something. Shapes only: walking belongs to the callers.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import type { DagPbNode } from './dag-pb.ts'
import { pbFields, pbPacked } from './protobuf.ts'

export const UNIXFS = { raw: 0, directory: 1, file: 2, metadata: 3, symlink: 4, shard: 5 } as const

export interface UnixfsData {
  /** One of UNIXFS. */
  readonly type: number
  /** Inline file bytes, a symlink's target, or a shard's bitmap; a view. Empty when absent. */
  readonly data: Uint8Array
  readonly fileSize: number | null
  /** File bytes below each link, in the order of the links. */
  readonly blockSizes: readonly number[]
  readonly hashType: number | null
  readonly fanout: number | null
}

const MURMUR3_X64_64 = 0x22

/** @throws BLOCK_INVALID naming `what` when this is no UnixFS message. Unknown fields (mode, mtime, later ones) are skipped. */
export function decodeUnixfs (bytes: Uint8Array, what: string): UnixfsData {
  const numbers = new Map<number, number>()
  const blockSizes: number[] = []
  let data: Uint8Array = new Uint8Array(0)
  for (const { number, value, bytes: content } of pbFields(bytes, what)) {
    if (number === 2 && content !== null) data = content
    else if (number === 4 && content !== null) blockSizes.push(...pbPacked(content, what))
    else if (number === 4 && value !== null) blockSizes.push(value)
    else if (value !== null) numbers.set(number, value)
    else if (number < 7) throw new SnapshotterError('BLOCK_INVALID', `${what}: UnixFS field ${number} has the wrong type`)
  }
  const type = numbers.get(1)
  if (type === undefined || type > UNIXFS.shard) throw new SnapshotterError('BLOCK_INVALID', `${what}: UnixFS type ${type ?? 'missing'}`)
  return {
    type, data, blockSizes,
    fileSize: numbers.get(3) ?? null, hashType: numbers.get(5) ?? null, fanout: numbers.get(6) ?? null
  }
}

export interface FileChild {
  readonly cid: CID
  /** File bytes [from, to) of this node lie below the link, as the node claims. */
  readonly from: number
  readonly to: number
}

/**
 * A file node's children with their byte ranges; inline bytes come before them.
 * @throws BLOCK_INVALID when links and sizes do not fit each other (specs/unixfs).
 */
export function fileChildren (node: DagPbNode, unixfs: UnixfsData, what: string): { size: number, children: FileChild[] } {
  const { blockSizes } = unixfs
  if (node.links.length !== blockSizes.length) {
    throw new SnapshotterError('BLOCK_INVALID', `${what}: file node has ${node.links.length} links and ${blockSizes.length} block sizes`)
  }
  let at = unixfs.data.byteLength
  const children = node.links.map(({ cid }, index) => {
    const from = at
    at += blockSizes[index] ?? 0
    return { cid, from, to: at }
  })
  if (unixfs.fileSize !== null && unixfs.fileSize !== at) {
    throw new SnapshotterError('BLOCK_INVALID', `${what}: file node declares ${unixfs.fileSize} bytes, its parts have ${at}`)
  }
  return { size: at, children }
}

/** A HAMT shard's geometry: `bits` of the name's hash choose a slot, whose number is the first `digits` hex digits of a link. */
export function shardGeometry (unixfs: UnixfsData, what: string): { bits: number, digits: number } {
  const { fanout, hashType } = unixfs
  const bits = Math.log2(fanout ?? 0)
  if (fanout === null || !Number.isInteger(bits) || fanout % 8 !== 0 || fanout > 1024 || hashType !== MURMUR3_X64_64) {
    throw new SnapshotterError('BLOCK_INVALID', `${what}: HAMT shard with fanout ${fanout ?? 'missing'} and hash ${hashType ?? 'missing'}`)
  }
  return { bits, digits: (fanout - 1).toString(16).length }
}
