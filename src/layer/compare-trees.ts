// Do two indexes describe the same tree? Walks both by name and reports the first difference, path first. Times are
// compared exactly, except that a TOC time in whole seconds (stargz rounds) may stand for the tar's within a second.
import { compareBytes } from '../base/bytes.ts'
import { binary, show } from './layer-entry.ts'
import type { Inode, LayerIndex, NamedInode, Xattr } from './layer-index.ts'

export interface TreePair {
  readonly toc: LayerIndex
  readonly tar: LayerIndex
  /** Called for each pair of files with content, once; an answer other than null is a difference. */
  readonly compareContents: (tocInode: number, tarInode: number) => string | null
}

/** Null when equal, else `"path": what differs`. */
export function firstDifference (pair: TreePair): string | null {
  return new Comparison(pair).compare(0, 0, '/')
}

class Comparison {
  readonly #pair: TreePair
  readonly #tarOfToc = new Map<number, number>()
  readonly #tocOfTar = new Map<number, number>()

  constructor (pair: TreePair) {
    this.#pair = pair
  }

  compare (tocInode: number, tarInode: number, path: string): string | null {
    const known = this.#tarOfToc.get(tocInode) ?? tarInode
    const claimed = this.#tocOfTar.get(tarInode) ?? tocInode
    if (known !== tarInode || claimed !== tocInode) return `${show(path)}: hard links differ`
    if (this.#tarOfToc.has(tocInode)) return null
    this.#tarOfToc.set(tocInode, tarInode)
    this.#tocOfTar.set(tarInode, tocInode)

    const toc = this.#pair.toc.inodes[tocInode]
    const tar = this.#pair.tar.inodes[tarInode]
    if (toc === undefined || tar === undefined) return `${show(path)}: there is no such inode`
    const difference = attributeDifference(toc, tar) ??
      (toc.kind === 'file' && toc.size > 0 ? this.#pair.compareContents(tocInode, tarInode) : null)
    if (difference !== null) return `${show(path)}: ${difference}`
    return this.#compareEntries(toc.entries ?? [], tar.entries ?? [], path === '/' ? '' : path)
  }

  #compareEntries (toc: readonly NamedInode[], tar: readonly NamedInode[], path: string): string | null {
    for (let i = 0; i < Math.max(toc.length, tar.length); i++) {
      const a = toc[i]
      const b = tar[i]
      const order = a === undefined ? 1 : b === undefined ? -1 : compareBytes(a.name, b.name)
      if (order < 0 && a !== undefined) return `${show(`${path}/${binary(a.name)}`)}: only the TOC has it`
      if (order > 0 && b !== undefined) return `${show(`${path}/${binary(b.name)}`)}: only the tar has it`
      const difference = a === undefined || b === undefined ? null : this.compare(a.inode, b.inode, `${path}/${binary(a.name)}`)
      if (difference !== null) return difference
    }
    return null
  }
}

const PLAIN_FIELDS = ['kind', 'mode', 'uid', 'gid', 'size', 'rdevMajor', 'rdevMinor', 'implied'] as const

function attributeDifference (toc: Inode, tar: Inode): string | null {
  for (const field of PLAIN_FIELDS) {
    if (toc[field] !== tar[field]) return `${field} is ${toc[field]} in the TOC, ${tar[field]} in the tar`
  }
  if (!sameTime(toc, tar)) {
    return `mtime is ${toc.mtimeSeconds}.${nine(toc)} in the TOC, ${tar.mtimeSeconds}.${nine(tar)} in the tar`
  }
  if (compareBytes(toc.target ?? new Uint8Array(0), tar.target ?? new Uint8Array(0)) !== 0) return 'link targets differ'
  return sameXattrs(toc.xattrs, tar.xattrs) ? null : 'xattrs differ'
}

function nine (inode: Inode): string {
  return String(inode.mtimeNanoseconds).padStart(9, '0')
}

function sameTime (toc: Inode, tar: Inode): boolean {
  if (toc.mtimeSeconds === tar.mtimeSeconds && toc.mtimeNanoseconds === tar.mtimeNanoseconds) return true
  if (toc.mtimeNanoseconds !== 0) return false
  return toc.mtimeSeconds === tar.mtimeSeconds || (toc.mtimeSeconds === tar.mtimeSeconds + 1 && tar.mtimeNanoseconds > 0)
}

function sameXattrs (a: readonly Xattr[], b: readonly Xattr[]): boolean {
  return a.length === b.length && a.every((xattr, i) => {
    const other = b[i]
    return other !== undefined && compareBytes(xattr.name, other.name) === 0 && compareBytes(xattr.value, other.value) === 0
  })
}
