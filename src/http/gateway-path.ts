// Follows a content path from its root to the block that it names, through UnixFS directories, HAMT shards and IPLD
// documents (path-gateway spec, "Traversing remaining path"). Remembers the blocks that prove the way.
import type { CID } from 'multiformats/cid'
import { hasCode } from '../base/errors.ts'
import type { BlockStoreReadonly } from '../ipfs/block-store.ts'
import type { DagPbNode } from '../ipfs/dag-pb.ts'
import { type IpldValue, memberOf } from './gateway-ipld.ts'
import { type GatewayNode, readNode } from './gateway-node.ts'
import { problem } from './gateway-problem.ts'
import { ShardPath } from './gateway-shard.ts'

export interface ResolvedPath {
  /** Blocks in front of the terminal one, from the root, in order. */
  readonly way: readonly CID[]
  readonly terminal: CID
  /** The part of the terminal document that the path names, when it ends inside one. */
  readonly value: IpldValue | null
  /** The CID of each segment, the root first (X-Ipfs-Roots). */
  readonly roots: readonly CID[]
}

interface Position {
  readonly way: CID[]
  readonly roots: CID[]
  cid: CID
  /** null: at the block's start. */
  value: IpldValue | null
}

type Shard = Extract<GatewayNode, { kind: 'shard' }>

/** @throws 404 naming the segment that leads nowhere or the block that is missing; what the store throws for bad blocks. */
export async function resolvePath (store: BlockStoreReadonly, root: CID, segments: readonly string[], signal: AbortSignal): Promise<ResolvedPath> {
  const position: Position = { way: [], roots: [root], cid: root, value: null }
  for (const [index, segment] of segments.entries()) {
    const found = await step(store, position, segment, signal)
    if (!found) throw problem(404, `no ${JSON.stringify(segment.slice(0, 255))} below /ipfs/${[root.toString(), ...segments.slice(0, index)].join('/')}`)
    position.roots.push(position.cid)
  }
  return { way: position.way, terminal: position.cid, value: position.value, roots: position.roots }
}

/** Moves one segment on; false when nothing has that name. */
async function step (store: BlockStoreReadonly, position: Position, segment: string, signal: AbortSignal): Promise<boolean> {
  const node: GatewayNode = position.value === null ? await load(store, position.cid, signal) : { kind: 'document', value: position.value }
  switch (node.kind) {
    case 'directory':
      return follow(position, linkNamed(node.node, segment))
    case 'shard':
      return follow(position, await findInShard(store, position, node, segment, signal))
    case 'document':
      return enter(position, memberOf(node.value, segment))
    default:
      return false
  }
}

function follow (position: Position, next: CID | undefined): boolean {
  if (next === undefined) return false
  position.way.push(position.cid)
  position.cid = next
  position.value = null
  return true
}

function enter (position: Position, member: IpldValue | null): boolean {
  if (member === null) return false
  if (member.kind === 'link') return follow(position, member.cid)
  position.value = member
  return true
}

async function findInShard (
  store: BlockStoreReadonly, position: Position, root: Shard, segment: string, signal: AbortSignal
): Promise<CID | undefined> {
  const slots = new ShardPath(segment)
  let shard = root
  for (;;) {
    const slot = slots.next(shard.geometry)
    if (slot === null) return undefined
    const entry = linkNamed(shard.node, slot + segment)
    if (entry !== undefined) return entry
    const deeper = linkNamed(shard.node, slot)
    if (deeper === undefined) return undefined
    const next = await load(store, deeper, signal)
    if (next.kind !== 'shard') return undefined
    position.way.push(position.cid)
    position.cid = deeper
    shard = next
  }
}

/** The first link of that name: what other gateways follow, too. */
function linkNamed (node: DagPbNode, name: string): CID | undefined {
  const wanted = Buffer.from(name)
  for (let link = 0; link < node.links; link++) if (wanted.equals(node.nameBytes(link))) return node.anyCid(link)
  return undefined
}

async function load (store: BlockStoreReadonly, cid: CID, signal: AbortSignal): Promise<GatewayNode> {
  const bytes = await store.get(cid, { signal })
  if (bytes === null) throw problem(404, `block ${cid.toString()} on the path is not here`)
  try {
    return readNode(cid, bytes)
  } catch (error) {
    if (hasCode(error, 'BLOCK_INVALID', 'LIMIT_EXCEEDED')) throw problem(404, `block ${cid.toString()} on the path cannot be read`)
    throw error
  }
}
