// A layer's uncompressed tar as random access, its digest and diffID proven on the way: the blob is inflated once into a
// file without a name (an uncompressed blob is read where it is). Refuses other bytes than the manifest and config name.
import type { FileHandle } from 'node:fs/promises'
import { PUBLISH_WRITE_BYTES, PUBLISH_WRITE_PIECES } from '../base/limits.ts'
import { drain } from '../layer/byte-reader.ts'
import { isGzip } from '../layer/gzip-members.ts'
import { type LayerBlob, LayerStream } from '../layer/layer-stream.ts'
import { type ByteSource, fileSlice, openNameless } from './byte-source.ts'

export interface LayerTar {
  readonly source: ByteSource
  readonly close: () => Promise<void>
}

export interface LayerTarOptions {
  /** A path whose folder has room for the inflated layer. */
  readonly spoolBeside: string
  /** Bytes of the blob that were read since the last call. */
  readonly advance: (bytes: number) => void
}

/** @throws DIGEST_MISMATCH, DIFFID_MISMATCH, LAYER_INVALID, LIMIT_EXCEEDED, MEDIA_TYPE_UNSUPPORTED */
export async function openLayerTar (blob: ByteSource, names: Omit<LayerBlob, 'stream'>, options: LayerTarOptions): Promise<LayerTar> {
  const layer = new LayerStream({ ...names, stream: counted(blob, options.advance) })
  const inPlace = blob.size < 2 || !isGzip(await blob.read(0, 2))
  if (inPlace) {
    await layer.whole(async () => { await drain(layer.tar()) })
    return { source: blob, close: async () => {} }
  }
  const file = await openNameless(options.spoolBeside)
  try {
    await layer.whole(async () => {
      for await (const pieces of gathered(layer.tar(), PUBLISH_WRITE_BYTES)) await appendAll(file, pieces)
    })
    return { source: fileSlice(file, blob.name, 0, layer.tarBytes), close: async () => { await file.close() } }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The blob's stream; `advance` hears of each piece when the next is asked for. */
export async function * counted (blob: ByteSource, advance: (bytes: number) => void): AsyncGenerator<Buffer, void, undefined> {
  for await (const piece of blob.stream()) {
    yield piece
    advance(piece.byteLength)
  }
}

/** Pieces in groups of at least `least` bytes, so that each write is worth its system call. */
async function * gathered (pieces: AsyncIterable<Uint8Array>, least: number): AsyncGenerator<Uint8Array[], void, undefined> {
  let held: Uint8Array[] = []
  let bytes = 0
  for await (const piece of pieces) {
    held.push(piece)
    bytes += piece.byteLength
    if (bytes < least && held.length < PUBLISH_WRITE_PIECES) continue
    yield held
    held = []
    bytes = 0
  }
  if (bytes > 0) yield held
}

/** A short write is finished piece by piece. */
async function appendAll (file: FileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  let left = (await file.writev(pieces)).bytesWritten
  for (const piece of pieces) {
    if (left < piece.byteLength) await file.writeFile(piece.subarray(left))
    left = Math.max(0, left - piece.byteLength)
  }
}
