// Parses a CARv1 byte stream as it arrives (CARv1 spec: varint length, header; then varint length, CID, block). Hands
// over whole blocks that the sink wants, steps over all others without keeping or hashing them. Nothing here is verified,
// and every length is checked before memory is taken.
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { CAR_HEADER_BYTES_MAX, CAR_SECTION_BYTES_MAX } from '../base/limits.ts'
import { type BlockKey, keyOfMultihash } from './block-key.ts'

export interface CarSink {
  /** Whether the block of this multihash is awaited now. */
  readonly wants: (key: BlockKey) => boolean
  /** The DAG-CBOR of the header, which says version 1; nobody checked it further. */
  readonly header?: (bytes: Uint8Array) => void
  /** Unverified bytes in a buffer of their own. */
  readonly block: (key: BlockKey, bytes: Uint8Array) => void
}

const CID_BYTES_MAX = 192 // version, codec, hash, length and a digest of up to 128 bytes, with room
const VARINT_BYTES_MAX = 5 // sections are below 2^35
const VERSION_1 = Buffer.from([0x67, ...Buffer.from('version'), 0x01]) // DAG-CBOR: text(7) "version", unsigned(1)

export class CarParser {
  readonly #sink: CarSink
  readonly #origin: string
  /** What is being collected: a length, then a small whole (header, head of a section), then a block, or a block to drop. */
  #state: 'length' | 'header' | 'head' | 'block' | 'drop' = 'length'
  #headerSeen = false
  #length = 0
  #lengthBytes = 0
  #buffer: Uint8Array = new Uint8Array(0)
  #filled = 0
  #left = 0
  #key: BlockKey = ''
  /** Blocks that the sink took. */
  blocks = 0
  /** Blocks that nobody had asked for, or that came twice. */
  dropped = 0

  constructor (sink: CarSink, origin: string) {
    this.#sink = sink
    this.#origin = origin
  }

  /** @throws CAR_INVALID, BLOCK_TOO_LARGE, and whatever the sink throws. */
  push (chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.byteLength) {
      if (this.#state === 'length') at = this.#readLength(chunk, at)
      else if (this.#state === 'drop') at = this.#drop(chunk, at)
      else at = this.#collect(chunk, at)
    }
  }

  /** True between two sections: a body may end here. */
  get whole (): boolean {
    return this.#state === 'length' && this.#lengthBytes === 0 && this.#headerSeen
  }

  #readLength (chunk: Uint8Array, from: number): number {
    let at = from
    while (at < chunk.byteLength) {
      const byte = chunk[at++] ?? 0
      this.#length += (byte & 0x7f) * 128 ** this.#lengthBytes++
      if (byte < 0x80) {
        this.#begin(this.#length)
        this.#length = 0
        this.#lengthBytes = 0
        return at
      }
      if (this.#lengthBytes >= VARINT_BYTES_MAX) this.#refuse('a length that does not end')
    }
    return at
  }

  #begin (length: number): void {
    if (length === 0) this.#refuse('a section of 0 bytes')
    if (!this.#headerSeen) {
      if (length > CAR_HEADER_BYTES_MAX) this.#refuse(`a header of ${length} bytes, limit ${CAR_HEADER_BYTES_MAX}`)
      this.#expect('header', length)
      return
    }
    if (length > CAR_SECTION_BYTES_MAX) {
      throw new SnapshotterError('BLOCK_TOO_LARGE', `CAR section from ${this.#origin} of ${length} bytes, limit ${CAR_SECTION_BYTES_MAX}`)
    }
    this.#left = length
    this.#expect('head', Math.min(length, CID_BYTES_MAX))
  }

  #expect (state: 'header' | 'head' | 'block', length: number): void {
    this.#state = state
    this.#buffer = Buffer.allocUnsafeSlow(length)
    this.#filled = 0
  }

  #collect (chunk: Uint8Array, from: number): number {
    const take = Math.min(chunk.byteLength - from, this.#buffer.byteLength - this.#filled)
    this.#buffer.set(chunk.subarray(from, from + take), this.#filled)
    this.#filled += take
    if (this.#filled === this.#buffer.byteLength) this.#complete()
    return from + take
  }

  #complete (): void {
    if (this.#state === 'header') {
      if (Buffer.from(this.#buffer).indexOf(VERSION_1) < 0) this.#refuse('no CAR version 1 header')
      this.#headerSeen = true
      this.#state = 'length'
      this.#sink.header?.(this.#buffer)
    } else if (this.#state === 'head') {
      this.#startBlock(this.#buffer)
    } else {
      this.#finishBlock(this.#buffer)
    }
  }

  /** `head` holds the CID and the block's first bytes, at most CID_BYTES_MAX of the section's `#left`. */
  #startBlock (head: Uint8Array): void {
    const { cidBytes, multihash } = this.#inspect(head)
    const start = head.subarray(cidBytes)
    this.#key = keyOfMultihash(multihash)
    const wanted = this.#sink.wants(this.#key)
    this.#left -= head.byteLength
    if (!wanted) {
      this.dropped++
      this.#state = this.#left === 0 ? 'length' : 'drop'
      return
    }
    this.#expect('block', start.byteLength + this.#left)
    this.#buffer.set(start)
    this.#filled = start.byteLength
    if (this.#filled === this.#buffer.byteLength) this.#finishBlock(this.#buffer)
  }

  #finishBlock (bytes: Uint8Array): void {
    this.#state = 'length'
    this.#buffer = new Uint8Array(0)
    this.blocks++
    this.#sink.block(this.#key, bytes)
  }

  #drop (chunk: Uint8Array, from: number): number {
    const step = Math.min(chunk.byteLength - from, this.#left)
    this.#left -= step
    if (this.#left === 0) this.#state = 'length'
    return from + step
  }

  #inspect (head: Uint8Array): { cidBytes: number, multihash: Uint8Array } {
    let specs: ReturnType<typeof CID.inspectBytes>
    try {
      specs = CID.inspectBytes(head)
    } catch {
      return this.#refuse('a section that starts with no CID')
    }
    if (specs.size > head.byteLength) this.#refuse('a section that is shorter than its CID')
    return { cidBytes: specs.size, multihash: head.subarray(specs.size - specs.multihashSize, specs.size) }
  }

  #refuse (what: string): never {
    throw new SnapshotterError('CAR_INVALID', `CAR from ${this.#origin} has ${what}`)
  }
}
