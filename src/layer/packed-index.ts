// A LayerIndex as few buffers, which move between threads without a copy: its record, which is also what is sealed and kept,
// its table for the data plane, and its layout. The tree itself is decoded when somebody asks for it, and not kept.
import { encodeTable, TABLE_HEADER_BYTES, TABLE_RECORD_BYTES } from './chunk-table.ts'
import { layoutData } from './data-layout.ts'
import { decodeIndex, encodeIndex } from './index-codec.ts'
import type { DataLayout, LayerIndex } from './layer-index.ts'
import { type PlacedChunk, placeChunks } from './placed-chunks.ts'

export interface IndexBuffers {
  readonly format: LayerIndex['format']
  readonly prefetchBytes: number
  readonly inodeCount: number
  /** A directory takes its attributes from the layers below. */
  readonly hasImplied: boolean
  readonly layout: DataLayout
  /** What encodeIndex writes. */
  readonly record: Uint8Array
  /** What encodeTable writes, without prefix and for a layer digest of zeros. */
  readonly table: Uint8Array
  /** Of each chunk in the table: its fileOffset and its position in the index. */
  readonly origins: Float64Array
}

/** @throws LIMIT_EXCEEDED and LAYER_INVALID, as layoutData, placeChunks and encodeTable. */
export function packIndex (index: LayerIndex): IndexBuffers {
  const { format, prefetchBytes, inodes } = index
  const layout = layoutData(index)
  const chunks = placeChunks(index, layout)
  const origins = new Float64Array(chunks.length * 2)
  for (let at = 0; at < chunks.length; at++) {
    origins[at * 2] = chunks[at]?.fileOffset ?? 0
    origins[at * 2 + 1] = chunks[at]?.position ?? 0
  }
  return {
    format,
    prefetchBytes,
    inodeCount: inodes.length,
    hasImplied: inodes.some(({ implied }) => implied),
    layout,
    record: new Uint8Array(encodeIndex(index)), // as large as it is: the writer's buffer may be twice that
    table: encodeTable({ layerDigest: new Uint8Array(32), dataSize: layout.size, chunks, prefix: new Uint8Array(0) }),
    origins
  }
}

export class PackedIndex implements LayerIndex {
  readonly format: LayerIndex['format']
  readonly prefetchBytes: number
  readonly buffers: IndexBuffers
  #decoded: WeakRef<LayerIndex> | null = null

  constructor (buffers: IndexBuffers) {
    this.format = buffers.format
    this.prefetchBytes = buffers.prefetchBytes
    this.buffers = buffers
  }

  get inodes (): LayerIndex['inodes'] {
    return this.whole().inodes
  }

  get chunks (): LayerIndex['chunks'] {
    return this.whole().chunks
  }

  /** Stays decoded while somebody holds it. */
  whole (): LayerIndex {
    const known = this.#decoded?.deref()
    if (known !== undefined) return known
    const index = decodeIndex(this.buffers.record)
    this.#decoded = new WeakRef(index)
    return index
  }

  placedChunks (): PlacedChunk[] {
    const { table, origins } = this.buffers
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
    return Array.from({ length: origins.length / 2 }, (_, at) => new TableRecord(view, TABLE_HEADER_BYTES + at * TABLE_RECORD_BYTES, origins, at * 2))
  }
}

/** One chunk, its digest left where it is: 20,000 small views would cost more than all the rest. */
class TableRecord implements PlacedChunk {
  readonly dataOffset: number
  readonly size: number
  readonly innerOffset: number
  readonly offset: number
  readonly length: number
  readonly fileOffset: number
  readonly position: number
  readonly #view: DataView
  readonly #at: number

  constructor (view: DataView, at: number, origins: Float64Array, origin: number) {
    this.dataOffset = view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000
    this.size = view.getUint32(at + 8, true)
    this.innerOffset = view.getUint32(at + 12, true)
    this.offset = view.getUint32(at + 16, true) + view.getUint32(at + 20, true) * 0x1_0000_0000
    this.length = view.getUint32(at + 24, true)
    this.fileOffset = origins[origin] ?? 0
    this.position = origins[origin + 1] ?? 0
    this.#view = view
    this.#at = at
  }

  get digest (): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#at + 32, 32)
  }
}

/** What encodeIndex writes, and mostly has written. */
export function recordOf (index: LayerIndex): Uint8Array {
  return index instanceof PackedIndex ? index.buffers.record : encodeIndex(index)
}

/** To hold on to while it is walked, across waits. */
export function wholeIndex (index: LayerIndex): LayerIndex {
  return index instanceof PackedIndex ? index.whole() : index
}

export function layoutOf (index: LayerIndex): DataLayout {
  return index instanceof PackedIndex ? index.buffers.layout : layoutData(index)
}

export function placedChunksOf (index: LayerIndex, layout: DataLayout): PlacedChunk[] {
  return index instanceof PackedIndex ? index.placedChunks() : placeChunks(index, layout)
}

export function hasImplied (index: LayerIndex): boolean {
  return index instanceof PackedIndex ? index.buffers.hasImplied : index.inodes.some(({ implied }) => implied)
}

export function inodeCount (index: LayerIndex): number {
  return index instanceof PackedIndex ? index.buffers.inodeCount : index.inodes.length
}
