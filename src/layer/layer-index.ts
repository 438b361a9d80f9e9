// The one model of a layer's tree that every format is read into: inodes, names, and where each file's bytes are.
// Overlay semantics are applied already: a whiteout is a character device 0:0, an opaque directory carries
// trusted.overlay.opaque=y, landmarks and TOC entries are gone, and a publisher's own overlay xattrs are dropped.

export type InodeKind = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo'

export interface Inode {
  readonly kind: InodeKind
  /** Permission, setuid, setgid and sticky bits: 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Seconds since 1970, negative before; nanoseconds 0 to 999,999,999 are added to it. */
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  /** Files: bytes of content; symlinks: bytes of the target; else 0. */
  readonly size: number
  /** Names of this inode; directories: 2 + subdirectories. */
  readonly linkCount: number
  readonly rdevMajor: number
  readonly rdevMinor: number
  /** Of a symlink; else null. */
  readonly target: Uint8Array | null
  /** Sorted by name bytes, no duplicates, full names (`user.x`, `security.capability`). */
  readonly xattrs: readonly Xattr[]
  /** Of a directory, sorted by unsigned byte order, without `.` and `..`; else null. */
  readonly entries: readonly NamedInode[] | null
  /** The file's chunks are chunks[firstChunk … firstChunk + chunkCount), by fileOffset, not overlapping. */
  readonly firstChunk: number
  readonly chunkCount: number
  /** A directory that the layer's tar does not name: takes its attributes from the layers below. */
  readonly implied: boolean
}

export interface Xattr {
  readonly name: Uint8Array
  readonly value: Uint8Array
}

export interface NamedInode {
  readonly name: Uint8Array
  /** Position in LayerIndex.inodes; several names of one position are hard links. */
  readonly inode: number
}

export interface Chunk {
  /** Where the chunk's bytes stand in its file. Bytes of a file that no chunk covers are zeros (a sparse file). */
  readonly fileOffset: number
  /** Uncompressed bytes, at least 1. */
  readonly size: number
  /** sha256 of the uncompressed bytes, 32 bytes. */
  readonly digest: Uint8Array
  /**
   * Where to find it. estargz: `offset` and `length` are of the gzip member in the compressed blob, `innerOffset` the
   * chunk's place in the inflated member. tar: `offset` is in the uncompressed tar; length = size; innerOffset = 0.
   */
  readonly offset: number
  readonly length: number
  readonly innerOffset: number
}

export interface LayerIndex {
  readonly format: 'estargz' | 'tar'
  /** inodes[0] is the root directory. */
  readonly inodes: readonly Inode[]
  readonly chunks: readonly Chunk[]
  /** Compressed bytes from the start of the blob that the publisher marked as needed first, or 0. */
  readonly prefetchBytes: number
}

/** A file's place in the layer's data device: the 4 KiB-aligned repack that the data plane serves. */
export interface DataLayout {
  /** Byte offset of each inode's content, -1 for inodes without content; multiples of 4096, in inode order. */
  readonly fileOffsets: Float64Array
  /** Bytes of the device, a multiple of 4096. */
  readonly size: number
}
