// Frames of docs/PROTOCOL.md: encoding, and cutting a byte stream into them. A frame that breaks the format throws
// DATA_PLANE_DOWN: the connection is then closed and made anew.
import { SnapshotterError } from '../base/errors.ts'
import { FRAME_BYTES_MAX, TABLE_CHUNKS_MAX } from '../base/limits.ts'

export const PROTOCOL_VERSION = 1

export const FRAME = {
  HELLO: 1, ADD_FILE: 2, REMOVE_FILE: 3, LIST: 4, NAMES: 5, RESULT: 6, FETCH: 7, SUPPLY: 8, FAIL: 9, REJECTED: 10, STATUS: 11,
  STATUS_IS: 12, SETTINGS: 13, STOP: 14, NEED: 15, ADD_PART: 16, EVICT: 17, USED: 18, USED_IS: 19
} as const

const HEAD_BYTES = 8 // type, zeros, id

export interface Frame {
  readonly type: number
  readonly id: number
  readonly body: Buffer
}

/** The pieces of one frame, payloads not copied. @throws LIMIT_EXCEEDED when it is longer than the worker accepts. */
export function encodeFrame (type: number, id: number, ...body: readonly Uint8Array[]): Uint8Array[] {
  const length = body.reduce((sum, part) => sum + part.byteLength, HEAD_BYTES)
  if (length > FRAME_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `a frame of ${length} bytes; the data plane takes ${FRAME_BYTES_MAX}`)
  }
  const head = Buffer.alloc(4 + HEAD_BYTES)
  head.writeUInt32LE(length, 0)
  head.writeUInt8(type, 4)
  head.writeUInt32LE(id, 8)
  return [head, ...body]
}

export function u32 (...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [at, value] of values.entries()) bytes.writeUInt32LE(value, 4 * at)
  return bytes
}

export function text (value: string): Buffer {
  const bytes = Buffer.from(value)
  const head = Buffer.alloc(2)
  head.writeUInt16LE(bytes.byteLength)
  return Buffer.concat([head, bytes])
}

/** Reads numbers and strings off a body. */
export class BodyReader {
  #rest: Buffer

  constructor (body: Buffer) {
    this.#rest = body
  }

  u32 (): number {
    return this.#take(4).readUInt32LE()
  }

  i32 (): number {
    return this.#take(4).readInt32LE()
  }

  text (): string {
    return this.#take(this.#take(2).readUInt16LE()).toString('utf8')
  }

  #take (count: number): Buffer {
    if (count > this.#rest.byteLength) throw broken('a frame is cut short')
    const part = this.#rest.subarray(0, count)
    this.#rest = this.#rest.subarray(count)
    return part
  }
}

/** Of a RESULT: 0 or an errno, and why. @throws DATA_PLANE_DOWN. */
export function resultOf (frame: Frame): { error: number, reason: string } {
  const body = new BodyReader(frame.body)
  return { error: body.i32(), reason: body.text() }
}

/** Runs of chunks of a FETCH. @throws DATA_PLANE_DOWN when they lie outside every table: nothing may be built from them. */
export function chunkRuns (body: BodyReader): Array<{ first: number, count: number }> {
  const runs = Array.from({ length: body.u32() }, () => ({ first: body.u32(), count: body.u32() }))
  for (const { first, count } of runs) {
    if (first + count > TABLE_CHUNKS_MAX) throw broken(`chunks ${first} to ${first + count}`)
  }
  if (runs.reduce((sum, { count }) => sum + count, 0) > TABLE_CHUNKS_MAX) throw broken('more chunks than a table has')
  return runs
}

export class FrameParser {
  #parts: Buffer[] = []
  #bytes = 0

  /** The frames that `data` completes. */
  push (data: Buffer): Frame[] {
    this.#parts.push(data)
    this.#bytes += data.byteLength
    const frames: Frame[] = []
    for (let frame = this.#next(); frame !== null; frame = this.#next()) frames.push(frame)
    return frames
  }

  #next (): Frame | null {
    if (this.#bytes < 4 + HEAD_BYTES) return null
    if ((this.#parts[0]?.byteLength ?? 0) < 4) this.#join()
    const length = this.#parts[0]?.readUInt32LE() ?? 0
    if (length < HEAD_BYTES || length > FRAME_BYTES_MAX) throw broken(`a frame of ${length} bytes`)
    if (this.#bytes < 4 + length) return null
    this.#join()
    const all = this.#parts[0] ?? Buffer.alloc(0)
    this.#parts = [all.subarray(4 + length)]
    this.#bytes -= 4 + length
    return { type: all.readUInt8(4), id: all.readUInt32LE(8), body: all.subarray(4 + HEAD_BYTES, 4 + length) }
  }

  #join (): void {
    this.#parts = [Buffer.concat(this.#parts)]
  }
}

function broken (what: string): SnapshotterError {
  return new SnapshotterError('DATA_PLANE_DOWN', `the data plane broke its protocol: ${what}`)
}
