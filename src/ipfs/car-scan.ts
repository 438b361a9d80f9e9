// Reads the heads of a CARv1 file's sections and skips over their blocks, so that a file of many GB is indexed with one
// small buffer. Nothing is hashed here: blocks are checked when they are read. Refuses what is cut, oversized or no CAR v1.
import { bytesReader, readHeader } from '@ipld/car/decoder'
import type { FileHandle } from 'node:fs/promises'
import { CID } from 'multiformats/cid'
import { excerpt } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { BLOCK_BYTES_MAX, CAR_HEADER_BYTES_MAX, CAR_SECTION_BYTES_MAX } from '../base/limits.ts'

/** One section: the multihash of its CID, and where its block lies. Bytes. */
export interface CarSection {
  readonly hashCode: number
  /** A view that is only valid until the callback returns. */
  readonly digest: Uint8Array
  readonly offset: number
  readonly length: number
}

export interface CarFile {
  readonly handle: FileHandle
  /** For messages. */
  readonly path: string
  readonly size: number
}

const VARINT_BYTES_MAX = 8 // 56 bits; anything longer is over every limit
const CID_BYTES_MAX = 256
const HEAD_BYTES = VARINT_BYTES_MAX + CID_BYTES_MAX
const STRIDE_MIN = 4 * 1024
const STRIDE_MAX = 256 * 1024

/**
 * Calls `onSection` for every section in order (CARv1: varint(len) | CID | block).
 * @returns the roots that the header names.
 * @throws CAR_INVALID, CAR_TRUNCATED, BLOCK_TOO_LARGE naming path and byte; the signal's reason.
 */
export async function scanCar (file: CarFile, onSection: (section: CarSection) => void, signal?: AbortSignal): Promise<CID[]> {
  const window = new Window(file)
  const header = await scanHeader(file, window)
  let at = header.end
  while (at < file.size) {
    const bytes = window.peek(at, HEAD_BYTES) ?? await nextWindow(window, at, signal)
    const section = parseSection(file, at, bytes)
    at = section.offset + section.length
    onSection(section)
  }
  return header.roots
}

async function nextWindow (window: Window, at: number, signal?: AbortSignal): Promise<Uint8Array> {
  signal?.throwIfAborted()
  return await window.load(at, HEAD_BYTES)
}

async function scanHeader (file: CarFile, window: Window): Promise<{ roots: CID[], end: number }> {
  const start = await window.load(0, HEAD_BYTES)
  const length = readVarint(start, 0)
  if (length === null || length.value === 0 || length.value > CAR_HEADER_BYTES_MAX) {
    throw notCar(file, `it starts with ${excerpt(start, 16)}`)
  }
  const end = length.end + length.value
  if (end > file.size) throw new SnapshotterError('CAR_TRUNCATED', `${file.path} ends at byte ${file.size}, inside its header`)

  const bytes = await window.load(0, end)
  try {
    const header = await readHeader(bytesReader(bytes.subarray(0, end)), 1)
    return { roots: header.roots, end }
  } catch (cause) {
    throw notCar(file, cause instanceof Error ? cause.message : 'its header is no DAG-CBOR', cause)
  }
}

function notCar (file: CarFile, why: string, cause?: unknown): SnapshotterError {
  return new SnapshotterError('CAR_INVALID', `${file.path} is not a CAR version 1 file: ${why}`, {}, { cause })
}

