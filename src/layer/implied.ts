// Gives directories that a layer's tar does not name the attributes they have below, as containerd's applier does when it
// makes a parent directory (mkparent, copyDirInfo, copyUpXAttrs): mode, owner, mtime and all xattrs but trusted.*, from
// the nearest lower layer in which the path leads to a directory, symlinks followed inside that layer; else 0755 root. A
// whiteout or any other file there ends the search; an opaque directory does not (seen with containerd 1.6; 2.x is alike).
// Source: containerd archive/tar.go, archive/tar_unix.go; continuity fs.RootPath.

import { SnapshotterError } from '../base/errors.ts'
import { IMPLIED_STEPS_MAX, LINKS_FOLLOWED_MAX } from '../base/limits.ts'
import type { Inode, LayerIndex, NamedInode, Xattr } from './layer-index.ts'

/**
 * The same index with implied directories filled in (and no longer marked); the same object when it has none. `lowers`:
 * nearest parent first, resolved or not. Names, order, files and chunks stay as they are, so a data layout stays valid.
 * @throws LIMIT_EXCEEDED when that takes more than `stepsMax` steps: names looked up, and bytes of link targets followed.
 */
export function resolveImplied (index: LayerIndex, lowers: readonly LayerIndex[], stepsMax = IMPLIED_STEPS_MAX): LayerIndex {
  const { format, chunks, prefetchBytes } = index
  if (!index.inodes.some((inode) => inode.implied)) return index
  const inodes = [...index.inodes]
  let left = stepsMax
  const spend: Spend = (steps) => {
    left -= steps
    if (left >= 0) return
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `directories that the layer's tar does not name take more than ${stepsMax} steps to find below`)
  }
  visitDirectories(index, (position, inode, path) => {
    if (inode.implied) inodes[position] = withAttributes(inode, findBelow(lowers, path, spend))
  })
  return { format, inodes, chunks, prefetchBytes }
}

type Path = readonly Uint8Array[]

/** A publisher chooses how many paths there are, and links of 4 KB in every one of them. */
type Spend = (steps: number) => void

/** Each directory once, with its path. */
function visitDirectories (index: LayerIndex, visit: (position: number, inode: Inode, path: Path) => void): void {
  const pending: Array<{ position: number, path: Path }> = [{ position: 0, path: [] }]
  const seen = new Set([0])
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const inode = index.inodes[next.position]
    if (inode === undefined) continue
    visit(next.position, inode, next.path)
    for (const { name, inode: position } of inode.entries ?? []) {
      if (index.inodes[position]?.kind !== 'directory' || seen.has(position)) continue
      seen.add(position)
      pending.push({ position, path: [...next.path, name] })
    }
  }
}

function findBelow (lowers: readonly LayerIndex[], path: Path, spend: Spend): Inode | null {
  let wanted = path
  for (const lower of lowers) {
    const found = lookUp(lower, wanted, spend)
    if (found === null) continue
    if (found.inode.kind !== 'directory') return null // replaced or deleted: not the same directory any more
    if (!found.inode.implied) return found.inode
    wanted = found.path // unresolved: what it would have taken lies below it, under its own path
  }
  return null
}

interface Found {
  readonly inode: Inode
  readonly path: Path
}

/** Follows symlinks inside this one layer, with its root as `/`. Null: this layer says nothing about the path. */
function lookUp (layer: LayerIndex, path: Path, spend: Spend): Found | null {
  const remaining = [...path].reverse()
  const root = layer.inodes[0]
  if (root === undefined) return null
  let walked: ReadonlyArray<{ readonly inode: Inode, readonly name: Uint8Array }> = []
  for (let links = 0, name = remaining.pop(); name !== undefined; name = remaining.pop()) {
    spend(1)
    if (isDot(name)) continue
    if (isDotDot(name)) {
      walked = walked.slice(0, -1)
      continue
    }
    const directory = walked.at(-1)?.inode ?? root
    if (directory.kind !== 'directory') break // nothing can be below it: this is what replaced the path
    const inode = childOf(layer, directory, name)
    if (inode === null) return null
    if (inode.target === null) walked = [...walked, { inode, name }]
    else if (++links > LINKS_FOLLOWED_MAX) return { inode, path }
    else {
      spend(inode.target.length)
      if (inode.target[0] === SLASH) walked = []
      remaining.push(...components(inode.target).reverse())
    }
  }
  return { inode: walked.at(-1)?.inode ?? root, path: walked.map(({ name }) => name) }
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

const TRUSTED = Buffer.from('trusted.')

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
