// LayerIndex and data layout → the bytes of an EROFS metadata image. Pure: no I/O, the same input gives the same bytes.
// Files are FLAT_PLAIN in the unified block space that starts right behind the metadata, so holes need nothing: the
// data plane reads them as zeros. The kernel parses only what this room wrote, never a publisher's bytes.

import { SnapshotterError } from '../base/errors.ts'
import type { DataLayout, LayerIndex } from '../layer/layer-index.ts'
import { writeDirectory } from './directory.ts'
import { BLOCK_BYTES, DEVICE_SLOT_BYTES, FILE_TYPES, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET } from './format.ts'
import { writeInode } from './inode.ts'
import { type ImagePlan, nidOf, planImage, type PlannedInode } from './plan.ts'
import { writeSuperblock } from './superblock.ts'
import { writeXattrBody } from './xattr-plan.ts'

export interface ErofsOptions {
  /** two-devices: data on device 1 (`device=`, kernel ≥ 5.16); one-file: data right behind the metadata, no device table. */
  readonly form: 'two-devices' | 'one-file'
  /** 16 bytes; should differ per layer (it gives f_fsid). */
  readonly uuid: Uint8Array
}

const UNIFIED_BLOCKS_MAX = 2 ** 32 - 2 // block numbers have 32 bits, and all ones means a hole since 6.15

/**
 * The metadata image, a multiple of 4096 bytes. `layout` is layoutData()'s of the same inodes. Throws LAYER_INVALID for an
 * index that is no tree or holds what no kernel would store, LIMIT_EXCEEDED beyond the bounds of base/limits.ts or of the format.
 */
export function buildErofs (index: LayerIndex, layout: DataLayout, options: ErofsOptions): Uint8Array {
  checkArguments(index, layout, options)
  const slots = options.form === 'two-devices' ? 1 : 0
  const plan = planImage(index, SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES + slots * DEVICE_SLOT_BYTES)
  const dataBlocks = layout.size / BLOCK_BYTES
  const blocks = plan.blocks + dataBlocks
  if (blocks > UNIFIED_BLOCKS_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `metadata and data need ${blocks} blocks, more than ${UNIFIED_BLOCKS_MAX}`)
  }
  const out = Buffer.alloc(plan.blocks * BLOCK_BYTES)
  for (const planned of plan.inodes) {
    const position = planned.offset + writeInode(out, planned, plan.epoch, startBlock(planned, plan, layout))
    const tail = position + (planned.xattrs?.bytes ?? 0)
    if (planned.xattrs !== null) writeXattrBody(out, position, planned.xattrs)
    writeContent(out, planned, tail, plan)
  }
  if (plan.sharedXattrBlock > 0) plan.xattrs.writeShared(out, plan.sharedXattrBlock * BLOCK_BYTES)
  writeSuperblock(out, plan, { ...options, dataBlocks })
  return out
}

/** i_u of an inode with content in whole blocks, in the unified space; else 0. */
function startBlock (planned: PlannedInode, plan: ImagePlan, layout: DataLayout): number {
  if (planned.inode.kind !== 'file') return planned.firstBlock
  const offset = layout.fileOffsets[planned.position] ?? -1
  if (planned.size === 0) return 0
  if (offset < 0 || offset % BLOCK_BYTES !== 0 || offset + planned.size > layout.size) {
    throw new SnapshotterError('INTERNAL',
      `data layout has no place for inode ${planned.position} (${planned.size} bytes at ${offset} of ${layout.size})`)
  }
  return plan.blocks + offset / BLOCK_BYTES
}

function writeContent (out: Buffer, planned: PlannedInode, tail: number, plan: ImagePlan): void {
  const { target } = planned.inode
  if (planned.inode.kind === 'symlink' && target !== null) out.set(target, planned.tailBytes > 0 ? tail : planned.firstBlock * BLOCK_BYTES)
  if (planned.listing === null) return
  const whole = planned.blocks
  const positionOf = (block: number): number => block < whole ? (planned.firstBlock + block) * BLOCK_BYTES : tail
  writeDirectory(out, planned.listing, positionOf, (position) => {
    const target = plan.byPosition[position]
    if (target === undefined) throw new SnapshotterError('INTERNAL', `inode ${position} was not planned`)
    return { nid: nidOf(target), fileType: FILE_TYPES[target.inode.kind] }
  })
}

function checkArguments (index: LayerIndex, layout: DataLayout, options: ErofsOptions): void {
  if (options.uuid.length !== 16) throw new SnapshotterError('INVALID_ARGUMENT', `a UUID has 16 bytes, not ${options.uuid.length}`)
  if (layout.fileOffsets.length !== index.inodes.length || !(layout.size >= 0) || layout.size % BLOCK_BYTES !== 0) {
    throw new SnapshotterError('INVALID_ARGUMENT',
      `a layout of ${layout.fileOffsets.length} inodes and ${layout.size} bytes does not belong to ${index.inodes.length} inodes`)
  }
}
