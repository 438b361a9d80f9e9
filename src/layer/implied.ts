// Gives directories that a layer's tar does not name the attributes they have below, as containerd's applier does when it
// makes a parent directory (mkparent, copyDirInfo, copyUpXAttrs): mode, owner, mtime and all xattrs but trusted.*, from
// the nearest lower layer that has the path as a directory, a symlink in that layer followed inside it; else 0755 root.
// Stricter than containerd in one thing: what a whiteout or an opaque directory hides is not copied from.
// Source: containerd 1.6 to 2.2, archive/tar.go and tar_unix.go; continuity fs.RootPath.

import type { Inode, LayerIndex, NamedInode, Xattr } from './layer-index.ts'

const LINKS_MAX = 255 // followed in one look-up, as continuity's RootPath

/**
 * The same index with implied directories filled in (and no longer marked); the same object when it has none. `lowers`:
 * nearest parent first, resolved or not. Names, order, files and chunks stay as they are, so a data layout stays valid.
 */
export function resolveImplied (index: LayerIndex, lowers: readonly LayerIndex[]): LayerIndex {
  if (!index.inodes.some((inode) => inode.implied)) return index
  const inodes = [...index.inodes]
  visitDirectories(index, (position, inode, path, hidden) => {
    if (!inode.implied) return
    inodes[position] = withAttributes(inode, hidden ? null : findBelow(lowers, path))
  })
  return { ...index, inodes }
}

type Visit = (position: number, inode: Inode, path: readonly Uint8Array[], hidden: boolean) => void

/** Each directory once, with its path; `hidden`: an opaque directory above it hides the layers below. */
function visitDirectories (index: LayerIndex, visit: Visit): void {
  const pending: Array<{ position: number, path: readonly Uint8Array[], hidden: boolean }> = [{ position: 0, path: [], hidden: false }]
  const seen = new Set([0])
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const inode = index.inodes[next.position]
    if (inode === undefined) continue
    visit(next.position, inode, next.path, next.hidden)
    const hidden = next.hidden || isOpaque(inode)
    for (const { name, inode: position } of inode.entries ?? []) {
      if (index.inodes[position]?.kind !== 'directory' || seen.has(position)) continue
      seen.add(position)
      pending.push({ position, path: [...next.path, name], hidden })
    }
  }
}

function findBelow (lowers: readonly LayerIndex[], path: readonly Uint8Array[]): Inode | null {
  for (const lower of lowers) {
    const found = lookUp(lower, path)
    if (found.inode !== null) {
      if (found.inode.kind !== 'directory') return null // replaced or deleted: not the same directory any more
      if (!found.inode.implied) return found.inode
    }
    if (found.hidden) return null
  }
  return null
}

interface Found {
  /** Null: this layer says nothing about the path. */
  readonly inode: Inode | null
  /** What lies below this layer does not count. */
  readonly hidden: boolean
}

/** Follows symlinks inside this one layer, with its root as `/`. */
function lookUp (layer: LayerIndex, path: readonly Uint8Array[]): Found {
  const remaining = [...path].reverse()
  const root = layer.inodes[0]
  const walked: Inode[] = root === undefined ? [] : [root]
  let hidden = false
  for (let links = 0, name = remaining.pop(); name !== undefined; name = remaining.pop()) {
    if (isDot(name)) continue
    if (isDotDot(name)) {
      if (walked.length > 1) walked.pop()
      continue
    }
    const directory = walked.at(-1)
    if (directory === undefined) return { inode: null, hidden }
    if (directory.kind !== 'directory') return { inode: directory, hidden: true }
    hidden ||= isOpaque(directory)
    const child = childOf(layer, directory, name)
    if (child === null) return { inode: null, hidden }
    if (child.target === null) walked.push(child)
    else {
      if (++links > LINKS_MAX) return { inode: null, hidden: true }
      if (child.target[0] === SLASH) walked.length = 1
      remaining.push(...components(child.target).reverse())
    }
  }
  return { inode: walked.at(-1) ?? null, hidden }
}

const SLASH = 0x2F
const DOT = 0x2E

function components (target: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let start = 0, at = 0; at <= target.length; at++) {
    if (at < target.length && target[at] !== SLASH) continue
    if (at > start) found.push(target.subarray(start, at))
    start = at + 1
  }
  return found
}

function isDot (name: Uint8Array): boolean {
  return name.length === 1 && name[0] === DOT
}

function isDotDot (name: Uint8Array): boolean {
  return name.length === 2 && name[0] === DOT && name[1] === DOT
}

function childOf (layer: LayerIndex, directory: Inode, name: Uint8Array): Inode | null {
  const entries: readonly NamedInode[] = directory.entries ?? []
  for (let low = 0, high = entries.length; low < high;) {
    const middle = (low + high) >>> 1
    const entry = entries[middle]
    const order = entry === undefined ? 1 : Buffer.compare(entry.name, name)
    if (order === 0) return layer.inodes[entry?.inode ?? -1] ?? null
    if (order < 0) low = middle + 1
    else high = middle
  }
  return null
}

const OPAQUE = Buffer.from('trusted.overlay.opaque')
const TRUSTED = Buffer.from('trusted.')

function isOpaque (inode: Inode): boolean {
  return inode.xattrs.some(({ name, value }) => OPAQUE.equals(name) && value[0] === 0x79) // "y"
}

/** The directory's own trusted.* (that it is opaque) stay; null: nothing below has it. */
function withAttributes (inode: Inode, source: Inode | null): Inode {
  const own = inode.xattrs.filter(isTrusted)
  if (source === null) return { ...inode, mode: 0o755, uid: 0, gid: 0, xattrs: own, implied: false }
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = source
  const xattrs = [...own, ...source.xattrs.filter((xattr) => !isTrusted(xattr))].sort((a, b) => Buffer.compare(a.name, b.name))
  return { ...inode, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs, implied: false }
}

function isTrusted ({ name }: Xattr): boolean {
  return TRUSTED.equals(name.subarray(0, TRUSTED.length))
}
