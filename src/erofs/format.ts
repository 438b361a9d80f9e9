// Numbers of the EROFS on-disk format that the builder uses: offsets in bytes, everything little-endian.
// Source: Linux fs/erofs/erofs_fs.h (5.16 to 6.18), Documentation/filesystems/erofs.rst.

import type { InodeKind } from '../layer/layer-index.ts'

export const BLOCK_BYTES = 4096
export const BLOCK_BITS = 12

export const SUPERBLOCK_OFFSET = 1024
export const SUPERBLOCK_BYTES = 128
export const SUPERBLOCK_MAGIC = 0xE0F5E1E2
export const DEVICE_SLOT_BYTES = 128

export const COMPAT_SUPERBLOCK_CHECKSUM = 1
export const COMPAT_MTIME = 2
export const COMPAT_XATTR_FILTER = 4
export const INCOMPAT_DEVICE_TABLE = 8

/** An inode's number is its byte offset divided by this; inodes are aligned to it. */
export const NID_BYTES = 32
export const COMPACT_INODE_BYTES = 32
export const EXTENDED_INODE_BYTES = 64
export const LAYOUT_FLAT_PLAIN = 0
export const LAYOUT_FLAT_INLINE = 2

export const DIRENT_BYTES = 12

export const XATTR_BODY_HEADER_BYTES = 12
export const XATTR_ENTRY_HEADER_BYTES = 4
/** h_shared_count is one byte. */
export const SHARED_XATTRS_MAX = 255
/** i_xattr_icount is 16 bits: 1 + (body - 12) / 4. */
export const XATTR_BODY_BYTES_MAX = 262_148

/** S_IF bits of st_mode. */
export const FORMAT_BITS: Readonly<Record<InodeKind, number>> = {
  file: 0o100000, directory: 0o040000, symlink: 0o120000, char: 0o020000, block: 0o060000, fifo: 0o010000
}

/** file_type of a directory entry; must agree with the inode's mode. */
export const FILE_TYPES: Readonly<Record<InodeKind, number>> = {
  file: 1, directory: 2, char: 3, block: 4, fifo: 5, symlink: 7
}
