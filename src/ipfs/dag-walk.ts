// All blocks of a DAG of raw and dag-pb blocks, as a store has them: what a pin holds.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { CODE_DAG_PB } from '../verify/cid.ts'
import { decodeDagPb } from './dag-pb.ts'
import type { BlockStoreReadonly } from './block-store.ts'

/**
 * The root first, each block once. Nodes are read and checked; of leaves it is seen that they are there. What is in `seen`
 * is passed over, and `seen` grows: several DAGs are walked as one.
 * @throws NOT_FOUND naming a block that is missing; BLOCK_*, CID_UNSUPPORTED for one that cannot be read.
 */
export async function * walkDag (store: BlockStoreReadonly, root: CID, seen = new Set<string>()): AsyncGenerator<CID> {
  const waiting = [root]
  for (let cid = waiting.pop(); cid !== undefined; cid = waiting.pop()) {
    // The same bytes linked as raw and as a node are a leaf here and a node there.
    const key = cid.toV1().toString()
    if (seen.has(key)) continue
    seen.add(key)
    if (!store.has(cid)) throw missing(cid, root)
    yield cid
    if (cid.code !== CODE_DAG_PB) continue
    const bytes = await store.get(cid)
    if (bytes === null) throw missing(cid, root)
    const node = decodeDagPb(cid, bytes)
    for (let link = node.links - 1; link >= 0; link--) waiting.push(node.cid(link))
  }
}

function missing (cid: CID, root: CID): SnapshotterError {
  const [block, of] = [cid.toString(), root.toString()]
  return new SnapshotterError('NOT_FOUND', `block ${block}${block === of ? '' : `, a part of ${of},`} is not in the store of this node`)
}

