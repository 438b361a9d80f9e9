// Pull access to a stream of byte pieces: look ahead, take, skip, and know the position. It copies only when a request
// spans pieces, and holds no more than one request and one piece.

export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>
  #buffer: Uint8Array = new Uint8Array(0)
  #ended = false
  #position = 0

  constructor (source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Bytes taken or skipped so far. */
  get position (): number {
    return this.#position
  }

  /** What is buffered, without waiting; possibly empty. */
  get buffered (): Uint8Array {
    return this.#buffer
  }

  /** Makes at least `wanted` bytes available in `buffered` unless the stream ends before; true when they are. */
  async fill (wanted: number): Promise<boolean> {
    if (this.#buffer.byteLength >= wanted) return true
    const parts = [this.#buffer]
    let length = this.#buffer.byteLength
    while (length < wanted && !this.#ended) {
      const next = await this.#source.next()
      if (next.done === true) {
        this.#ended = true
      } else {
        parts.push(next.value)
        length += next.value.byteLength
      }
    }
    const filled = parts.filter((part) => part.byteLength > 0)
    if (filled.length > 0) this.#buffer = filled.length === 1 ? filled[0] ?? this.#buffer : Buffer.concat(filled, length)
    return length >= wanted
  }

  /** Drops `count` buffered bytes. */
  advance (count: number): void {
    this.#buffer = this.#buffer.subarray(count)
    this.#position += count
  }

  /** Exactly `count` bytes, or null when the stream ends before. */
  async take (count: number): Promise<Uint8Array | null> {
    if (this.#buffer.byteLength < count && !await this.fill(count)) return null
    const bytes = this.#buffer.subarray(0, count)
    this.advance(count)
    return bytes
  }

  /** At most `max` bytes as they come, at least one; null at the end. */
  async some (max: number): Promise<Uint8Array | null> {
    if (this.#buffer.byteLength === 0 && !await this.fill(1)) return null
    const bytes = this.#buffer.subarray(0, max)
    this.advance(bytes.byteLength)
    return bytes
  }

  /** False when the stream ends before `count` bytes were skipped. */
  async skip (count: number): Promise<boolean> {
    let left = count
    while (left > 0) {
      const bytes = await this.some(left)
      if (bytes === null) return false
      left -= bytes.byteLength
    }
    return true
  }

  /** `count` bytes of the source went another way; nothing is buffered then. */
  passed (count: number): void {
    this.#position += count
  }

  /** Tells the source that nobody will read on. */
  async close (): Promise<void> {
    this.#ended = true
    await this.#source.return?.()
  }
}

/** Reads a stream to its end for its effects. */
export async function drain (stream: AsyncIterable<unknown>): Promise<void> {
  const iterator = stream[Symbol.asyncIterator]()
  while ((await iterator.next()).done !== true);
}
