import { describe, expect, test } from '@jest/globals'
import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { CHUNK_BYTES_PLAIN } from '../../src/base/limits.ts'
import { findTarChunks } from '../../src/layer/chunk-supply.ts'
import { layoutData } from '../../src/layer/data-layout.ts'
import type { LayerBlob } from '../../src/layer/layer-stream.ts'
import { indexPlainLayer } from '../../src/layer/plain-layer.ts'
import { type Digest, digestFromBytes, digestOf } from '../../src/verify/digest.ts'
import { lineOf } from './errors.ts'
import { MemorySink, pieces } from './fixtures.ts'
import { inodeAt, indexTar } from './index-tar.ts'
import { entry, tar } from './tar-writer.ts'

const OTHER = digestOf(Buffer.from('other'))
const GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip'

function layerOf (blob: Uint8Array, diffId: Digest, more: Partial<LayerBlob> = {}): LayerBlob {
  return { stream: pieces(blob), digest: digestOf(blob), size: blob.byteLength, diffId, mediaType: GZIP, ...more }
}

const bytes = tar(entry('a', { data: 'first' }), entry('b', { data: 'second' }))
const gzipped = gzipSync(bytes)
const good = (more: Partial<LayerBlob> = {}): LayerBlob => layerOf(gzipped, digestOf(bytes), more)

describe('the data device', () => {
  test('holds each file where the data layout says, without a move', async () => {
    const data = [randomBytes(4096), randomBytes(4097), Buffer.alloc(0), randomBytes(1), randomBytes(700_000)]
    const { index, sink, content } = await indexTar(tar(...data.map((data, i) => entry(`f${i}`, { data }))))

    expect(sink.moves).toBe(0)
    expect([...layoutData(index).fileOffsets]).toEqual([-1, 0, 4096, -1, 12_288, 16_384])
    for (const [i, want] of data.entries()) expect(content(`f${i}`) === want.toString('latin1')).toBe(true)
  })

  test('has no gap where a later entry replaced an earlier one', async () => {
    const [a, b, c] = [randomBytes(50_000), randomBytes(300_000), randomBytes(9_000)]
    const { index, sink, content } = await indexTar(tar(
      entry('gone', { data: randomBytes(20_000) }), entry('a', { data: a }), entry('d/x', { data: randomBytes(5000) }),
        entry('b', { data: b }),
      entry('d', { type: '2', link: 'a' }), entry('gone', { data: c }), entry('a2', { type: '1', link: 'a' })))

    expect(sink.moves).toBe(3)
    expect(layoutData(index).size).toBe(53_248 + 303_104 + 12_288)
    expect(content('a') === a.toString('latin1') && content('b') === b.toString('latin1') && content('gone') === c.toString('latin1'))
      .toBe(true)
    expect(content('a2')).toBe(content('a'))
  })

  test('keeps the content of a file whose first name was replaced but not its hard link', async () => {
    const { content } = await indexTar(tar(entry('a', { data: 'old' }), entry('b', { type: '1', link: 'a' }), entry('a', { data: 'new' })))

    expect([content('a'), content('b')]).toEqual(['new', 'old'])
  })

  test('moves no hole of a sparse file', async () => {
    const pax = { 'GNU.sparse.size': String(2 ** 40), 'GNU.sparse.map': `100000,4,${2 ** 40 - 2},2` }
    const moves: Array<readonly [from: number, to: number, length: number]> = []
    const archive = tar(entry('gone', { data: randomBytes(9000) }), entry('s', { pax, data: 'ABCDEF' }), entry('gone', { type: '2', link: 's' }))
    const sink = { write: async () => {}, move: async (...move: [number, number, number]) => { moves.push(move) } }
    const layer = layerOf(archive, digestOf(archive), { mediaType: 'application/vnd.oci.image.layer.v1.tar' })
    const index = await indexPlainLayer({ ...layer, sink })

    expect([...layoutData(index).fileOffsets].filter((offset) => offset >= 0)).toEqual([0])
    expect(moves).toEqual([[12_288 + 100_000, 100_000, 4], [12_288 + 2 ** 40 - 2, 2 ** 40 - 2, 2]])
  })

  test('leaves holes of sparse files alone', async () => {
    const pax = { 'GNU.sparse.size': '1000000', 'GNU.sparse.map': '262140,8,900000,2' }
    const { index, content } = await indexTar(tar(entry('s', { pax, data: 'ABCDEFGHIJ' })))

    expect(index.chunks.map(({ fileOffset, size }) => [fileOffset, size])).toEqual([[262_140, 4], [262_144, 4], [900_000, 2]])
    expect(content('s')).toBe(`${'\0'.repeat(262_140)}ABCDEFGH${'\0'.repeat(637_852)}IJ${'\0'.repeat(99_998)}`)
  })
})

