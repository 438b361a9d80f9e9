// Writes one inode, 32 or 64 bytes.

import type { Inode } from '../layer/layer-index.ts'
import type { Epoch } from './epoch.ts'
import {
  EXTENDED_INODE_BYTES, FORMAT_BITS, LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN, XATTR_BODY_HEADER_BYTES
} from './format.ts'
import { nidOf, type PlannedInode } from './plan.ts'

/** `startBlock`: first block of the content in the unified space. Returns the bytes written. */
export function writeInode (out: Buffer, planned: PlannedInode, epoch: Epoch, startBlock: number): number {
  const { inode, offset, links, size, headerBytes } = planned
  const extended = headerBytes === EXTENDED_INODE_BYTES
  const layout = planned.tailBytes > 0 ? LAYOUT_FLAT_INLINE : LAYOUT_FLAT_PLAIN
  out.writeUInt16LE((extended ? 1 : 0) | layout << 1, offset)
  if (planned.xattrs !== null) out.writeUInt16LE(1 + (planned.xattrs.bytes - XATTR_BODY_HEADER_BYTES) / 4, offset + 2)
  out.writeUInt16LE(FORMAT_BITS[inode.kind] | inode.mode, offset + 4)
  out.writeUInt32LE(size % 2 ** 32, offset + 8)
  out.writeUInt32LE(isDevice(inode) ? encodeDevice(inode) : startBlock, offset + 16)
  out.writeUInt32LE(nidOf(planned), offset + 20)
  if (extended) writeExtended(out, planned)
  else {
    out.writeUInt16LE(links, offset + 6)
    out.writeUInt16LE(inode.uid, offset + 24)
    out.writeUInt16LE(inode.gid, offset + 26)
  }
  return headerBytes
}

function writeExtended (out: Buffer, { inode, offset, links, size }: PlannedInode): void {
  out.writeUInt32LE(Math.floor(size / 2 ** 32), offset + 12)
  out.writeUInt32LE(inode.uid, offset + 24)
  out.writeUInt32LE(inode.gid, offset + 28)
  writeInt64(out, inode.mtimeSeconds, offset + 32)
  out.writeUInt32LE(inode.mtimeNanoseconds, offset + 40)
  out.writeUInt32LE(links, offset + 44)
}

/** Two's complement of a safe integer. */
export function writeInt64 (out: Buffer, value: number, position: number): void {
  const upper = Math.floor(value / 2 ** 32)
  out.writeUInt32LE(value - upper * 2 ** 32, position)
  out.writeInt32LE(upper, position + 4)
}

function isDevice (inode: Inode): boolean {
  return inode.kind === 'char' || inode.kind === 'block'
}

/** The kernel's new_encode_dev (linux/kdev_t.h); 0:0 is overlayfs's whiteout. */
function encodeDevice ({ rdevMajor, rdevMinor }: Inode): number {
  return ((rdevMinor & 0xFF) | rdevMajor << 8 | (rdevMinor & ~0xFF) << 12) >>> 0
}
