// A whole gzipped layer as one verified pass, like LayerStream, through an Unpacker: what was read or taken proves nothing before
// `whole()` is over.
import { hasCode, SnapshotterError } from '../base/errors.ts'
import { UNPACK_READ_BYTES } from '../base/limits.ts'
import { checkBlob, checkInflation, checkTar, type LayerBlob, readBlob } from './layer-stream.ts'
import type { Taken, Unpacker, Unpacking } from './unpacking.ts'

/** What went to the unpacker, which hashes it. */
class Counted {
  bytes = 0

  update (data: Uint8Array): undefined {
    this.bytes += data.byteLength
  }
}

export class UnpackedStream {
  readonly #layer: LayerBlob
  readonly #source: AsyncIterator<Uint8Array>
  readonly #unpacking: Unpacking
  readonly #blob = new Counted()
  #tarBytes = 0

  /** `data`: descriptor of the file that contents are written to. */
  constructor (layer: LayerBlob, unpacker: Unpacker, data: number) {
    this.#layer = layer
    this.#source = layer.stream[Symbol.asyncIterator]()
    this.#unpacking = unpacker(readBlob(layer, this.#source, this.#blob), data)
  }

  get what (): string {
    return `layer ${this.#layer.digest}`
  }

  /** What `take` leaves of it, in order. */
  async * tar (): AsyncGenerator<Uint8Array> {
    for (;;) {
      const bytes = await this.#unpacking.read(UNPACK_READ_BYTES)
      this.#count(bytes.byteLength)
      if (bytes.byteLength > 0) yield bytes
      if (bytes.byteLength < UNPACK_READ_BYTES) return
    }
  }

  /** See Unpacking. */
  async take (prefix: Uint8Array, length: number, at: number | null): Promise<Taken> {
    const taken = await this.#unpacking.take(prefix, length, at)
    this.#count(taken.bytes)
    return taken
  }

  /** As LayerStream.whole. @throws DIGEST_MISMATCH, DIFFID_MISMATCH, LAYER_INVALID, and what `pass` throws */
  async whole<Result> (pass: () => Promise<Result>): Promise<Result> {
    try {
      const passed = await pass().then((result) => ({ result }), (error: unknown) => {
        if (hasCode(error, 'LAYER_INVALID', 'MEDIA_TYPE_UNSUPPORTED')) return { error }
        throw error
      })
      if ('result' in passed) {
        await this.#check()
        return passed.result
      }
      await this.#check(passed.error)
      throw passed.error
    } finally {
      this.#unpacking.close()
      this.#source.return?.().catch(() => {}) // it may still wait for the network
    }
  }

  /** What is wrong with the blob, or with its gzip data, tells more than what was found in the tar. */
  async #check (cause?: unknown): Promise<void> {
    const { blob, blobBytes, tar, problem } = await this.#unpacking.end()
    checkBlob(this.#layer, blobBytes, blob, cause)
    if (problem !== '') throw new SnapshotterError('LAYER_INVALID', `${this.what}: gzip data: ${problem}`, {}, { cause })
    if (cause === undefined) checkTar(this.#layer, tar)
  }

  #count (bytes: number): void {
    this.#layer.signal?.throwIfAborted()
    this.#tarBytes += bytes
    checkInflation(this.#layer, this.#tarBytes, this.#blob.bytes)
  }
}
