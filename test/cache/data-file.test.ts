import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataFile } from '../../src/cache/data-file.ts'

let folder: string
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'data-')) })
afterAll(async () => { await rm(folder, { recursive: true }) })

const NO_INDEX = { format: 'tar', inodes: [], chunks: [], prefetchBytes: 0 } as const
const layout = (size: number): { fileOffsets: Float64Array, size: number } => ({ fileOffsets: new Float64Array(0), size })

test('writes and moves end at the places they name', async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ gap: fc.nat(5000), length: fc.integer({ min: 1, max: 9000 }) }), { minLength: 1, maxLength: 30 }),
    async (pieces) => {
      const inside = await mkdtemp(join(folder, 'run-'))
      const file = await DataFile.create(inside)
      let at = 0
      const places = pieces.map(({ gap, length }, ordinal) => { at += gap; const from = at; at += length; return { from, length, fill: ordinal % 250 + 1 } })
      const expected = Buffer.alloc(at)
      for (const { from, length, fill } of places) {
        expected.fill(fill, from, from + length)
        await file.write(from, Buffer.alloc(length, fill))
      }
      const last = places.at(-1)
      if (last !== undefined && last.from > 100) {
        await file.move(last.from, last.from - 100, last.length)
        expected.copy(expected, last.from - 100, last.from, last.from + last.length)
      }
      await file.finish(NO_INDEX, layout(at))

      expect((await readFile(join(inside, 'data'))).equals(expected)).toBe(true)
    }), { numRuns: 30 })
})

test('a write larger than the gather buffer keeps its order with small ones', async () => {
  const inside = await mkdtemp(join(folder, 'large-'))
  const file = await DataFile.create(inside)
  const large = Buffer.alloc(3 * 1024 * 1024, 7)
  await file.write(0, Buffer.from('a'))
  await file.write(1, large)
  await file.write(1 + large.length, Buffer.from('z'))
  await file.finish(NO_INDEX, layout(large.length + 2))

  expect((await readFile(join(inside, 'data'))).equals(Buffer.concat([Buffer.from('a'), large, Buffer.from('z')]))).toBe(true)
})

test('a data file that exists is never overwritten', async () => {
  const inside = await mkdtemp(join(folder, 'twice-'))
  await (await DataFile.create(inside)).close()

  await expect(DataFile.create(inside)).rejects.toMatchObject({ code: 'EEXIST' })
})
