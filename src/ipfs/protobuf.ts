// A reader for the little protobuf that dag-pb and UnixFS need: varints and byte strings. Refuses what is cut, what
// does not end, and numbers beyond 2^53; the blocks come from strangers.
import { SnapshotterError } from '../base/errors.ts'

export const WIRE_VARINT = 0
export const WIRE_BYTES = 2

export class ProtobufReader {
  readonly #bytes: Uint8Array
  /** Who sent it, for messages. */
  readonly #what: () => string
  readonly #end: number
  at: number

  constructor (bytes: Uint8Array, what: () => string, from = 0, end = bytes.byteLength) {
    this.#bytes = bytes
    this.#what = what
    this.at = from
    this.#end = end
  }

  get done (): boolean {
    return this.at >= this.#end
  }

  /** @throws BLOCK_INVALID */
  fail (why: string): never {
    throw new SnapshotterError('BLOCK_INVALID', `${this.#what()}: ${why} at byte ${this.at}`)
  }

  /** A field's number and wire type in one value, as `field << 3 | wire`. */
  tag (): number {
    const tag = this.uint()
    if (tag > 0xffff_ffff || tag < 8) this.fail('no protobuf field')
    return tag
  }

  /** An unsigned varint up to 2^53 − 1. */
  uint (): number {
    let value = 0
    let scale = 1
    for (let count = 0; count < 8; count++) {
      const byte = this.#next()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) this.fail('number over 2^53')
        return value
      }
      scale *= 128
    }
    return this.fail('number over 2^53')
  }

  /** Where a length-delimited field's bytes end; they start at `at`, which does not move. */
  bytesEnd (): number {
    const length = this.uint()
    if (length > this.#end - this.at) this.fail('field longer than its message')
    return this.at + length
  }

  /** A length-delimited field, as a view. */
  bytes (): Uint8Array {
    const end = this.bytesEnd()
    const view = this.#bytes.subarray(this.at, end)
    this.at = end
    return view
  }

  /** Steps over a field that nobody needs. */
  skip (wire: number): void {
    if (wire === WIRE_VARINT) for (let count = 1; this.#next() >= 0x80; count++) { if (count >= 10) this.fail('endless number') }
    else if (wire === WIRE_BYTES) this.at = this.bytesEnd()
    else if (wire === 1) this.#step(8)
    else if (wire === 5) this.#step(4)
    else this.fail(`wire type ${wire}`)
  }

  #step (count: number): void {
    if (count > this.#end - this.at) this.fail('cut')
    this.at += count
  }

  #next (): number {
    const byte = this.at < this.#end ? this.#bytes[this.at] : undefined
    if (byte === undefined) return this.fail('cut')
    this.at++
    return byte
  }
}
