// Encodes the table of one served file (docs/PROTOCOL.md): header, chunk records, metadata prefix. The worker checks all
// of it again; what cannot be encoded is refused here, with the chunk's number.
import { alignUp } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { CHUNK_BYTES_MAX, LEAF_BYTES } from '../base/limits.ts'

export const TABLE_HEADER_BYTES = 128
export const TABLE_RECORD_BYTES = 80
const DIGEST_AT = 32
const BLOCK = 4096
const WORD = 0x1_0000_0000

export interface TableChunk {
  /** In the data device; ascending, not overlapping. */
  readonly dataOffset: number
  readonly size: number
  readonly innerOffset: number
  /** Of the member in the blob. */
  readonly offset: number
  readonly length: number
  /** sha256, 32 bytes. */
  readonly digest: Uint8Array
}

export interface TableContent {
  /** sha256 of the layer's blob, 32 bytes, for logs. */
  readonly layerDigest: Uint8Array
  /** Bytes of the data device; rounded up to whole blocks. */
  readonly dataSize: number
  readonly chunks: readonly TableChunk[]
  /** Metadata at the start of the file (erofs-loop): whole blocks, or empty. */
  readonly prefix: Uint8Array
}

/** @throws LAYER_INVALID when the chunks are not a table. */
export function encodeTable ({ layerDigest, dataSize, chunks, prefix }: TableContent): Uint8Array {
  if (prefix.byteLength % BLOCK !== 0) throw refusal(`a metadata prefix of ${prefix.byteLength} bytes is not in whole blocks`)
  const table = Buffer.alloc(TABLE_HEADER_BYTES + TABLE_RECORD_BYTES * chunks.length + prefix.byteLength)
  const deviceBytes = alignUp(dataSize, BLOCK)
  table.write('IPSNAPT1', 0, 'latin1')
  writeUint64(table, prefix.byteLength + deviceBytes, 8)
  writeUint64(table, prefix.byteLength, 16)
  table.writeUInt32LE(chunks.length, 24)
  table.writeUInt32LE(LEAF_BYTES, 28)
  table.set(layerDigest.subarray(0, 32), DIGEST_AT)
  let end = 0
  for (const [index, chunk] of chunks.entries()) end = writeRecord(table, TABLE_HEADER_BYTES + index * TABLE_RECORD_BYTES, chunk, end)
  if (end > deviceBytes) throw refusal(`chunks end at ${end}, the data device at ${deviceBytes}`)
  table.set(prefix, TABLE_HEADER_BYTES + TABLE_RECORD_BYTES * chunks.length)
  return table
}

/** Bytes of a table without prefix, as the table of `layerDigest` with one. */
export function finishTable (bare: Uint8Array, layerDigest: Uint8Array, prefix: Uint8Array): Uint8Array {
  const table = Buffer.concat([bare, prefix])
  table.set(layerDigest.subarray(0, 32), DIGEST_AT)
  if (prefix.byteLength === 0) return table
  const fileBytes = table.readUInt32LE(8) + table.readUInt32LE(12) * WORD + prefix.byteLength
  writeUint64(table, fileBytes, 8)
  writeUint64(table, prefix.byteLength, 16)
  return table
}

/** Returns where the chunk ends in the data device. Views and big integers would cost three times as much. */
function writeRecord (table: Buffer, at: number, chunk: TableChunk, previousEnd: number): number {
  const name = (): string => `chunk ${(at - TABLE_HEADER_BYTES) / TABLE_RECORD_BYTES}`
  if (chunk.size < 1 || chunk.size > CHUNK_BYTES_MAX) throw refusal(`${name()} has ${chunk.size} bytes`)
  if (chunk.dataOffset < previousEnd) throw refusal(`${name()} starts at ${chunk.dataOffset}, before ${previousEnd}`)
  if (chunk.digest.byteLength !== 32) throw refusal(`${name()} has a digest of ${chunk.digest.byteLength} bytes`)
  writeUint64(table, chunk.dataOffset, at)
  table.writeUInt32LE(chunk.size, at + 8)
  table.writeUInt32LE(chunk.innerOffset, at + 12)
  writeUint64(table, chunk.offset, at + 16)
  table.writeUInt32LE(chunk.length, at + 24)
  table.set(chunk.digest, at + 32)
  return chunk.dataOffset + chunk.size
}

/** `value`: a whole number up to 2^53 - 1. */
function writeUint64 (table: Buffer, value: number, at: number): void {
  table.writeUInt32LE(value % WORD, at)
  table.writeUInt32LE(Math.floor(value / WORD), at + 4)
}

function refusal (what: string): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `the layer cannot be served: ${what}`)
}
