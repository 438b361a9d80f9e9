import { expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { CarIndexBuilder } from '../../src/ipfs/car-index.ts'

/** Digests that collide in their first 30 bits as often as not. */
const digest = fc.oneof(
  fc.uint8Array({ minLength: 32, maxLength: 32 }),
  fc.integer({ min: 0, max: 20 }).map((n) => Uint8Array.from({ length: 32 }, (_, at) => at < 4 ? 7 : at === 31 ? n : 0))
)
const place = fc.record({
  file: fc.integer({ min: 0, max: 1023 }), offset: fc.integer({ min: 0, max: 2 ** 48 - 1 }), length: fc.integer({ min: 0, max: 2 ** 21 })
})

test('finds every digest with all its places in the order they came, and no other digest', () => {
  fc.assert(fc.property(fc.array(fc.tuple(digest, place), { maxLength: 200 }), digest, (records, probe) => {
    const builder = new CarIndexBuilder()
    const truth = new Map<string, unknown[]>()
    for (const [key, where] of records) {
      builder.add(key, where)
      const name = Buffer.from(key).toString('hex')
      truth.set(name, [...truth.get(name) ?? [], where])
    }
    const index = builder.build()

    expect(index.blocks).toBe(truth.size)
    expect(index.sections).toBe(records.length)
    for (const [name, places] of truth) {
      const rank = index.find(Buffer.from(name, 'hex'))
      expect(rank === null ? null : index.places(rank, records.length)).toEqual(places)
    }
    expect(index.find(probe) !== null).toBe(truth.has(Buffer.from(probe).toString('hex')))
  }))
})

test('holds many pages of records', () => {
  const builder = new CarIndexBuilder()
  const keyOf = (number: number): Buffer => createHash('sha256').update(String(number)).digest()
  for (let number = 0; number < 30_000; number++) builder.add(keyOf(number), { file: 3, offset: number * 1000, length: number % 4096 })
  const index = builder.build()

  expect(index.blocks).toBe(30_000)
  for (let number = 0; number < 30_000; number += 7) {
    const rank = index.find(keyOf(number))
    expect(rank === null ? [] : index.places(rank, 4)).toEqual([{ file: 3, offset: number * 1000, length: number % 4096 }])
  }
  expect(index.find(keyOf(30_000))).toBeNull()
})

test('gives no more places than asked for', () => {
  const builder = new CarIndexBuilder()
  const key = new Uint8Array(32)
  for (let offset = 0; offset < 100; offset++) builder.add(key, { file: 0, offset, length: 1 })
  const index = builder.build()

  expect(index.places(index.find(key) ?? -1, 4).map(({ offset }) => offset)).toEqual([0, 1, 2, 3])
})
