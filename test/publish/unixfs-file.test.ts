// The importer against Kubo's CIDs (unixfs-vectors.json) and against Helia's importer.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { unixfs } from '@helia/unixfs'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import type { CarFile } from '../../src/publish/car-writer.ts'
import { importFile } from '../../src/publish/unixfs-file.ts'
import { fastVectorStream, vectorStream } from './vector-stream.ts'

interface Vector { readonly size: number, readonly sha256: string, readonly 'unixfs-v1-2025': string }

const vectors = JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/unixfs-vectors.json'), 'utf8')) as Vector[]
const nowhere: Pick<CarFile, 'put'> = { put: async (_cid, bytes) => ({ offset: 0, length: bytes.byteLength }) }

test.each(vectors.filter(({ size }) => size < 1 << 30))('gives $size bytes the CID that Kubo gives', async (vector) => {
  const hash = createHash('sha256')
  const file = await importFile(nowhere, tapped(vectorStream(vector.size), hash))

  expect(hash.digest('hex')).toBe(vector.sha256)
  expect(file.cid.toString()).toBe(vector['unixfs-v1-2025'])
  expect(file.size).toBe(vector.size)
})

// Both in one pass over the content: the second file is the first and one byte. What memory it takes is memory.test.ts's.
test('gives 1 GiB and 1 GiB + 1 byte the CIDs that Kubo gives', async () => {
  const [exact, more] = vectors.filter(({ size }) => size >= 1 << 30) as [Vector, Vector]
  const first = new Feed()
  const second = new Feed()
  const files = Promise.all([importFile(nowhere, first.pieces()), importFile(nowhere, second.pieces())])
  let left = exact.size
  for await (const piece of fastVectorStream(more.size)) {
    await Promise.all([first.push(piece.subarray(0, left)), second.push(piece)])
    left -= Math.min(left, piece.byteLength)
  }
  await Promise.all([first.push(null), second.push(null)])

  expect((await files).map(({ cid }) => cid.toString())).toEqual([exact['unixfs-v1-2025'], more['unixfs-v1-2025']])
}, 300_000)

test('agrees with the importer of Helia on any size and any cut of the stream', async () => {
  const store = { put: async (cid: CID) => cid, has: async () => false }
  const helia = unixfs({ blockstore: store } as unknown as Parameters<typeof unixfs>[0])
  await fc.assert(fc.asyncProperty(fc.nat(4 << 20), fc.integer({ min: 1000, max: 3 << 20 }), async (size, cut) => {
    const bytes = Buffer.concat([...vectorStream(size)])
    const pieces = function * (): Generator<Buffer> { for (let at = 0; at < size; at += cut) yield bytes.subarray(at, at + cut) }
    const theirs = await helia.addByteStream(pieces(), { profile: 'unixfs-v1-2025' })
    const ours = await importFile(nowhere, asyncly(pieces()))
    expect(ours.cid.toString()).toBe(theirs.toString())
  }), { numRuns: 20 })
})

async function * asyncly<Item> (items: Iterable<Item>): AsyncGenerator<Item> {
  yield * items
}

async function * tapped (pieces: Iterable<Buffer>, hash: { update: (bytes: Buffer) => unknown }): AsyncGenerator<Buffer> {
  for (const piece of pieces) {
    hash.update(piece)
    yield piece
  }
}

/** A stream that its writer fills piece by piece and that holds one piece; null ends it. */
class Feed {
  #piece = Promise.withResolvers<Buffer | null>()
  #taken = Promise.withResolvers<null>()

  async push (piece: Buffer | null): Promise<void> {
    this.#piece.resolve(piece)
    await this.#taken.promise
    this.#taken = Promise.withResolvers()
  }

  async * pieces (): AsyncGenerator<Buffer> {
    for (;;) {
      const piece = await this.#piece.promise
      if (piece !== null) yield piece
      this.#piece = Promise.withResolvers()
      this.#taken.resolve(null)
      if (piece === null) return
    }
  }
}
