// Bytes of a record, written into a growing buffer and read back with every length checked (STATE_INVALID).
import { SnapshotterError } from '../base/errors.ts'

export class BinaryWriter {
  #buffer = Buffer.alloc(64 * 1024)
  #length = 0

  byte (value: number): void {
    this.#reserve(1)
    this.#buffer[this.#length++] = value
  }

  /** A whole number from 0 to 2^53 - 1, seven bits at a time, lowest first. */
  count (value: number): void {
    let rest = value
    this.#reserve(8)
    while (rest > 0x7f) {
      this.#buffer[this.#length++] = rest % 0x80 | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#buffer[this.#length++] = rest
  }

  /** A whole number between -2^52 and 2^52: even for positive, odd for negative. */
  signed (value: number): void {
    this.count(value < 0 ? -2 * value - 1 : 2 * value)
  }

  bytes (value: Uint8Array): void {
    this.count(value.byteLength)
    this.raw(value)
  }

  raw (value: Uint8Array): void {
    this.#reserve(value.byteLength)
    this.#buffer.set(value, this.#length)
    this.#length += value.byteLength
  }

  finish (): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  #reserve (count: number): void {
    if (this.#length + count <= this.#buffer.byteLength) return
    const larger = Buffer.alloc(Math.max(2 * this.#buffer.byteLength, this.#length + count))
    larger.set(this.#buffer)
    this.#buffer = larger
  }
}

export class BinaryReader {
  readonly #bytes: Uint8Array
  readonly #what: string
  #at = 0

  constructor (bytes: Uint8Array, what: string) {
    this.#bytes = bytes
    this.#what = what
  }

  byte (): number {
    const value = this.#bytes[this.#at++]
    if (value === undefined) throw this.invalid('it is cut')
    return value
  }

  count (max: number): number {
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (value > max) throw this.invalid(`a number is greater than ${max}`)
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw this.invalid('a number is not written in the shortest way')
        return value
      }
    }
  }

  signed (): number {
    const value = this.count(Number.MAX_SAFE_INTEGER)
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  bytes (max: number): Uint8Array {
    return this.raw(this.count(max))
  }

  raw (count: number): Uint8Array {
    const end = this.#at + count
    if (end > this.#bytes.byteLength) throw this.invalid('it is cut')
    const bytes = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return bytes
  }

  end (): void {
    if (this.#at !== this.#bytes.byteLength) throw this.invalid('it goes on behind its end')
  }

  invalid (why: string): SnapshotterError {
    return new SnapshotterError('STATE_INVALID', `${this.#what}: ${why}`)
  }
}
