// A layer's chunks in the order of its data device: what the data plane's table is encoded from, and what its misses are
// answered from.
import { SnapshotterError } from '../base/errors.ts'
import type { Chunk, DataLayout, LayerIndex } from './layer-index.ts'

export interface PlacedChunk extends Chunk {
  /** In the data device and in the cache file. */
  readonly dataOffset: number
  /** In LayerIndex.chunks. */
  readonly position: number
}

/** Ascending by dataOffset, as the table wants it. */
export function placeChunks (index: LayerIndex, layout: DataLayout): PlacedChunk[] {
  const placed: PlacedChunk[] = []
  for (const [at, inode] of index.inodes.entries()) {
    const base = layout.fileOffsets[at] ?? -1
    for (let position = inode.firstChunk; position < inode.firstChunk + inode.chunkCount; position++) {
      const chunk = index.chunks[position]
      if (base < 0 || chunk === undefined) throw new SnapshotterError('LAYER_INVALID', `chunk ${position} of inode ${at} has no place in the data device`)
      const { fileOffset, size, digest, offset, length, innerOffset } = chunk
      placed.push({ fileOffset, size, digest, offset, length, innerOffset, dataOffset: base + fileOffset, position })
    }
  }
  return placed.sort((a, b) => a.dataOffset - b.dataOffset)
}
