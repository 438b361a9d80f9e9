// Makes a LayerIndex, the bytes of its data device and the tree that the kernel should show, from a description in
// JavaScript. The same description object under two names is one inode with two links.
import { createHash } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import type { Chunk, DataLayout, Inode, InodeKind, LayerIndex, NamedInode, Xattr } from '../../src/layer/layer-index.ts'
import type { Tree, TreeEntry } from './tree-compare.ts'

export interface Attributes {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  /** Seconds, nanoseconds. */
  readonly mtime?: readonly [number, number]
  /** Names and values in latin1, or values as bytes. */
  readonly xattrs?: Readonly<Record<string, string | Uint8Array>>
  readonly implied?: boolean
}

/** Bytes of a file's content; what no extent covers is a hole. */
export interface Extent { readonly offset: number, readonly content: Uint8Array }

/** Names in latin1: any byte can be written. */
export type Description = Attributes & (
  { readonly kind: 'directory', readonly entries: Readonly<Record<string, Description>> } |
  { readonly kind: 'file', readonly content: Uint8Array } |
  { readonly kind: 'file', readonly size: number, readonly extents: readonly Extent[] } |
  { readonly kind: 'symlink', readonly target: string } |
  { readonly kind: 'char' | 'block', readonly device: readonly [number, number] } |
  { readonly kind: 'fifo' }
)

export interface Layer {
  readonly index: LayerIndex
  /** By position. */
  readonly extents: ReadonlyArray<readonly Extent[]>
  readonly expected: Tree
}

const CHUNK_BYTES = 64 * 1024

/** Inodes in depth-first order, the root first. */
export function layerFrom (root: Description): Layer {
  const builder = new Builder()
  builder.add(root, '/')
  return builder.finish()
}

/** Writes the data device as a sparse file of `layout.size` bytes behind `prefix`. */
export function writeDataFile (path: string, layer: Layer, layout: DataLayout, prefix: Uint8Array = new Uint8Array(0)): void {
  const fd = openSync(path, 'w')
  try {
    writeSync(fd, prefix)
    ftruncateSync(fd, prefix.length + layout.size)
    layer.extents.forEach((extents, position) => {
      const start = prefix.length + (layout.fileOffsets[position] ?? 0)
      for (const { offset, content } of extents) writeSync(fd, content, 0, content.length, start + offset)
    })
  } finally {
    closeSync(fd)
  }
}

class Builder {
  readonly #inodes: Inode[] = []
  readonly #chunks: Chunk[] = []
  readonly #extents: Array<readonly Extent[]> = []
  readonly #positions = new Map<Description, number>()
  readonly #paths: string[][] = []

  add (node: Description, path: string): number {
    const known = this.#positions.get(node)
    if (known !== undefined) {
      this.#paths[known]?.push(path)
      return known
    }
    const position = this.#inodes.length
    this.#positions.set(node, position)
    this.#paths[position] = [path]
    const extents = extentsOf(node)
    this.#extents[position] = extents
    this.#inodes.push(this.#inodeOf(node, extents, null, 0))
    if (node.kind !== 'directory') return position
    const entries = Object.keys(node.entries).sort().flatMap((name): NamedInode[] => {
      const child = node.entries[name]
      if (child === undefined) return []
      return [{ name: Buffer.from(name, 'latin1'), inode: this.add(child, path === '/' ? `/${name}` : `${path}/${name}`) }]
    })
    const subdirectories = Object.values(node.entries).filter((child) => child.kind === 'directory').length
    this.#inodes[position] = this.#inodeOf(node, extents, entries, 2 + subdirectories)
    return position
  }

