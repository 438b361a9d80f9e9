// A proof in a thread is the proof of this thread: the same facts, the same words for a lie.
import { beforeAll, expect, test } from '@jest/globals'
import { SnapshotterError } from '../../src/base/errors.ts'
import { PROOF_HERE_ENTRIES_MAX } from '../../src/base/limits.ts'
import { openEstargz } from '../../src/layer/estargz.ts'
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import { type LayerProof, type LayerToProve, proveLayer } from '../../src/layer/prove.ts'
import { proveAside } from '../../src/layer/prove-thread.ts'
import { OCI_LAYER_GZIP } from '../../src/oci/media-types.ts'
import { lineOf } from './errors.ts'
import { type Estargz, estargz } from './estargz-writer.ts'
import { pieces, rangeReader } from './fixtures.ts'

type Prove = (layer: LayerToProve) => Promise<LayerProof>

let layer: Estargz
let index: LayerIndex
let honest: Omit<LayerToProve, 'stream'>
beforeAll(async () => {
  const folders = Array.from({ length: PROOF_HERE_ENTRIES_MAX }, (_, at) => ({ name: `d${at}/`, type: '5' }))
  layer = estargz([...folders, { name: 'a', data: 'some content' }, { name: 'b', data: 'other content' }], { chunkBytes: 12 })
  const { digest, size, diffId, tocDigest } = layer
  index = await openEstargz(rangeReader(layer.blob), size, tocDigest)
  honest = { digest, size, diffId, mediaType: OCI_LAYER_GZIP, toc: { index, digest: tocDigest } }
})

test('an honest layer is proven, from bytes that stay with their owner', async () => {
  const blob = Buffer.from(layer.blob)
  const proof = await proveAside({ ...honest, stream: pieces(blob, 100_000) })
  expect(proof).toEqual(await proveLayer({ ...honest, stream: pieces(blob, 100_000) }))
  expect(blob.equals(layer.blob)).toBe(true)
})

test('a lie is told in the same words', async () => {
  const flipped = Buffer.from(layer.blob)
  flipped[flipped.length >> 1] = (flipped[flipped.length >> 1] ?? 0) ^ 1
  const lies: Array<[RegExp, Partial<LayerToProve>, Uint8Array?]> = [
    [/^DIFFID_MISMATCH/, { diffId: layer.digest }], [/^DIGEST_MISMATCH/, { digest: layer.diffId }],
    [/^TOC_INVALID/, { toc: { index, digest: layer.digest } }], [/^[A-Z_]+: /, {}, flipped], [/^[A-Z_]+: /, {}, layer.blob.subarray(0, -1)]
  ]
  for (const [words, claim, blob = layer.blob] of lies) {
    const line = async (prove: Prove): Promise<string> => await lineOf(prove({ ...honest, ...claim, stream: pieces(blob, 100_000) }))
    const here = await line(proveLayer)
    expect(here).toMatch(words)
    expect(await line(proveAside)).toBe(here)
  }
})

test('a source that fails, or a caller who gives up, ends it with that very error', async () => {
  const failed = new SnapshotterError('GATEWAY_TIMEOUT', 'gone')
  const stream = async function * (): AsyncGenerator<Uint8Array> {
    yield layer.blob.subarray(0, 1000)
    throw failed
  }
  await expect(proveAside({ ...honest, stream: stream() })).rejects.toBe(failed)
  await expect(proveAside({ ...honest, stream: pieces(layer.blob), signal: AbortSignal.abort(failed) })).rejects.toBe(failed)
})
