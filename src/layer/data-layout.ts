// Where each file's content stands in the layer's data device: files in inode order, each at the next multiple of
// 4096. It depends on nothing but the kinds and sizes in the index, so that a cache filled under one set of implied
// attributes stays right under another. Refuses a device that EROFS cannot address (32-bit block numbers).

import { SnapshotterError } from '../base/errors.ts'
import { alignUp } from '../base/bytes.ts'
import { DATA_DEVICE_BYTES_MAX } from '../base/limits.ts'
import type { DataLayout, LayerIndex } from './layer-index.ts'

/** Bytes. EROFS reads whole blocks, so every file starts at one and the device ends at one. */
export const DATA_ALIGNMENT = 4096

/** Throws LIMIT_EXCEEDED when all contents together need more than EROFS can address. */
export function layoutData (index: LayerIndex): DataLayout {
  const fileOffsets = new Float64Array(index.inodes.length).fill(-1)
  let size = 0
  index.inodes.forEach((inode, position) => {
    if (inode.kind !== 'file' || inode.size === 0) return
    fileOffsets[position] = size
    size = alignUp(size + inode.size, DATA_ALIGNMENT)
    if (size <= DATA_DEVICE_BYTES_MAX) return
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `the layer's file contents need more than ${DATA_DEVICE_BYTES_MAX} bytes (inode ${position} has ${inode.size})`)
  })
  return { fileOffsets, size }
}