describe('chunks', () => {
  test('have at most 256 KiB, their own digest and their place in the tar', async () => {
    const data = randomBytes(CHUNK_BYTES_PLAIN * 2 + 5)
    const archive = tar(entry('a', { data: 'x' }), entry('b', { data }))
    const { index } = await indexTar(archive, 100_003)
    const { firstChunk, chunkCount } = index.inodes[inodeAt(index, 'b')] ?? { firstChunk: 0, chunkCount: 0 }
    const chunks = index.chunks.slice(firstChunk, firstChunk + chunkCount)

    expect(chunks.map(({ size }) => size)).toEqual([CHUNK_BYTES_PLAIN, CHUNK_BYTES_PLAIN, 5])
    for (const { offset, size, length, digest, fileOffset } of chunks) {
      const part = archive.subarray(offset, offset + size)
      expect([length, digestFromBytes(digest), part.equals(data.subarray(fileOffset, fileOffset + size))])
        .toEqual([size, digestOf(part), true])
    }
  })
})

describe('nothing is returned', () => {
  const index = async (layer: LayerBlob): Promise<unknown> => await indexPlainLayer({ ...layer, sink: new MemorySink() })

  test('of a layer that is right, all is', async () => {
    await expect(index(good())).resolves.toMatchObject({ format: 'tar', prefetchBytes: 0 })
  })

  test('when the layer digest differs', async () => {
    expect(await lineOf(index(good({ digest: OTHER })))).toBe(`DIGEST_MISMATCH: layer ${OTHER}: want ${OTHER}, got ${digestOf(gzipped)}`)
  })

  test('when the diffID differs', async () => {
    expect(await lineOf(index(good({ diffId: OTHER }))))
      .toBe(`DIFFID_MISMATCH: layer ${digestOf(gzipped)}: want diffID ${OTHER}, got ${digestOf(bytes)}`)
  })

  test('when the size differs, either way', async () => {
    expect(await lineOf(index(good({ size: gzipped.byteLength - 1 })))).toMatch(/^DIGEST_MISMATCH: .*got more$/)
    expect(await lineOf(index(good({ size: gzipped.byteLength + 1 })))).toMatch(/^DIGEST_MISMATCH: .*want \d+ bytes, got \d+$/)
  })

  test('when the blob is other bytes, whatever they look like', async () => {
    for (const blob of [gzipped.subarray(0, 60), randomBytes(5000), Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]),
      gzipSync('no tar at all'.repeat(100))]) {
      expect(await lineOf(index(layerOf(blob, OTHER, { digest: OTHER })))).toMatch(/^DIGEST_MISMATCH/)
      expect(await lineOf(index(layerOf(blob, OTHER)))).toMatch(/^(LAYER_INVALID|MEDIA_TYPE_UNSUPPORTED)/)
    }
  })

  test('when the tar is larger than the limit', async () => {
    await expect(index(good({ unpackedBytesMax: bytes.byteLength }))).resolves.toBeDefined()
    expect(await lineOf(index(good({ unpackedBytesMax: bytes.byteLength - 1 }))))
      .toMatch(/^LIMIT_EXCEEDED: .* unpacks to more than \d+ bytes/)
  })

  test('when the caller gives up', async () => {
    expect(await lineOf(index(good({ signal: AbortSignal.abort() })))).toMatch(/^CANCELLED/)
  })

  test('of other media types', async () => {
    for (const mediaType of ['application/vnd.oci.image.layer.v1.tar+zstd', 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted',
      'application/octet-stream', '']) {
      expect(await lineOf(index(good({ mediaType })))).toMatch(/^MEDIA_TYPE_UNSUPPORTED: layer sha256:.* has the media type/)
    }
  })

  test('and the source is always closed', async () => {
    let open = 0
    async function * source (blob: Uint8Array): AsyncGenerator<Uint8Array> {
      open++
      try { yield * pieces(blob, 100) } finally { open-- }
    }
    for (const blob of [gzipped, gzipped.subarray(0, 150),
      randomBytes(2000)]) await lineOf(index(good({ stream: source(blob), size: 10 ** 6 })))
    expect(open).toBe(0)
  })
})

