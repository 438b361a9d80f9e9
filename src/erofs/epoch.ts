// The one modification time that 32-byte inodes share: the most frequent one, so that a layer whose times were clamped
// (reproducible builds) gets half the metadata, exactly.

import type { TreeNode } from './tree.ts'

const TIMES_COUNTED = 4096 // the first so many; a layer with more has no time worth sharing, or has it among these
const COMPACT_MAX = 0xFFFF // uid, gid and link count of a compact inode have 16 bits

export class Epoch {
  readonly seconds: number
  readonly nanoseconds: number

  constructor (seconds: number, nanoseconds: number) {
    this.seconds = seconds
    this.nanoseconds = nanoseconds
  }

  /** True when a compact inode says all there is to say about times, owner and links. */
  fits (node: TreeNode): boolean {
    return node.inode.mtimeSeconds === this.seconds && node.inode.mtimeNanoseconds === this.nanoseconds && mayBeCompact(node)
  }
}

/** Of several most frequent times the one that stands first. */
export function chooseEpoch (nodes: readonly TreeNode[]): Epoch {
  // Keys may collide for times far from 1970, where a double holds no nanoseconds: the choice gets worse, not wrong.
  const counts = new Map<number, number>()
  let best = { count: 0, seconds: 0, nanoseconds: 0 }
  for (const node of nodes) {
    if (!mayBeCompact(node)) continue
    const { mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds } = node.inode
    const key = seconds + nanoseconds / 1e9
    const count = (counts.get(key) ?? 0) + 1
    if (count > 1 || counts.size < TIMES_COUNTED) counts.set(key, count)
    if (count > best.count) best = { count, seconds, nanoseconds }
  }
  return new Epoch(best.seconds, best.nanoseconds)
}

function mayBeCompact ({ inode, links }: TreeNode): boolean {
  return inode.uid <= COMPACT_MAX && inode.gid <= COMPACT_MAX && links <= COMPACT_MAX
}
