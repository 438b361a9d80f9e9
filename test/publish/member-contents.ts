// File contents out of an eStargz blob as a lazy reader gets them: chunk by chunk, each from its own gzip member.
import { gunzipSync } from 'node:zlib'
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import type { Contents } from '../layer/flatten.ts'

export function memberContents (index: LayerIndex, blob: Uint8Array): Contents {
  return (position) => {
    const { size = 0, firstChunk = 0, chunkCount = 0 } = index.inodes[position] ?? {}
    const bytes = Buffer.alloc(size)
    for (const { offset, length, innerOffset, fileOffset, size } of index.chunks.slice(firstChunk, firstChunk + chunkCount)) {
      const member = gunzipSync(blob.subarray(offset, offset + length))
      bytes.set(member.subarray(innerOffset, innerOffset + size), fileOffset)
    }
    return bytes
  }
}
