// Turns the mutable tree into the LayerIndex: inodes in the layer's own order (so that the data layout is the order in
// which a streaming pass meets the contents), names sorted as memcmp would, links counted, unreachable nodes gone.
import { SnapshotterError } from '../base/errors.ts'
import { LAYER_CHUNKS_MAX } from '../base/limits.ts'
import type { Chunk, Inode, LayerIndex, NamedInode, Xattr } from './layer-index.ts'
import type { TreeNode } from './tree-node.ts'

const NO_XATTRS: readonly Xattr[] = []

export interface Frozen {
  readonly index: LayerIndex
  /** The node of each inode. */
  readonly nodes: readonly TreeNode[]
}

/** @throws LIMIT_EXCEEDED; uses up the tree. */
export function freeze (root: TreeNode, format: LayerIndex['format'], prefetchBytes: number, what: string): Frozen {
  const nodes = inOrder(reachable(root))
  for (const [inode, node] of nodes.entries()) node.inode = inode
  const chunks: Chunk[] = []
  const inodes = nodes.map((node): Inode => {
    const firstChunk = chunks.length
    for (const chunk of node.chunks) chunks.push(chunk)
    return inodeOf(node, firstChunk)
  })
  if (chunks.length > LAYER_CHUNKS_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${what}: ${chunks.length} chunks, limit ${LAYER_CHUNKS_MAX}`)
  }
  return { index: { format, inodes, chunks, prefetchBytes }, nodes }
}

function reachable (root: TreeNode): TreeNode[] {
  const found = [root]
  root.links = 2
  for (const directory of found) {
    for (const node of directory.entries?.values() ?? []) {
      if (node.entries !== null) {
        node.links = 2
        directory.links++
        found.push(node)
      } else if (node.links++ === 0) {
        found.push(node)
      }
    }
  }
  return found
}

/** By ordinal. Most layers replace little, so nearly every ordinal is there: a place for each costs less than sorting. */
function inOrder (nodes: readonly TreeNode[]): TreeNode[] {
  let last = 0
  for (const { ordinal } of nodes) last = Math.max(last, ordinal)
  const places = new Array<TreeNode | undefined>(last + 1).fill(undefined)
  for (const node of nodes) places[node.ordinal] = node
  return places.filter((node) => node !== undefined)
}

function inodeOf (node: TreeNode, firstChunk: number): Inode {
  return {
    kind: node.kind,
    mode: node.mode,
    uid: node.uid,
    gid: node.gid,
    mtimeSeconds: node.mtimeSeconds,
    mtimeNanoseconds: node.mtimeNanoseconds,
    size: node.kind === 'symlink' ? node.target.length : node.size,
    linkCount: node.links,
    rdevMajor: node.rdevMajor,
    rdevMinor: node.rdevMinor,
    target: node.kind === 'symlink' ? Buffer.from(node.target, 'latin1') : null,
    xattrs: xattrsOf(node),
    entries: node.entries === null ? null : entriesOf(node.entries),
    firstChunk,
    chunkCount: node.chunks.length,
    implied: node.implied
  }
}

function entriesOf (entries: ReadonlyMap<string, TreeNode>): NamedInode[] {
  const names = [...entries.keys()]
  if (!isSorted(names)) names.sort(byBytes)
  return names.map((name) => ({ name: Buffer.from(name, 'latin1'), inode: entries.get(name)?.inode ?? -1 }))
}

/** Many layers are, since the tools that make them walk sorted directories. */
function isSorted (names: readonly string[]): boolean {
  for (let at = 1; at < names.length; at++) if ((names[at - 1] ?? '') > (names[at] ?? '')) return false
  return true
}

function xattrsOf (node: TreeNode): readonly Xattr[] {
  if (node.xattrs === null) return NO_XATTRS
  return [...node.xattrs].sort(([a], [b]) => byBytes(a, b)).map(([name, value]) => ({ name: Buffer.from(name, 'latin1'), value }))
}

/** Of binary strings. */
function byBytes (a: string, b: string): number {
  return a < b ? -1 : 1
}
