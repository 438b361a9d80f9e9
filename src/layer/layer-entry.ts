// One entry of a layer before it has a place in a tree: what a tar header and a TOC entry both say. Names are "binary
// strings": one character per byte (latin1), so that names need not be UTF-8 and sort by `<` as memcmp would.

export type EntryType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo'

export interface LayerEntry {
  /** As written: may start with `./` or `/`, end in `/`, hold `..`. */
  readonly path: string
  readonly type: EntryType
  /** Permission, setuid, setgid and sticky bits: 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** May lie before 1970; nanoseconds 0 to 999,999,999 are added. */
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  /** Bytes of content of a file, holes included; else 0. */
  readonly size: number
  readonly deviceMajor: number
  readonly deviceMinor: number
  /** Target of a symbolic or hard link, as written; else empty. */
  readonly linkTarget: string
  readonly xattrs: ReadonlyMap<string, Uint8Array>
}

export const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map()

/** Bytes as a binary string. */
export function binary (bytes: Uint8Array, from = 0, to = bytes.byteLength): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1', from, to)
}

/** A binary string for messages: UTF-8 where it is, quoted, cut. */
export function show (name: string): string {
  const text = Buffer.from(name.slice(0, 120), 'latin1').toString('utf8')
  return JSON.stringify(name.length > 120 ? `${text}…` : text)
}
