// What the threads answer is what this thread would have answered: indexes, tables, images and refusals.
import { afterAll, describe, expect, test } from '@jest/globals'
import { silentLog } from '../../src/base/log.ts'
import { buildErofs } from '../../src/erofs/build-erofs.ts'
import { LayerThreads } from '../../src/erofs/layer-threads.ts'
import { practiceToc } from '../../src/erofs/warm-up.ts'
import { encodeTable, finishTable } from '../../src/layer/chunk-table.ts'
import { layoutData } from '../../src/layer/data-layout.ts'
import { readToc, type Toc, tocDigestOf } from '../../src/layer/estargz.ts'
import { resolveImplied } from '../../src/layer/implied.ts'
import { encodeIndex } from '../../src/layer/index-codec.ts'
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import { layoutOf, PackedIndex, placedChunksOf, recordOf, wholeIndex } from '../../src/layer/packed-index.ts'
import { placeChunks } from '../../src/layer/placed-chunks.ts'
import { indexToc } from '../../src/layer/toc-index.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { verifyDigest } from '../../src/verify/verified-bytes.ts'
import { lineOf } from '../layer/errors.ts'
import { imageLayers, rangeReader } from '../layer/fixtures.ts'
import { layerFrom } from '../suites/layer-from-tree.ts'

const OPTIONS = { form: 'two-devices', uuid: Buffer.alloc(16, 7) } as const
const NONE = new Uint8Array(0)
const threads = new LayerThreads()
afterAll(async () => { await threads.close() })

function tocOf (json: Uint8Array, tocOffset: number): Toc {
  const tocDigest = digestOf(json)
  return { json: verifyDigest(tocDigest, json, 'TOC'), tocOffset, tocDigest }
}

async function fixtureTocs (): Promise<Toc[]> {
  return await Promise.all(imageLayers('estargz-64k.oci.tar').map(async (layer) => {
    const tocDigest = tocDigestOf(layer)
    if (tocDigest === null) throw new Error('no TOC')
    return await readToc(rangeReader(layer.blob), layer.blob.byteLength, tocDigest)
  }))
}

const here = ({ json, tocOffset, tocDigest }: Toc): LayerIndex => indexToc(json, tocOffset, tocDigest)
/** Bytes of any kind as hex. */
function plain (value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, function (this: Record<string, unknown>, key: string, shown: unknown) {
    const each = this[key]
    return each instanceof Uint8Array ? Buffer.from(each).toString('hex') : shown
  }))
}

describe('an index from a thread', () => {
  test('is that of this thread: tree, record, layout, chunks and tables', async () => {
    const practice = practiceToc()
    for (const toc of [...await fixtureTocs(), tocOf(practice.json, practice.tocOffset)]) {
      const want = here(toc)
      const layout = layoutData(want)
      const index = await threads.index(toc)
      if (!(index instanceof PackedIndex)) throw new Error('not packed')
      expect(plain(wholeIndex(index))).toEqual(plain(want))
      const { format, prefetchBytes, inodes, chunks: { length } } = index
      expect([format, prefetchBytes, inodes.length, length]).toEqual(['estargz', want.prefetchBytes, want.inodes.length, want.chunks.length])
      expect(Buffer.from(recordOf(index)).equals(encodeIndex(want))).toBe(true)
      expect(layoutOf(index)).toEqual(layout)
      const chunks = placeChunks(want, layout)
      expect(plain(placedChunksOf(index, layout).map(({ dataOffset, size, innerOffset, offset, length, fileOffset, position, digest }) =>
        ({ fileOffset, size, digest, offset, length, innerOffset, dataOffset, position })))).toEqual(plain(chunks))
      for (const prefix of [NONE, Buffer.alloc(8192, 5)]) {
        const layerDigest = Buffer.alloc(32, 9)
        const table = finishTable(index.buffers.table, layerDigest, prefix)
        expect(Buffer.compare(table, encodeTable({ layerDigest, dataSize: layout.size, chunks, prefix }))).toBe(0)
      }
    }
  })

  test('the bytes that were verified stay with their owner', async () => {
    const { json, tocOffset } = practiceToc()
    const toc = tocOf(json, tocOffset)
    await threads.index(toc)
    expect(digestOf(toc.json)).toBe(toc.tocDigest)
  })

  test('a TOC that lies is refused in the same words', async () => {
    const { json, tocOffset } = practiceToc()
    const text = Buffer.from(json).toString()
    const lies = [text.slice(0, -9), text.replace('"type":"dir"', '"type":"door"'),
      text.replace('"offset":512', '"offset":99999999999'), text.replace('"uid":2', '"uid":-2'),
      text.replace('"version":1', '"version":9'), text.replace(/"chunkOffset":65536/, '"chunkOffset":7'),
      text.replaceAll('"size":65536', '"size":5000000000000')]
    for (const lie of lies) {
      const toc = tocOf(Buffer.from(lie), tocOffset)
      const want = await lineOf((async () => here(toc))())
      expect(want).toMatch(/^(TOC_INVALID|LIMIT_EXCEEDED): TOC sha256:/)
      expect(await lineOf(threads.index(toc))).toBe(want)
    }
  })
})

describe('an image from a thread', () => {
  test('is that of this thread, of packed indexes and others', async () => {
    for (const toc of await fixtureTocs()) {
      const want = here(toc)
      const image = buildErofs(resolveImplied(want, []), layoutData(want), OPTIONS)
      for (const index of [want, await threads.index(toc)]) expect(Buffer.compare(await threads.image(index, [], OPTIONS), image)).toBe(0)
    }
  })

  test('takes the attributes of directories that its layer does not name from those below', async () => {
    const file = { kind: 'file', content: Buffer.from('x') } as const
    const lower = layerFrom({ kind: 'directory', entries: { d: { kind: 'directory', mode: 0o1777, uid: 5, entries: {} } } }).index
    const upper = layerFrom({ kind: 'directory', entries: { d: { kind: 'directory', implied: true, entries: { file } } } }).index
    const image = await threads.image(upper, [lower], OPTIONS)
    expect(Buffer.compare(image, buildErofs(resolveImplied(upper, [lower]), layoutData(upper), OPTIONS))).toBe(0)
    expect(Buffer.compare(image, buildErofs(resolveImplied(upper, []), layoutData(upper), OPTIONS))).not.toBe(0)
  })
})

test('a layer that needs more memory than a thread has fails alone', async () => {
  const small = new LayerThreads({ maxOldGenerationSizeMb: 12 })
  try {
    const { json } = practiceToc()
    const lines = Buffer.from(json).toString().split(',\n').slice(1, -1)
    const dirs = Array.from({ length: 60_000 }, (_, at) => `{"name":"d${at}/","type":"dir"}`)
    await expect(small.index(tocOf(Buffer.from(`{"version":1,"entries":[${dirs.join()}]}`), 512)))
      .rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: expect.stringMatching(/^TOC sha256:\w+ needs more memory/) })
    const few = tocOf(Buffer.from(`{"version":1,"entries":[${lines[0] ?? ''}]}`), 20_512)
    expect((await small.index(few)).inodes).toHaveLength(6)
  } finally {
    await small.close()
  }
})

test('warming makes real layers, and closing ends it without a word', async () => {
  const said: unknown[] = []
  const log = { ...silentLog, debug: (_: object, text: string) => { said.push(text) } }
  await threads.warm(log)
  expect(said).toEqual(['layer threads are warm'])
  const cold = new LayerThreads()
  const warming = cold.warm(log)
  await cold.close()
  await warming
  expect(said).toEqual(['layer threads are warm', 'layer threads are not warm'])
})
