// Writes the superblock, and for two devices the one slot of the device table, then the checksum over block 0:
// the last thing to write, since inodes share that block.

import { crc32cWithoutFinalInversion } from './crc32c.ts'
import {
  BLOCK_BITS, BLOCK_BYTES, COMPAT_MTIME, COMPAT_SUPERBLOCK_CHECKSUM, COMPAT_XATTR_FILTER, DEVICE_SLOT_BYTES, INCOMPAT_DEVICE_TABLE,
  SUPERBLOCK_BYTES, SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSET
} from './format.ts'
import { writeInt64 } from './inode.ts'
import { type ImagePlan, nidOf } from './plan.ts'

export interface SuperblockOptions {
  readonly form: 'two-devices' | 'one-file'
  readonly uuid: Uint8Array
  readonly dataBlocks: number
}

const DEVICE_TABLE_OFFSET = SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES

export function writeSuperblock (out: Buffer, plan: ImagePlan, options: SuperblockOptions): void {
  const at = SUPERBLOCK_OFFSET
  const twoDevices = options.form === 'two-devices'
  const root = plan.inodes[0]
  out.writeUInt32LE(SUPERBLOCK_MAGIC, at)
  out.writeUInt32LE(COMPAT_SUPERBLOCK_CHECKSUM | COMPAT_MTIME | COMPAT_XATTR_FILTER, at + 8)
  out[at + 12] = BLOCK_BITS
  out.writeUInt16LE(root === undefined ? 0 : nidOf(root), at + 14)
  out.writeUInt32LE(plan.inodes.length, at + 16)
  writeInt64(out, plan.epoch.seconds, at + 24)
  out.writeUInt32LE(plan.epoch.nanoseconds, at + 32)
  out.writeUInt32LE(plan.blocks + (twoDevices ? 0 : options.dataBlocks), at + 36)
  out.writeUInt32LE(plan.sharedXattrBlock, at + 44)
  out.set(options.uuid, at + 48)
  if (twoDevices) {
    out.writeUInt32LE(INCOMPAT_DEVICE_TABLE, at + 80)
    out.writeUInt16LE(1, at + 86)
    out.writeUInt16LE(DEVICE_TABLE_OFFSET / DEVICE_SLOT_BYTES, at + 88)
    out.writeUInt32LE(options.dataBlocks, DEVICE_TABLE_OFFSET + 64)
    out.writeUInt32LE(plan.blocks, DEVICE_TABLE_OFFSET + 68)
  }
  out.writeUInt32LE(crc32cWithoutFinalInversion(out.subarray(at, BLOCK_BYTES)), at + 4)
}
