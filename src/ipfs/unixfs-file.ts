// A UnixFS file open for reading: any range at once into memory (bounded), or as a stream with read-ahead and flat
// memory. Its root node stays in hand; everything else is fetched when a range needs it.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import {
  BACKGROUND_RANGE_BYTES, BLOCK_BYTES_MAX, FILE_READ_BYTES_MAX, RANGE_BYTES_MAX, STREAM_WINDOWS, SUPPLY_ALIGNMENT_MIN, UNIXFS_CHUNK_BYTES, UNIXFS_LINKS
} from '../base/limits.ts'
import { type VerifiedBytes, verifiedConcat } from '../verify/verified-bytes.ts'
import type { UnixfsFile, Waits } from './blocks.ts'
import type { Exchange } from './exchange.ts'
import { FileRange, type FileRoot } from './file-range.ts'

export class OpenFile implements UnixfsFile {
  readonly #exchange: Exchange
  readonly #root: FileRoot

  constructor (exchange: Exchange, root: FileRoot) {
    this.#exchange = exchange
    this.#root = root
  }

  get cid (): CID {
    return this.#root.cid
  }

  get size (): number {
    return this.#root.node.size
  }

  get leafBytes (): number {
    const { children, starts } = this.#root.node
    const first = children > 0 ? (starts[1] ?? 0) - (starts[0] ?? 0) : 0
    // Of a tree with levels between, the first subtree is full.
    const leaf = first > BLOCK_BYTES_MAX ? first / UNIXFS_LINKS : first
    return Number.isInteger(leaf) && leaf > 0 && leaf <= UNIXFS_CHUNK_BYTES ? Math.max(leaf, SUPPLY_ALIGNMENT_MIN) : UNIXFS_CHUNK_BYTES
  }

  async read (offset: number, length: number, waits: Waits = {}): Promise<VerifiedBytes> {
    const range = this.#clip(offset, length)
    if (range.to - range.from > FILE_READ_BYTES_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `read of ${range.to - range.from} bytes of ${this.cid.toString()} at once, limit ${FILE_READ_BYTES_MAX}`)
    }
    const step = windowBytes(waits)
    const windows = range.to - range.from <= step ? [range] : [...alignedWindows(range, step)]
    const ranges = windows.map((window) => new FileRange(this.#exchange, this.#root, window, waits, true))
    try {
      const parts: VerifiedBytes[] = []
      for (const fetch of ranges) for await (const piece of fetch.pieces()) parts.push(piece)
      return verifiedConcat(parts) // a copy: small reads do not keep whole leaves alive
    } finally {
      for (const fetch of ranges) fetch.close()
    }
  }

  async * stream (offset: number, length: number, waits: Waits = {}): AsyncGenerator<VerifiedBytes> {
    const windows = alignedWindows(this.#clip(offset, length), windowBytes(waits))
    const ahead: FileRange[] = []
    const fill = (room: number): void => {
      while (ahead.length < room) {
        const { value, done } = windows.next()
        if (done === true) return
        ahead.push(new FileRange(this.#exchange, this.#root, value, waits, waits.keep === true))
      }
    }
    try {
      fill(1) // somebody waits for the first bytes: what follows must not share the line with them yet
      for (let current = ahead[0]; current !== undefined; current = ahead[0]) {
        for await (const piece of current.pieces()) {
          fill(STREAM_WINDOWS)
          yield piece
        }
        current.close()
        ahead.shift()
        fill(STREAM_WINDOWS)
      }
    } finally {
      for (const fetch of ahead) fetch.close()
    }
  }

  #clip (offset: number, length: number): { from: number, to: number } {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw new SnapshotterError('INVALID_ARGUMENT', `range of ${length} bytes at ${offset} of ${this.cid.toString()}`)
    }
    return { from: Math.min(offset, this.size), to: Math.min(offset + length, this.size) }
  }
}

/** What one request may bring: a read that comes meanwhile must not wait behind much of the background's. */
function windowBytes ({ priority }: Waits): number {
  return priority === 'background' ? BACKGROUND_RANGE_BYTES : RANGE_BYTES_MAX
}

/** Cuts at multiples of `step`, where the leaves of every usual chunk size end, too. */
function * alignedWindows ({ from, to }: { from: number, to: number }, step: number): Generator<{ from: number, to: number }, undefined> {
  for (let at = from; at < to;) {
    const end = Math.min(Math.floor(at / step) * step + step, to)
    yield { from: at, to: end }
    at = end
  }
}