function parseSection (file: CarFile, at: number, bytes: Uint8Array): CarSection {
  const length = readVarint(bytes, 0)
  if (length === null) {
    if (file.size - at < VARINT_BYTES_MAX) throw new SnapshotterError('CAR_TRUNCATED', `${file.path} ends inside the length at byte ${at}`)
    throw new SnapshotterError('CAR_INVALID', `${file.path}: no section length at byte ${at}`)
  }
  if (length.value === 0) throw new SnapshotterError('CAR_INVALID', `${file.path}: section of 0 bytes at byte ${at}`)
  if (length.value > CAR_SECTION_BYTES_MAX) {
    throw new SnapshotterError('BLOCK_TOO_LARGE', `${file.path}: section of ${length.value} bytes at byte ${at}, limit ${CAR_SECTION_BYTES_MAX}`)
  }
  if (at + length.end + length.value > file.size) {
    throw new SnapshotterError('CAR_TRUNCATED', `${file.path} ends at byte ${file.size}, inside the section of ${length.value} bytes at byte ${at}`)
  }
  const cid = inspectCid(file, at, bytes.subarray(length.end, length.end + Math.min(length.value, CID_BYTES_MAX)))
  const blockLength = length.value - cid.size
  if (blockLength > BLOCK_BYTES_MAX) {
    throw new SnapshotterError('BLOCK_TOO_LARGE', `${file.path}: block of ${blockLength} bytes at byte ${at}, limit ${BLOCK_BYTES_MAX}`)
  }
  return { hashCode: cid.hashCode, digest: cid.digest, offset: at + length.end + cid.size, length: blockLength }
}

function inspectCid (file: CarFile, at: number, bytes: Uint8Array): { size: number, hashCode: number, digest: Uint8Array } {
  let specs: ReturnType<typeof CID.inspectBytes>
  try {
    specs = CID.inspectBytes(bytes)
  } catch (cause) {
    throw new SnapshotterError('CAR_INVALID', `${file.path}: no CID in the section at byte ${at}`, {}, { cause })
  }
  if (specs.size > bytes.byteLength) {
    throw new SnapshotterError('CAR_INVALID', `${file.path}: a CID of ${specs.size} bytes does not fit the section at byte ${at}`)
  }
  return { size: specs.size, hashCode: specs.multihashCode, digest: bytes.subarray(specs.size - specs.digestSize, specs.size) }
}

/** Unsigned LEB128 in its shortest form, or null when it is cut, longer than 8 bytes, or padded. */
function readVarint (bytes: Uint8Array, from: number): { value: number, end: number } | null {
  let value = 0
  for (let index = 0; index < VARINT_BYTES_MAX; index++) {
    const byte = bytes[from + index]
    if (byte === undefined) return null
    value += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 0x80) return byte === 0 && index > 0 ? null : { value, end: from + index + 1 }
  }
  return null
}

/** One buffer over the file. Small blocks: it reads ahead in growing strides; large blocks: it reads heads only. */
class Window {
  readonly #file: CarFile
  #buffer = Buffer.allocUnsafe(STRIDE_MAX)
  #start = 0
  #length = 0
  #stride = STRIDE_MIN

  constructor (file: CarFile) {
    this.#file = file
  }

  /** `want` bytes at `at` (fewer at the file's end), or null when they are not all in the buffer. */
  peek (at: number, want: number): Uint8Array | null {
    const from = at - this.#start
    const end = Math.min(at + want, this.#file.size) - this.#start
    return from >= 0 && end <= this.#length ? this.#buffer.subarray(from, end) : null
  }

  async load (at: number, want: number): Promise<Uint8Array> {
    const adjacent = at < this.#start + this.#length
    this.#stride = adjacent ? Math.min(this.#stride * 2, STRIDE_MAX) : STRIDE_MIN
    const wanted = Math.min(Math.max(want, this.#stride), this.#file.size - at)
    this.#start = at
    this.#length = 0
    while (this.#length < wanted) {
      const { bytesRead } = await this.#file.handle.read(this.#buffer, this.#length, wanted - this.#length, at + this.#length)
      if (bytesRead === 0) throw new SnapshotterError('CAR_TRUNCATED', `${this.#file.path} shrank to ${at + this.#length} bytes while it was read`)
      this.#length += bytesRead
    }
    return this.#buffer.subarray(0, Math.min(want, this.#length))
  }
}