test.each(['application/vnd.docker.image.rootfs.diff.tar', 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  GZIP])('%s may be compressed or not', async (mediaType) => {
  for (const blob of [bytes, gzipped]) {
    await expect(indexPlainLayer({ ...layerOf(blob, digestOf(bytes), { mediaType }),
      sink: new MemorySink() })).resolves.toMatchObject({ format: 'tar' })
          await expect(indexPlainLayer({ ...layerOf(blob, digestOf(bytes), { mediaType }),
            sink: new MemorySink() })).resolves.toMatchObject({ format: 'tar' })
  }
})

test('gzip of several members, and of empty ones, is one tar', async () => {
  const blob = Buffer.concat([gzipSync(bytes.subarray(0, 700)), gzipSync(''), gzipSync(bytes.subarray(700)), gzipSync('')])

  await expect(indexPlainLayer({ ...layerOf(blob, digestOf(bytes)),
    sink: new MemorySink() })).resolves.toMatchObject({ chunks: [{ size: 5 }, { size: 6 }] })
      await expect(indexPlainLayer({ ...layerOf(blob, digestOf(bytes)),
        sink: new MemorySink() })).resolves.toMatchObject({ chunks: [{ size: 5 }, { size: 6 }] })
})

describe('findTarChunks', () => {
  const data = [randomBytes(600_000), randomBytes(10), randomBytes(300_000)]
  const archive = tar(...data.map((data, i) => entry(`f${i}`, { data })))
  const blob = gzipSync(archive)
  const supply = async (wanted: number[], layer = layerOf(blob, digestOf(archive))): Promise<Array<[number, Uint8Array]>> => {
    const { index } = await indexTar(archive)
    const found: Array<[number, Uint8Array]> = []
    for await (const { chunk, bytes } of findTarChunks(layer, index, wanted)) found.push([chunk, bytes])
    return found
  }

  test('gives the wanted chunks in the order of the tar, each once', async () => {
    const found = await supply([5, 0, 3, 3])

    expect(found.map(([chunk]) => chunk)).toEqual([0, 3, 5])
    expect(Buffer.from(found[0]?.[1] ?? []).equals(data[0]?.subarray(0, CHUNK_BYTES_PLAIN) ?? blob)).toBe(true)
    expect(Buffer.from(found[1]?.[1] ?? []).equals(data[1] ?? blob)).toBe(true)
    expect(Buffer.from(found[2]?.[1] ?? []).equals(data[2]?.subarray(CHUNK_BYTES_PLAIN) ?? blob)).toBe(true)
  })

  test('reads no further than it must, and closes the source', async () => {
    let read = 0
    let closed = false
    async function * source (): AsyncGenerator<Uint8Array> {
      try {
        for await (const piece of pieces(blob, 50_000)) { read += piece.byteLength; yield piece }
      } finally { closed = true }
    }
    await supply([0], layerOf(blob, digestOf(archive), { stream: source() }))

    expect(closed).toBe(true)
    expect(read).toBeLessThan(blob.byteLength * 0.7)
  })

  test('refuses a chunk whose bytes changed, a stream that ends early and a chunk that does not exist', async () => {
    const other = Buffer.from(archive)
    other[1000] = (other[1000] ?? 0) ^ 1

    expect(await lineOf(supply([0], layerOf(gzipSync(other), digestOf(archive)))))
      .toMatch(/^DIGEST_MISMATCH: layer sha256:\w+: chunk 0: want/)
    expect(await lineOf(supply([5], layerOf(gzipSync(archive.subarray(0, 20_480)), digestOf(archive)))))
      .toMatch(/^LAYER_INVALID: .* tar ends before chunk 5/)
    expect(await lineOf(supply([6]))).toBe('INVALID_ARGUMENT: there is no chunk 6 among 6')
  })
})
