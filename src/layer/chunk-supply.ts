// Chunks of a plain layer have no address of their own in a gzip stream, so getting some back (evicted, or damaged on
// disk) means streaming the layer once more and picking them out. Each chunk is held against its digest before it leaves.
import { SnapshotterError } from '../base/errors.ts'
import { digestFromBytes } from '../verify/digest.ts'
import { type VerifiedBytes, verifyDigest } from '../verify/verified-bytes.ts'
import { ByteReader } from './byte-reader.ts'
import type { LayerIndex } from './layer-index.ts'
import { type LayerBlob, LayerStream } from './layer-stream.ts'

export interface SuppliedChunk {
  /** Position in LayerIndex.chunks. */
  readonly chunk: number
  readonly bytes: VerifiedBytes
}

/**
 * The `wanted` chunks (positions in `index.chunks`) in the order of the tar. Reads no further than the last of them.
 * @throws DIGEST_MISMATCH for a chunk, LAYER_INVALID when the stream ends before, INVALID_ARGUMENT for other indexes.
 */
export async function * findTarChunks (layer: LayerBlob, index: LayerIndex, wanted: Iterable<number>): AsyncGenerator<SuppliedChunk> {
  const source = new LayerStream(layer)
  if (index.format !== 'tar') throw new SnapshotterError('INVALID_ARGUMENT', `${source.what}: its chunks have addresses of their own`)
  const ordered = [...new Set(wanted)].map((chunk) => ({ chunk, ...chunkAt(index, chunk) })).sort((a, b) => a.offset - b.offset)
  const reader = new ByteReader(source.tar())
  try {
    for (const { chunk, offset, size, digest } of ordered) {
      const bytes = await reader.skip(offset - reader.position) ? await reader.take(size) : null
      if (bytes === null) throw new SnapshotterError('LAYER_INVALID', `${source.what}: its tar ends before chunk ${chunk} at ${offset}`)
      yield { chunk, bytes: verifyDigest(digestFromBytes(digest), bytes, `${source.what}: chunk ${chunk}`) }
    }
  } finally {
    await reader.close()
    await source.close()
  }
}

function chunkAt (index: LayerIndex, chunk: number): LayerIndex['chunks'][number] {
  const found = index.chunks[chunk]
  if (found === undefined) throw new SnapshotterError('INVALID_ARGUMENT', `there is no chunk ${chunk} among ${index.chunks.length}`)
  return found
}
