import { describe, expect, test } from '@jest/globals'
import { gunzipSync } from 'node:zlib'
import { openEstargz, tocDigestOf } from '../../src/layer/estargz.ts'
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import { indexPlainLayer } from '../../src/layer/plain-layer.ts'
import { proveLayer } from '../../src/layer/prove.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { type FixtureLayer, imageLayers, MemorySink, pieces, rangeReader, truth, type TruthEntry, truthTar } from './fixtures.ts'
import { codeOf } from './errors.ts'
import { type Contents, contentsOfDevice, type Flat, flatten, overlay, withoutMark } from './flatten.ts'

const ESTARGZ = ['estargz.oci.tar', 'estargz-64k.oci.tar', 'estargz-inner.oci.tar']
const PLAIN = ['umoci-gzip.oci.tar', 'docker-archive.tar.gz', 'soci-v1.oci.tar.gz', 'soci-v2.oci.tar.gz']
const ZSTD = ['zstd.oci.tar', 'zstdchunked.oci.tar', 'zstdchunked-skopeo.oci.tar']

/** The truth as flatten() would say it: containerd puts times before 1970 at 0; the root's time is of no interest. */
function expected (name: 'layer0' | 'merged', wholeSeconds: boolean): Map<string, TruthEntry> {
  return new Map(truth(name).map((entry) =>
    [entry.path, comparable({ ...entry, mode: `0${entry.mode.replace(/^0*/, '').padStart(3, '0')}` }, wholeSeconds)]))
}

function comparable (entry: TruthEntry, wholeSeconds: boolean): TruthEntry {
  const ns = BigInt(entry.mtimeNs) < 0n || entry.path === '/' ? 0n : BigInt(entry.mtimeNs)
  return { ...entry, mtimeNs: String(wholeSeconds ? (ns + 500_000_000n) / 1_000_000_000n : ns) }
}

function shown (flat: Flat, wholeSeconds: boolean): Map<string, TruthEntry> {
  return new Map([...flat].map(([path, entry]) => [path, comparable(withoutMark(entry), wholeSeconds)]))
}

async function openPlain (layer: FixtureLayer): Promise<Flat> {
  const sink = new MemorySink()
  const index = await indexPlainLayer({ ...layer, size: layer.blob.byteLength, stream: pieces(layer.blob), sink })
  return flatten(index, contentsOfDevice(index, sink.data))
}

async function openLazy (layer: FixtureLayer): Promise<{ index: LayerIndex, flat: Flat }> {
  const tocDigest = tocDigestOf(layer)
  if (tocDigest === null) throw new Error('no TOC digest')
  const index = await openEstargz(rangeReader(layer.blob), layer.blob.byteLength, tocDigest)
  return { index, flat: flatten(index, contentsOfMembers(index, layer.blob)) }
}

/** Inflates each chunk from its member, as the data plane does, and checks its digest. */
function contentsOfMembers (index: LayerIndex, blob: Uint8Array): Contents {
  const members = new Map<number, Uint8Array>()
  return (position) => {
    const { size = 0, firstChunk = 0, chunkCount = 0 } = index.inodes[position] ?? {}
    const bytes = Buffer.alloc(size)
    for (const chunk of index.chunks.slice(firstChunk, firstChunk + chunkCount)) {
      const member = members.get(chunk.offset) ?? gunzipSync(blob.subarray(chunk.offset, chunk.offset + chunk.length))
      members.set(chunk.offset, member)
      const content = member.subarray(chunk.innerOffset, chunk.innerOffset + chunk.size)
      expect(digestOf(content)).toBe(`sha256:${Buffer.from(chunk.digest).toString('hex')}`)
      bytes.set(content, chunk.fileOffset)
    }
    return bytes
  }
}

describe.each(PLAIN)('%s', (file) => {
  test('equals the truth, layer by layer and merged', async () => {
    const [base, over] = await Promise.all(imageLayers(file).map(openPlain))
    if (base === undefined || over === undefined) throw new Error('two layers expected')

    expect(shown(base, false)).toEqual(expected('layer0', false))
    expect(shown(overlay(base, over), false)).toEqual(expected('merged', false))
  })
})

describe.each(ESTARGZ)('%s', (file) => {
  test('equals the truth to the second, layer by layer and merged', async () => {
    const [base, over] = await Promise.all(imageLayers(file).map(openLazy))
    if (base === undefined || over === undefined) throw new Error('two layers expected')

    expect(shown(base.flat, true)).toEqual(expected('layer0', true))
    expect(shown(overlay(base.flat, over.flat), true)).toEqual(expected('merged', true))
  })

  test('its TOC is proven to say what its tar says', async () => {
    for (const layer of imageLayers(file)) {
      const { index } = await openLazy(layer)
      const digest = tocDigestOf(layer) ?? digestOf(new Uint8Array(0))
      const proof = await proveLayer({ ...layer, size: layer.blob.byteLength, stream: pieces(layer.blob), toc: { index, digest } })

      expect(proof.blobBytes).toBe(layer.blob.byteLength)
      expect(proof.chunks).toBe(index.chunks.length)
    }
  })

  test('without the annotation it is a plain layer, format files and all', async () => {
    const [base] = imageLayers(file)
    if (base === undefined) throw new Error('a layer expected')
    expect(tocDigestOf({ ...base, annotations: {} })).toBeNull()

    const flat = shown(await openPlain(base), true) // Go's tar writer rounds a time or two
    expect(flat.delete('/stargz.index.json')).toBe(true)
    expect(flat.delete('/.no.prefetch.landmark')).toBe(true)
    expect(flat).toEqual(expected('layer0', true))
  })
})

test.each(ZSTD)('%s is refused with a clear error', async (file) => {
  for (const layer of imageLayers(file)) {
    expect(codeOf(() => tocDigestOf(layer))).toMatch(/^MEDIA_TYPE_UNSUPPORTED: .*zstd layers are not supported/)
    await expect(openPlain(layer)).rejects.toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED' })
    await expect(openPlain({ ...layer, mediaType: 'application/vnd.oci.image.layer.v1.tar' }))
      .rejects.toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED' })
  }
})

test('the tars themselves equal the truth', async () => {
  const flats = await Promise.all((['base', 'over'] as const).map(async (name) => {
    const blob = truthTar(name)
    return await openPlain({ digest: digestOf(blob), diffId: digestOf(blob), mediaType: 'application/vnd.oci.image.layer.v1.tar',
      annotations: {}, blob })
  }))
  const [base, over] = flats
  if (base === undefined || over === undefined) throw new Error('two layers expected')

  expect(shown(base, false)).toEqual(expected('layer0', false))
  expect(shown(overlay(base, over), false)).toEqual(expected('merged', false))
  expect(over.get('/opt/opaque')?.xattrs).toEqual({ 'trusted.overlay.opaque': '79' })
  expect(over.get('/usr/lib/never-existed')).toMatchObject({ type: 'char', rdev: [0, 0] })
})