  finish (): Layer {
    const inodes = this.#inodes.map((inode, position) =>
      inode.kind === 'directory' ? inode : { ...inode, linkCount: this.#paths[position]?.length ?? 0 })
    const expected = new Map<string, TreeEntry>()
    inodes.forEach((inode, position) => {
      const paths = this.#paths[position] ?? []
      const entry = expectedEntry(inode, this.#extents[position] ?? [], paths.length > 1 ? [...paths].sort()[0] ?? null : null)
      for (const path of paths) expected.set(path, entry)
    })
    return { index: { format: 'tar', inodes, chunks: this.#chunks, prefetchBytes: 0 }, extents: this.#extents, expected }
  }

  #inodeOf (node: Description, extents: readonly Extent[], entries: readonly NamedInode[] | null, linkCount: number): Inode {
    const target = node.kind === 'symlink' ? Buffer.from(node.target, 'latin1') : null
    const [rdevMajor, rdevMinor] = node.kind === 'char' || node.kind === 'block' ? node.device : [0, 0]
    const firstChunk = this.#chunks.length
    if (entries === null) this.#chunks.push(...extents.flatMap(chunksOf))
    return {
      kind: node.kind,
      mode: node.mode ?? defaultMode(node.kind),
      uid: node.uid ?? 0,
      gid: node.gid ?? 0,
      mtimeSeconds: node.mtime?.[0] ?? 0,
      mtimeNanoseconds: node.mtime?.[1] ?? 0,
      size: node.kind === 'file' ? ('content' in node ? node.content.length : node.size) : target?.length ?? 0,
      linkCount,
      rdevMajor,
      rdevMinor,
      target,
      xattrs: xattrsOf(node),
      entries,
      firstChunk,
      chunkCount: this.#chunks.length - firstChunk,
      implied: node.implied ?? false
    }
  }
}

function extentsOf (node: Description): readonly Extent[] {
  if (node.kind !== 'file') return []
  return 'content' in node ? (node.content.length > 0 ? [{ offset: 0, content: node.content }] : []) : node.extents
}

function chunksOf ({ offset, content }: Extent): Chunk[] {
  const chunks: Chunk[] = []
  for (let at = 0; at < content.length; at += CHUNK_BYTES) {
    const bytes = content.subarray(at, at + CHUNK_BYTES)
    const digest = createHash('sha256').update(bytes).digest()
    chunks.push({ fileOffset: offset + at, size: bytes.length, digest, offset: 0, length: bytes.length, innerOffset: 0 })
  }
  return chunks
}

function xattrsOf ({ xattrs = {} }: Attributes): Xattr[] {
  return Object.keys(xattrs).sort().map((name) => ({ name: Buffer.from(name, 'latin1'), value: bytesOf(xattrs[name] ?? '') }))
}

function defaultMode (kind: InodeKind): number {
  return kind === 'symlink' ? 0o777 : kind === 'directory' ? 0o755 : 0o644
}

function bytesOf (value: string | Uint8Array): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'latin1') : value
}

function expectedEntry (inode: Inode, extents: readonly Extent[], sameFileAs: string | null): TreeEntry {
  const isFile = inode.kind === 'file'
  return {
    type: inode.kind,
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    mtimeNs: BigInt(inode.mtimeSeconds) * 1_000_000_000n + BigInt(inode.mtimeNanoseconds),
    size: isFile ? inode.size : null,
    links: inode.linkCount,
    sha256: isFile ? contentHash(inode.size, extents) : null,
    target: inode.target === null ? null : Buffer.from(inode.target).toString('latin1'),
    device: inode.kind === 'char' || inode.kind === 'block' ? `${inode.rdevMajor}:${inode.rdevMinor}` : null,
    xattrs: Object.fromEntries(inode.xattrs.map(({ name, value }) =>
      [Buffer.from(name).toString('latin1'), Buffer.from(value).toString('hex')])),
    sameFileAs,
    problems: []
  }
}

function contentHash (size: number, extents: readonly Extent[]): string {
  const hash = createHash('sha256')
  let at = 0
  for (const { offset, content } of extents) {
    hash.update(Buffer.alloc(offset - at)).update(content)
    at = offset + content.length
  }
  return hash.update(Buffer.alloc(size - at)).digest('hex')
}
