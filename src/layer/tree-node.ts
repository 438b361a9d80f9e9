// A node of the tree while a layer is being read: mutable, with names as binary strings. freeze.ts makes it a LayerIndex.
import type { Chunk, InodeKind } from './layer-index.ts'

export interface TreeNode {
  readonly kind: InodeKind
  mode: number
  uid: number
  gid: number
  mtimeSeconds: number
  mtimeNanoseconds: number
  readonly size: number
  readonly rdevMajor: number
  readonly rdevMinor: number
  /** Of a symlink, else empty. */
  readonly target: string
  xattrs: Map<string, Uint8Array> | null
  /** Of a directory, else null. */
  readonly entries: Map<string, TreeNode> | null
  /** No entry of the layer named this directory (so far). */
  implied: boolean
  /** Of a file, by fileOffset. Shared when empty: assign, never push to a node that has none. */
  chunks: readonly Chunk[]
  /** Where a streaming pass put the file's content, or -1. */
  dataOffset: number
  /** Position among all nodes ever made, which is the order of the layer. */
  readonly ordinal: number
  /** Set by freeze.ts. */
  inode: number
  links: number
}

export const NO_CHUNKS: readonly Chunk[] = []
