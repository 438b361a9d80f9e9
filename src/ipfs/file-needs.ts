// Which blocks below a file's node hold a byte range: the step of every walk, and what a job needs to fetch a whole range
// in one CAR while its nodes arrive.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { BLOCK_BYTES_MAX, RANGE_BLOCKS_MAX } from '../base/limits.ts'
import { CODE_DAG_PB } from '../verify/cid.ts'
import type { Need } from './block-source.ts'
import type { ByteRange } from './blocks.ts'
import type { JobPlan } from './exchange.ts'
import { decodeFileNode, type FileNode } from './unixfs-node.ts'

/**
 * The children of `node`, whose first byte stands at `base`, that hold bytes of the range.
 * @throws BLOCK_INVALID for a leaf that no block can hold, CID_UNSUPPORTED.
 */
export function * needsBelow ({ starts, children, cid }: FileNode, base: number, range: ByteRange): Generator<Need> {
  let low = 0
  let high = children
  while (low < high) { // the first child that ends after `from`
    const middle = (low + high) >>> 1
    if (base + (starts[middle + 1] ?? 0) <= range.from) low = middle + 1
    else high = middle
  }
  for (let child = low; child < children; child++) {
    const start = base + (starts[child] ?? 0)
    const size = base + (starts[child + 1] ?? 0) - start
    if (start >= range.to) return
    if (size > 0) yield needOf(cid(child), start, size, range)
  }
}

/** Fetches what a range needs as its nodes arrive; `keep` is the caller's. */
export function rangePlan (root: CID, range: ByteRange): Omit<JobPlan, 'keep'> {
  return {
    target: { root, names: [], scope: 'range' },
    expand: (need, bytes) => [...needsBelow(decodeFileNode(need.cid, bytes), need.base, range)].slice(0, RANGE_BLOCKS_MAX)
  }
}

function needOf (cid: CID, base: number, size: number, range: ByteRange): Need {
  const isNode = cid.code === CODE_DAG_PB
  if (!isNode && size > BLOCK_BYTES_MAX) {
    throw new SnapshotterError('BLOCK_INVALID', `a file claims a block of ${size} bytes (${cid.toString()}), limit ${BLOCK_BYTES_MAX}`)
  }
  return { cid, base, size, from: Math.max(base, range.from), to: Math.min(base + size, range.to), deep: isNode && size > BLOCK_BYTES_MAX }
}
