// Holds every chunk that a TOC claims against the blob while it streams by: a gzip member starts where the chunk says,
// the bytes at its inner offset have its digest, and the member ends where the next one starts. Notes where in the tar
// each chunk stands, so that prove.ts can tell whether it is the content of the file that claims it.
import { createHash, hash, type Hash } from 'node:crypto'
import { SnapshotterError } from '../base/errors.ts'
import type { InflatedPiece } from './gzip-members.ts'
import type { Chunk } from './layer-index.ts'

export class ChunkProver {
  readonly #what: string
  readonly #chunks: readonly Chunk[]
  /** Positions in #chunks in the order of the blob. */
  readonly #order: Uint32Array
  /** Where each chunk starts in the tar; -1 until it was seen. */
  readonly tarOffsets: Float64Array
  readonly #ends: Set<number>
  #next = 0
  #hash: Hash | null = null
  #hashed = 0
  #tarOffset = 0
  #member = -1

  constructor (chunks: readonly Chunk[], what: string) {
    this.#what = what
    this.#chunks = chunks
    this.tarOffsets = new Float64Array(chunks.length).fill(-1)
    this.#order = Uint32Array.from(chunks.keys()).sort((a, b) => compare(chunks[a], chunks[b]))
    this.#ends = new Set(chunks.map(({ offset, length }) => offset + length))
  }

  /** The next piece of the tar. @throws TOC_INVALID */
  add (piece: InflatedPiece): void {
    if (piece.member !== this.#member) {
      this.#member = piece.member
      this.#ends.delete(piece.member)
    }
    const end = piece.innerOffset + piece.bytes.byteLength
    for (;;) {
      const position = this.#order[this.#next]
      const chunk = position === undefined ? undefined : this.#chunks[position]
      if (position === undefined || chunk === undefined || chunk.offset > piece.member) break
      if (chunk.offset < piece.member) throw this.#invalid(chunk, this.#hash === null ? 'is not in the blob' : 'is cut')
      const from = chunk.innerOffset + this.#hashed
      if (from < piece.innerOffset) throw this.#invalid(chunk, 'overlaps another')
      if (from >= end) break
      if (this.#hash === null) this.tarOffsets[position] = this.#tarOffset + from - piece.innerOffset
      if (!this.#hashPart(chunk, piece.bytes.subarray(from - piece.innerOffset))) break
    }
    this.#tarOffset += piece.bytes.byteLength
  }

  /** @throws TOC_INVALID unless every chunk was seen and every member ends where another starts. */
  finish (): void {
    const position = this.#order[this.#next]
    const chunk = position === undefined ? undefined : this.#chunks[position]
    if (chunk !== undefined) throw this.#invalid(chunk, 'is not in the blob')
    const [end] = this.#ends
    if (end !== undefined) throw new SnapshotterError('TOC_INVALID', `${this.#what}: no gzip member starts at ${end}`)
  }

  /** True when the chunk is complete. */
  #hashPart (chunk: Chunk, bytes: Uint8Array): boolean {
    const part = bytes.subarray(0, chunk.size - this.#hashed)
    this.#hashed += part.byteLength
    // Most chunks stand in one piece, and a Hash holds native memory until it is collected.
    if (part.byteLength < chunk.size) (this.#hash ??= createHash('sha256')).update(part)
    if (this.#hashed < chunk.size) return false
    const digest = this.#hash?.digest() ?? hash('sha256', part, 'buffer')
    if (Buffer.compare(digest, chunk.digest) !== 0) throw this.#invalid(chunk, 'has other bytes than its digest says')
    this.#hash = null
    this.#hashed = 0
    this.#next++
    return true
  }

  #invalid (chunk: Chunk, why: string): SnapshotterError {
    return new SnapshotterError('TOC_INVALID',
      `${this.#what}: the chunk of ${chunk.size} bytes at ${chunk.offset}+${chunk.innerOffset} ${why}`)
  }
}

function compare (a: Chunk | undefined, b: Chunk | undefined): number {
  if (a === undefined || b === undefined) return 0
  return a.offset - b.offset || a.innerOffset - b.innerOffset
}
