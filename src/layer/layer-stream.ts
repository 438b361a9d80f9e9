// A whole layer blob as one verified pass: counts and hashes the compressed bytes, inflates them, counts and hashes the
// tar, and in the end compares both with what manifest and config say. Bombs end at the limits. What a consumer read
// proves nothing before `whole()` is over.
import { hasCode, SnapshotterError } from '../base/errors.ts'
import { INFLATE_RATIO_MAX, LAYER_UNPACKED_BYTES_MAX } from '../base/limits.ts'
import type { Digest } from '../verify/digest.ts'
import { longDigest, type LongDigest } from '../verify/digest-thread.ts'
import { drain } from './byte-reader.ts'
import { type InflatedPiece, inflateMembers } from './gzip-members.ts'
import { checkLayerMediaType, compressionOf } from './media-type.ts'

export interface LayerBlob {
  /** The blob from its first byte to its last. */
  readonly stream: AsyncIterable<Uint8Array>
  readonly digest: Digest
  /** Bytes of the blob as the manifest states them. */
  readonly size: number
  readonly diffId: Digest
  readonly mediaType: string
  readonly signal?: AbortSignal | undefined
  /** Bytes of the tar; default LAYER_UNPACKED_BYTES_MAX. */
  readonly unpackedBytesMax?: number
}

const RATIO_SLACK_BYTES = 1024 * 1024

export class LayerStream {
  readonly #layer: LayerBlob
  readonly #source: AsyncIterator<Uint8Array>
  readonly #blobHash: LongDigest
  readonly #tarHash: LongDigest

  constructor (layer: LayerBlob) {
    this.#layer = layer
    this.#source = layer.stream[Symbol.asyncIterator]()
    checkLayerMediaType(layer.mediaType, this.what)
    this.#blobHash = longDigest(layer.size)
    this.#tarHash = longDigest(layer.size)
  }

  get what (): string {
    return `layer ${this.#layer.digest}`
  }

  get blobBytes (): number {
    return this.#blobHash.bytes
  }

  get tarBytes (): number {
    return this.#tarHash.bytes
  }

  /** The tar in order, with each piece's gzip member; of a layer without compression, one member at 0. */
  async * pieces (): AsyncGenerator<InflatedPiece> {
    const { start, stream } = await peek(this.#blob(), 4)
    const pieces = compressionOf(start, this.what) === 'gzip' ? inflateMembers(stream, this.what) : asOneMember(stream)
    for await (const piece of pieces) {
      this.#layer.signal?.throwIfAborted()
      const waiting = this.#tarHash.update(piece.bytes)
      if (waiting !== undefined) await waiting
      checkInflation(this.#layer, this.tarBytes, this.blobBytes)
      yield piece
    }
  }

  /** The tar's bytes alone. */
  async * tar (): AsyncGenerator<Uint8Array> {
    for await (const piece of this.pieces()) yield piece.bytes
  }

  /**
   * Runs a pass that reads everything, and gives its result only when blob and tar matched. A pass that fails over a
   * blob that is not the layer at all fails with DIGEST_MISMATCH: what such bytes look like tells nothing.
   * @throws DIGEST_MISMATCH, DIFFID_MISMATCH, and what `pass` throws
   */
  async whole<Result> (pass: () => Promise<Result>): Promise<Result> {
    try {
      const result = await pass()
      await this.#checkBlob()
      checkTar(this.#layer, await this.#tarHash.digest())
      return result
    } catch (error) {
      if (!hasCode(error, 'LAYER_INVALID', 'TOC_INVALID', 'MEDIA_TYPE_UNSUPPORTED')) throw error
      await drain(this.#blob())
      await this.#checkBlob(error)
      throw error
    } finally {
      await this.close()
    }
  }

  /** Tells the source that nobody will read on. */
  async close (): Promise<void> {
    this.#blobHash.drop()
    this.#tarHash.drop()
    await this.#source.return?.()
  }

  async #checkBlob (cause?: unknown): Promise<void> {
    checkBlob(this.#layer, this.blobBytes, await this.#blobHash.digest(), cause)
  }

  #blob (): AsyncGenerator<Uint8Array> {
    return readBlob(this.#layer, this.#source, this.#blobHash)
  }
}

/**
 * A blob's bytes as they come, no more than the manifest states. Goes on where it stopped when it is called again, and leaves the source open.
 * @throws DIGEST_MISMATCH, the signal's reason, what the source throws
 */
export async function * readBlob (
  { digest, size, signal }: LayerBlob, source: AsyncIterator<Uint8Array>, seen: Pick<LongDigest, 'bytes' | 'update'>
): AsyncGenerator<Uint8Array> {
  for (;;) {
    signal?.throwIfAborted()
    const next = await source.next()
    if (next.done === true) return
    const waiting = seen.update(next.value)
    if (waiting !== undefined) await waiting
    if (seen.bytes > size) throw new SnapshotterError('DIGEST_MISMATCH', `layer ${digest}: want ${size} bytes, got more`)
    if (next.value.byteLength > 0) yield next.value
  }
}

/** @throws DIGEST_MISMATCH unless the blob is the layer that the manifest names */
export function checkBlob ({ digest, size }: LayerBlob, bytes: number, got: Digest, cause?: unknown): void {
  const wrong = bytes !== size ? `want ${size} bytes, got ${bytes}` : got !== digest ? `want ${digest}, got ${got}` : null
  if (wrong !== null) throw new SnapshotterError('DIGEST_MISMATCH', `layer ${digest}: ${wrong}`, {}, { cause })
}

/** @throws DIFFID_MISMATCH unless the tar is the one that the config names */
export function checkTar ({ digest, diffId }: LayerBlob, got: Digest): void {
  if (got !== diffId) throw new SnapshotterError('DIFFID_MISMATCH', `layer ${digest}: want diffID ${diffId}, got ${got}`)
}

/** Bombs end here. `blobBytes`: what `tarBytes` may have come from. @throws LIMIT_EXCEEDED */
export function checkInflation ({ digest, unpackedBytesMax = LAYER_UNPACKED_BYTES_MAX }: LayerBlob, tarBytes: number, blobBytes: number): void {
  if (tarBytes > unpackedBytesMax) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `layer ${digest} unpacks to more than ${unpackedBytesMax} bytes`)
  }
  if (tarBytes > RATIO_SLACK_BYTES + blobBytes * INFLATE_RATIO_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `layer ${digest} inflates ${blobBytes} bytes to ${tarBytes}, limit ${INFLATE_RATIO_MAX} to 1`)
  }
}

async function * asOneMember (stream: AsyncIterable<Uint8Array>): AsyncGenerator<InflatedPiece> {
  let innerOffset = 0
  for await (const bytes of stream) {
    yield { bytes, member: 0, innerOffset }
    innerOffset += bytes.byteLength
  }
}

interface Peeked { readonly start: Uint8Array, readonly stream: AsyncGenerator<Uint8Array> }

/** At least the first `count` bytes, unless it is shorter, and all of it. */
export async function peek (stream: AsyncGenerator<Uint8Array>, count: number): Promise<Peeked> {
  const parts: Uint8Array[] = []
  let length = 0
  while (length < count) {
    const next = await stream.next()
    if (next.done === true) break
    parts.push(next.value)
    length += next.value.byteLength
  }
  const start = Buffer.concat(parts)
  return { start, stream: prepend(start, stream) }
}

async function * prepend (start: Uint8Array, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (start.byteLength > 0) yield start
    yield * rest
  } finally {
    await rest.return(undefined)
  }
}
