// One layer's proof, in one pass over its blob: an eStargz layer's TOC is opened first, the way a mount would.
import type { LayerProver } from '../image/prove-image.ts'
import { openEstargz, tocDigestOf } from '../layer/estargz.ts'
import { proveLayer } from '../layer/prove.ts'

/** `onBytes` hears of each piece that was read of the layer `digest`. */
export function layerProver (onBytes: (digest: string, bytes: number) => void = () => {}): LayerProver {
  return async (layer, file, waits) => {
    const { digest, diffId, mediaType, size } = layer
    const tocDigest = tocDigestOf(layer)
    const toc = tocDigest === null ? undefined : { index: await openEstargz(file, size, tocDigest, waits), digest: tocDigest }
    const stream = counted(file.stream(0, file.size, waits), (bytes) => { onBytes(digest, bytes) })
    const { tarBytes, chunks } = await proveLayer({ stream, digest, size, diffId, mediaType, signal: waits.signal, toc })
    return { tarBytes, chunks, lazy: toc !== undefined }
  }
}

async function * counted (stream: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const piece of stream) {
    onBytes(piece.byteLength)
    yield piece
  }
}
