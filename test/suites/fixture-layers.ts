// Layers of the fixture images, read by the project's own readers, with their data device in memory: plain layers as the
// streaming pass stored it, eStargz layers inflated chunk by chunk.
import { hash } from 'node:crypto'
import { constants, gunzipSync } from 'node:zlib'
import { layoutData } from '../../src/layer/data-layout.ts'
import { openEstargz, tocDigestOf } from '../../src/layer/estargz.ts'
import type { Chunk, DataLayout, LayerIndex } from '../../src/layer/layer-index.ts'
import { indexPlainLayer } from '../../src/layer/plain-layer.ts'
import { type FixtureLayer, imageLayers, MemorySink, pieces, rangeReader } from '../layer/fixtures.ts'

export interface OpenedLayer {
  readonly index: LayerIndex
  readonly layout: DataLayout
  /** layout.size bytes. */
  readonly data: Uint8Array
  /** The source of the index rounded times to seconds (a foreign TOC). */
  readonly rounded: boolean
}

export async function openFixture (file: string): Promise<OpenedLayer[]> {
  return await Promise.all(imageLayers(file).map(openLayer))
}

async function openLayer (layer: FixtureLayer): Promise<OpenedLayer> {
  const tocDigest = tocDigestOf(layer)
  if (tocDigest === null) {
    const sink = new MemorySink()
    const index = await indexPlainLayer({ ...layer, stream: pieces(layer.blob), size: layer.blob.byteLength, sink })
    const layout = layoutData(index)
    const data = Buffer.alloc(layout.size)
    sink.data.copy(data, 0, 0, layout.size)
    return { index, layout, data, rounded: false }
  }
  const index = await openEstargz(rangeReader(layer.blob), layer.blob.byteLength, tocDigest)
  const layout = layoutData(index)
  return { index, layout, data: inflated(layer.blob, index, layout), rounded: true }
}

function inflated (blob: Uint8Array, index: LayerIndex, layout: DataLayout): Uint8Array {
  const data = Buffer.alloc(layout.size)
  index.inodes.forEach((inode, position) => {
    for (const chunk of index.chunks.slice(inode.firstChunk, inode.firstChunk + inode.chunkCount)) {
      data.set(chunkBytes(blob, chunk), (layout.fileOffsets[position] ?? 0) + chunk.fileOffset)
    }
  })
  return data
}

function chunkBytes (blob: Uint8Array, chunk: Chunk): Uint8Array {
  const member = gunzipSync(blob.subarray(chunk.offset, chunk.offset + chunk.length), { finishFlush: constants.Z_SYNC_FLUSH })
  const bytes = member.subarray(chunk.innerOffset, chunk.innerOffset + chunk.size)
  if (!hash('sha256', bytes, 'buffer').equals(chunk.digest)) throw new Error(`chunk at ${chunk.offset} does not match its digest`)
  return bytes
}
