// A layer's tree as a path-based filesystem asks for it: the same walk, xattr rules and data layout that the EROFS builder
// uses, so that both show one tree. Refuses names that JavaScript strings cannot carry to libfuse and back.
import { isUtf8 } from 'node:buffer'
import { excerpt } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { directorySize, withDots } from '../erofs/directory.ts'
import { type TreeNode, walkTree } from '../erofs/tree.ts'
import { type NameTable, storedXattrs, type StoredXattr } from '../erofs/xattr-rules.ts'
import { layoutData } from '../layer/data-layout.ts'
import type { InodeKind, LayerIndex, NamedInode } from '../layer/layer-index.ts'
import type { FuseStat } from './fuse-native.ts'

const TYPE_BITS: Readonly<Record<InodeKind, number>> = {
  fifo: 0o010000, char: 0o020000, directory: 0o040000, block: 0o060000, file: 0o100000, symlink: 0o120000
}
const XATTR_PREFIXES: Readonly<Record<number, string>> = {
  1: 'user.', 2: 'system.posix_acl_access', 3: 'system.posix_acl_default', 4: 'trusted.', 6: 'security.'
}
const BLOCK_BYTES = 4096
const SECTOR_BYTES = 512
const REPLACEMENT = Buffer.from('\uFFFD')

export class TreeView {
  readonly #nodes: ReadonlyArray<TreeNode | undefined>
  readonly #offsets: Float64Array
  /** Filled when a directory is first looked into. */
  readonly #children = new Map<number, ReadonlyMap<string, number>>()
  readonly #xattrs = new Map<number, ReadonlyMap<string, Uint8Array>>()
  readonly #firstInode: number
  /** Of the data device. */
  readonly dataBytes: number

  /**
   * `firstInode`: the root's number; the others follow.
   * @throws LAYER_INVALID, LIMIT_EXCEEDED as the EROFS builder; UNSUPPORTED for names that are no UTF-8.
   */
  constructor (index: LayerIndex, firstInode: number) {
    const layout = layoutData(index)
    const nodes = new Array<TreeNode | undefined>(index.inodes.length)
    const names: NameTable = new Map()
    for (const node of walkTree(index)) {
      nodes[node.position] = node
      requireUtf8('a link target', node.inode.target, node)
      for (const { name } of node.inode.entries ?? []) requireUtf8('a name', name, node)
      for (const { name } of node.inode.xattrs) requireUtf8('the name of an xattr', name, node)
      const xattrs = node.inode.xattrs.length === 0 ? [] : storedXattrs(node.inode, names, excerpt(node.name))
      if (xattrs.length > 0) this.#xattrs.set(node.position, new Map(xattrs.map((xattr) => [fullName(xattr), xattr.value])))
    }
    this.#nodes = nodes
    this.#offsets = layout.fileOffsets
    this.dataBytes = layout.size
    this.#firstInode = firstInode
  }

  get inodes (): number {
    return this.#nodes.length
  }

  /** The position of the inode at an absolute path, or null. */
  find (path: string): number | null {
    let position: number | undefined = 0
    for (const name of path.split('/')) {
      if (name === '') continue
      position = this.#childrenOf(position).get(name)
      if (position === undefined) return null
    }
    return position
  }

  kindOf (position: number): InodeKind {
    return this.#node(position).inode.kind
  }

  stat (position: number): FuseStat {
    const { inode, links } = this.#node(position)
    const size = inode.kind === 'directory' ? directorySize(this.#listing(position)) : inode.kind === 'symlink' ? inode.target?.length ?? 0 : inode.size
    const mtime = Math.max(0, inode.mtimeSeconds * 1000 + Math.floor(inode.mtimeNanoseconds / 1e6)) // fuse-native has no times before 1970
    return {
      mode: TYPE_BITS[inode.kind] | inode.mode,
      ino: this.#firstInode + position,
      nlink: links,
      uid: inode.uid,
      gid: inode.gid,
      rdev: deviceNumber(inode.rdevMajor, inode.rdevMinor),
      size,
      blocks: Math.ceil(size / BLOCK_BYTES) * (BLOCK_BYTES / SECTOR_BYTES),
      blksize: BLOCK_BYTES,
      mtime,
      atime: mtime,
      ctime: mtime
    }
  }

  /** With `.` and `..`. */
  list (position: number): Array<{ readonly name: string, readonly position: number }> {
    return this.#listing(position).map(({ name, inode }) => ({ name: text(name), position: inode }))
  }

  target (position: number): string {
    return text(this.#node(position).inode.target ?? new Uint8Array(0))
  }

  xattrs (position: number): ReadonlyMap<string, Uint8Array> {
    return this.#xattrs.get(position) ?? NO_XATTRS
  }

  /** Where `length` bytes of a file from `offset` on, or what it has of them, stand in the data device. */
  extent (position: number, offset: number, length: number): { readonly at: number, readonly bytes: number } {
    const { inode } = this.#node(position)
    const bytes = Math.max(0, Math.min(length, inode.size - offset))
    return { at: (this.#offsets[position] ?? -1) + offset, bytes }
  }

  #listing (position: number): NamedInode[] {
    const { inode, parent } = this.#node(position)
    return withDots(inode.entries ?? [], position, parent)
  }

  #childrenOf (position: number): ReadonlyMap<string, number> {
    let children = this.#children.get(position)
    if (children === undefined) {
      children = new Map((this.#node(position).inode.entries ?? []).map(({ name, inode }) => [text(name), inode]))
      this.#children.set(position, children)
    }
    return children
  }

  #node (position: number): TreeNode {
    const node = this.#nodes[position]
    if (node === undefined) throw new SnapshotterError('INTERNAL', `inode ${position} of ${this.#nodes.length} does not exist`)
    return node
  }
}

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map()

/** As glibc and the kernel's new_encode_dev have it: 32 bits hold 12 of the major and 20 of the minor number. */
function deviceNumber (major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}

function fullName ({ name: { index, suffix } }: StoredXattr): string {
  return `${XATTR_PREFIXES[index] ?? ''}${text(suffix)}`
}

/** U+FFFD is refused too: libfuse's paths hold it in place of any byte that is no UTF-8, so it would be found under other names. */
function requireUtf8 (what: string, bytes: Uint8Array | null, { name }: TreeNode): void {
  if (bytes === null || (isUtf8(bytes) && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(REPLACEMENT) < 0)) return
  throw new SnapshotterError('UNSUPPORTED',
    `the driver fuse shows UTF-8 only: ${what} at ${excerpt(name)} is ${excerpt(bytes)}; use the driver erofs or erofs-loop`)
}

function text (bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
