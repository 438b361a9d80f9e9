// Inflates a gzip blob of any number of members in one pass with flat memory, and says for each piece which member it
// came from: eStargz names members by their place in the blob. CRC and length of every member are checked; bytes after
// the last member, truncation and reserved header flags are refused (LAYER_INVALID). Format: RFC 1952.
import { crc32, createInflateRaw, inflateRawSync, type InflateRaw } from 'node:zlib'
import { SnapshotterError } from '../base/errors.ts'
import { GZIP_HEADER_BYTES_MAX } from '../base/limits.ts'
import { ByteReader } from './byte-reader.ts'

export interface InflatedPiece {
  readonly bytes: Uint8Array
  /** Where the member starts in the blob. */
  readonly member: number
  /** Where the bytes stand in the inflated member. */
  readonly innerOffset: number
}

const FLAG_HEADER_CRC = 2
const FLAG_EXTRA = 4
const FLAG_NAME = 8
const FLAG_COMMENT = 16
const FLAGS_RESERVED = 0xe0

// Most eStargz members are small files. A stream object costs 200 µs each, a one-shot call 35 µs, so after a small
// member the next is tried in one shot; these bound what a wrong guess wastes.
const SMALL_COMPRESSED = 64 * 1024
const SMALL_INFLATED = 512 * 1024
const OUTPUT_BYTES = 256 * 1024
// Every write is a trip to another thread; leaves of some importers have 4 KiB.
const INPUT_BYTES = 64 * 1024

export function isGzip (start: Uint8Array): boolean {
  return start[0] === 0x1f && start[1] === 0x8b
}

/** @throws LAYER_INVALID; `what` names the blob in messages. */
export async function * inflateMembers (blob: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<InflatedPiece> {
  const reader = new ByteReader(blob)
  let small = false
  try {
    while (await reader.fill(1)) {
      const member = reader.position
      await skipHeader(reader, what)
      const sum = { crc: 0, length: 0 }
      if (small) await reader.fill(SMALL_COMPRESSED)
      const whole = small ? inflateSmall(reader) : null
      for await (const bytes of whole === null ? inflateLarge(reader, what) : [whole]) {
        yield { bytes, member, innerOffset: sum.length }
        sum.crc = crc32(bytes, sum.crc)
        sum.length += bytes.byteLength
      }
      await checkTrailer(reader, sum, `${what}: gzip member at ${member}`)
      small = reader.position - member <= SMALL_COMPRESSED
    }
  } finally {
    await reader.close()
  }
}

async function skipHeader (reader: ByteReader, what: string): Promise<void> {
  const start = reader.position
  const fixed = await reader.take(10)
  const where = `${what}: at byte ${start}`
  if (fixed === null || !isGzip(fixed)) {
    throw new SnapshotterError('LAYER_INVALID', start === 0 ? `${where}: not gzip` : `${where}: data after the last gzip member`)
  }
  const flags = fixed[3] ?? 0
  if (fixed[2] !== 8 || (flags & FLAGS_RESERVED) !== 0) {
    throw new SnapshotterError('LAYER_INVALID', `${where}: unknown gzip method or flags`)
  }
  if ((flags & FLAG_EXTRA) !== 0) {
    const length = await reader.take(2)
    if (length === null || await reader.take((length[0] ?? 0) | (length[1] ?? 0) << 8) === null) throw truncated(where)
  }
  if ((flags & FLAG_NAME) !== 0) await skipText(reader, where)
  if ((flags & FLAG_COMMENT) !== 0) await skipText(reader, where)
  if ((flags & FLAG_HEADER_CRC) !== 0 && await reader.take(2) === null) throw truncated(where)
}

async function skipText (reader: ByteReader, where: string): Promise<void> {
  for (let length = 0; length <= GZIP_HEADER_BYTES_MAX;) {
    if (!await reader.fill(1)) throw truncated(where)
    const window = reader.buffered
    const end = window.indexOf(0)
    reader.advance(end < 0 ? window.byteLength : end + 1)
    if (end >= 0) return
    length += window.byteLength
  }
  throw new SnapshotterError('LIMIT_EXCEEDED', `${where}: gzip header has more than ${GZIP_HEADER_BYTES_MAX} bytes`)
}

async function checkTrailer (reader: ByteReader, sum: { crc: number, length: number }, where: string): Promise<void> {
  const trailer = await reader.take(8)
  if (trailer === null) throw truncated(where)
  const view = new DataView(trailer.buffer, trailer.byteOffset, 8)
  if (view.getUint32(0, true) !== sum.crc) throw new SnapshotterError('LAYER_INVALID', `${where}: CRC does not match`)
  if (view.getUint32(4, true) !== sum.length % 0x1_0000_0000) throw new SnapshotterError('LAYER_INVALID', `${where}: length does not match`)
}

/** The whole member from what is buffered, or null when it is not small (or not deflate at all, which the other way reports). */
function inflateSmall (reader: ByteReader): Uint8Array | null {
  try {
    const input = reader.buffered.subarray(0, SMALL_COMPRESSED)
    // With `info`, Node answers the bytes and the engine that knows how much it consumed; @types/node misses the overload.
    const options = { info: true, maxOutputLength: SMALL_INFLATED }
    const { buffer, engine } = inflateRawSync(input, options) as unknown as { buffer: Uint8Array, engine: InflateRaw }
    reader.advance(engine.bytesWritten)
    return buffer
  } catch {
    return null
  }
}

async function * inflateLarge (reader: ByteReader, what: string): AsyncGenerator<Uint8Array> {
  const engine = createInflateRaw({ chunkSize: OUTPUT_BYTES })
  const feeding = feed(engine, reader).catch((error: unknown) => { engine.destroy(error as Error) })
  try {
    for await (const bytes of engine) yield bytes as Uint8Array
    await feeding
  } catch (cause) {
    if (!isZlibError(cause)) throw cause
    throw new SnapshotterError('LAYER_INVALID', `${what}: gzip data near byte ${reader.position}: ${cause.message}`, {}, { cause })
  } finally {
    engine.destroy()
  }
}

/** Writes until the deflate data ends, which shows when a piece is not used up; the reader then stands behind the data. */
async function feed (engine: InflateRaw, reader: ByteReader): Promise<void> {
  const over = new Promise<void>((resolve) => { for (const event of ['end', 'close', 'error']) engine.once(event, () => { resolve() }) })
  let advanced = 0
  for (;;) {
    await reader.fill(INPUT_BYTES)
    const piece = reader.buffered
    if (piece.byteLength === 0) break
    await Promise.race([over, new Promise<void>((resolve) => engine.write(piece, () => { resolve() }))])
    const used = engine.bytesWritten - advanced
    reader.advance(used)
    advanced += used
    if (used < piece.byteLength) return
  }
  engine.end()
}

/** By shape: zlib's errors may come from another realm than this module's `Error`. */
function isZlibError (error: unknown): error is Error {
  return typeof error === 'object' && error !== null && 'code' in error && String(error.code).startsWith('Z_')
}

function truncated (where: string): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `${where}: the gzip data is cut`)
}
