// A layer as the supplier and the data plane need it: its chunks in table order, and where their bytes come from.
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { BlockService, UnixfsFile, Waits } from '../ipfs/blocks.ts'
import { findTarChunks } from '../layer/chunk-supply.ts'
import { encodeTable, finishTable } from '../layer/chunk-table.ts'
import { PackedIndex, placedChunksOf } from '../layer/packed-index.ts'
import type { PlacedChunk } from '../layer/placed-chunks.ts'
import { digestBytes } from '../verify/digest.ts'
import type { ChunkRun, SuppliedFile } from './supply.ts'

const placed = new WeakMap<OpenedLayer, readonly PlacedChunk[]>()

/** Ascending by their place in the data device; worked out once per layer. */
export function chunksOf (layer: OpenedLayer): readonly PlacedChunk[] {
  const known = placed.get(layer) ?? placedChunksOf(layer.record.index, layer.layout)
  placed.set(layer, known)
  return known
}

/** `prefix`: metadata at the start of the file, in whole blocks. */
export function tableOf (layer: OpenedLayer, prefix: Uint8Array): Uint8Array {
  const { digest, index } = layer.record
  if (index instanceof PackedIndex) return finishTable(index.buffers.table, digestBytes(digest), prefix)
  return encodeTable({ layerDigest: digestBytes(digest), dataSize: layer.layout.size, chunks: chunksOf(layer), prefix })
}

/** `name`: under which the data plane serves the chunks. */
export function suppliedLayer (name: string, layer: OpenedLayer, blocks: BlockService): SuppliedFile {
  const { record, cacheFolder } = layer
  const chunks = chunksOf(layer)
  let opened: Promise<UnixfsFile> | null = null
  const blob = async (): Promise<UnixfsFile> => {
    opened ??= blocks.openFile(record.cid).catch((error: unknown) => { opened = null; throw error })
    return await opened
  }
  return {
    name,
    cacheFolder,
    chunks,
    format: record.index.format,
    prefetchBytes: record.index.prefetchBytes,
    blob,
    rawChunks: async function * (runs: readonly ChunkRun[], waits: Waits) {
      const file = await blob()
      const inTable = new Map(runs.flatMap(({ first, count }) => chunks.slice(first, first + count).map(({ position }, at) => [position, first + at])))
      const { digest, size, diffId, mediaType } = record
      const stream = file.stream(0, file.size, waits)
      for await (const { chunk, bytes } of findTarChunks({ stream, digest, size, diffId, mediaType, signal: waits.signal }, record.index, inTable.keys())) {
        yield { chunk: inTable.get(chunk) ?? 0, bytes }
      }
    }
  }
}
