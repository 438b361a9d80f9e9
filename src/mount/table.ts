// Encodes the table of one served file (docs/PROTOCOL.md): header, chunk records, metadata prefix. The worker checks all
// of it again; what cannot be encoded is refused here, with the chunk's number.
import { alignUp } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { CHUNK_BYTES_MAX, LEAF_BYTES } from '../base/limits.ts'

const HEADER_BYTES = 128
const RECORD_BYTES = 80
const BLOCK = 4096

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
  const table = Buffer.alloc(HEADER_BYTES + RECORD_BYTES * chunks.length + prefix.byteLength)
  const deviceBytes = alignUp(dataSize, BLOCK)
  table.write('IPSNAPT1', 0, 'latin1')
  table.writeBigUInt64LE(BigInt(prefix.byteLength + deviceBytes), 8)
  table.writeBigUInt64LE(BigInt(prefix.byteLength), 16)
  table.writeUInt32LE(chunks.length, 24)
  table.writeUInt32LE(LEAF_BYTES, 28)
  table.set(layerDigest.subarray(0, 32), 32)
  let end = 0
  for (const [index, chunk] of chunks.entries()) {
    end = writeRecord(table.subarray(HEADER_BYTES + index * RECORD_BYTES), chunk, end, `chunk ${index}`)
  }
  if (end > deviceBytes) throw refusal(`chunks end at ${end}, the data device at ${deviceBytes}`)
  table.set(prefix, HEADER_BYTES + RECORD_BYTES * chunks.length)
  return table
}

/** Returns where the chunk ends in the data device. */
function writeRecord (record: Buffer, chunk: TableChunk, previousEnd: number, name: string): number {
  if (chunk.size < 1 || chunk.size > CHUNK_BYTES_MAX) throw refusal(`${name} has ${chunk.size} bytes`)
  if (chunk.dataOffset < previousEnd) throw refusal(`${name} starts at ${chunk.dataOffset}, before ${previousEnd}`)
  if (chunk.digest.byteLength !== 32) throw refusal(`${name} has a digest of ${chunk.digest.byteLength} bytes`)
  record.writeBigUInt64LE(BigInt(chunk.dataOffset), 0)
  record.writeUInt32LE(chunk.size, 8)
  record.writeUInt32LE(chunk.innerOffset, 12)
  record.writeBigUInt64LE(BigInt(chunk.offset), 16)
  record.writeUInt32LE(chunk.length, 24)
  record.set(chunk.digest, 32)
  return chunk.dataOffset + chunk.size
}

function refusal (what: string): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `the layer cannot be served: ${what}`)
}
