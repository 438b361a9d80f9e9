// An index as a list a person can compare: one record per path, with the content's hash; and the pure overlay merge.
import type { Inode, LayerIndex } from '../../src/layer/layer-index.ts'
import { layoutData } from '../../src/layer/data-layout.ts'
import { sha256Hex, type TruthEntry } from './fixtures.ts'

export type Flat = Map<string, FlatEntry>
export interface FlatEntry extends TruthEntry { readonly implied: boolean }

/** The content of an inode, by position. */
export type Contents = (inode: number) => Uint8Array

export function flatten (index: LayerIndex, contents: Contents): Flat {
  const flat: Flat = new Map()
  const first = new Map<number, string>()
  const visit = (position: number, path: string): void => {
    const inode = index.inodes[position]
    if (inode === undefined) throw new Error(`no inode ${position}`)
    const known = first.get(position) ?? path
    first.set(position, known)
    flat.set(path, describe(inode, path, known, () => sha256Hex(contents(position))))
    for (const { name, inode: child } of inode.entries ?? []) visit(child,
      `${path === '/' ? '' : path}/${Buffer.from(name).toString('utf8')}`)
  }
  visit(0, '/')
  return flat
}

function describe (inode: Inode, path: string, first: string, sha256: () => string): FlatEntry {
  const isDevice = inode.kind === 'char' || inode.kind === 'block'
  return {
    path,
    type: inode.kind === 'directory' ? 'dir' : inode.kind,
    mode: `0${inode.mode.toString(8).padStart(3, '0')}`,
    uid: inode.uid,
    gid: inode.gid,
    mtimeNs: String(BigInt(inode.mtimeSeconds) * 1_000_000_000n + BigInt(inode.mtimeNanoseconds)),
    implied: inode.implied,
    ...(inode.kind === 'file' ? { size: inode.size, nlink: inode.linkCount, sha256: sha256() } : {}),
    ...(inode.kind === 'file' && inode.linkCount > 1 ? { sameFileAs: first } : {}),
    ...(inode.target === null ? {} : { target: Buffer.from(inode.target).toString('utf8') }),
    ...(isDevice ? { rdev: [inode.rdevMajor, inode.rdevMinor] as [number, number] } : {}),
    ...(inode.xattrs.length === 0 ? {} : { xattrs: xattrsOf(inode) })
  }
}

function xattrsOf (inode: Inode): Record<string, string> {
  return Object.fromEntries(inode.xattrs.map(({ name, value }) => [Buffer.from(name).toString(), Buffer.from(value).toString('hex')]))
}

/** Contents of a plain layer's data device. */
export function contentsOfDevice (index: LayerIndex, data: Uint8Array): Contents {
  const { fileOffsets } = layoutData(index)
  return (position) => {
    const inode = index.inodes[position]
    const at = fileOffsets[position] ?? -1
    const bytes = Buffer.alloc(inode?.size ?? 0)
    for (let i = 0; i < (inode?.chunkCount ?? 0); i++) {
      const chunk = index.chunks[(inode?.firstChunk ?? 0) + i]
      if (chunk !== undefined) bytes.set(data.subarray(at + chunk.fileOffset, at + chunk.fileOffset + chunk.size), chunk.fileOffset)
    }
    return bytes
  }
}

/** The truth knows nothing of implied directories. */
export function withoutMark (entry: FlatEntry): TruthEntry {
  const rest: Partial<FlatEntry> = { ...entry }
  delete (rest as { implied?: boolean }).implied
  return rest as TruthEntry
}

/** What overlayfs shows: whiteouts hide, opaque directories hide what is below, directories merge, all else replaces. */
export function overlay (lower: Flat, upper: Flat): Flat {
  const merged: Flat = new Map(lower)
  const hide = (path: string, itself: boolean): void => {
    for (const name of merged.keys()) if ((itself && name === path) || name.startsWith(`${path === '/' ? '' : path}/`)) merged.delete(name)
  }
  for (const [path, entry] of upper) {
    const whiteout = entry.type === 'char' && entry.rdev?.[0] === 0 && entry.rdev[1] === 0
    const opaque = entry.xattrs?.['trusted.overlay.opaque'] !== undefined
    if (whiteout || entry.type !== 'dir' || merged.get(path)?.type !== 'dir') hide(path, true)
    if (opaque) hide(path, false)
    if (whiteout) continue
    const { xattrs, ...rest } = entry
    const kept = Object.entries(xattrs ?? {}).filter(([name]) => name !== 'trusted.overlay.opaque')
    merged.set(path, kept.length === 0 ? rest : { ...rest, xattrs: Object.fromEntries(kept) })
  }
  return merged
}
