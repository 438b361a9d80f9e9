// The benchmark's arithmetic: medians, quartiles, repeatable orders.
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { quantile, seededRandom, shuffled, spread } from '../../bench/statistics.ts'

describe('quantile', () => {
  test('takes the middle of an odd number and the mean of the two middles of an even one', () => {
    expect(quantile([9, 1, 5], 0.5)).toBe(5)
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5)
  })

  test('interpolates between neighbours', () => {
    expect(spread([10, 20, 30, 40])).toEqual({ median: 25, p25: 17.5, p75: 32.5, runs: 4 })
  })

  test('refuses no values', () => {
    expect(() => quantile([], 0.5)).toThrow(RangeError)
  })

  test('lies between the least and the most and does not depend on order', () => {
    fc.assert(fc.property(fc.array(fc.integer(), { minLength: 1 }), fc.double({ min: 0, max: 1, noNaN: true }), (values, share) => {
      const found = quantile(values, share)
      expect(found).toBeGreaterThanOrEqual(Math.min(...values))
      expect(found).toBeLessThanOrEqual(Math.max(...values))
      expect(quantile([...values].reverse(), share)).toBe(found)
    }))
  })
})

describe('shuffled', () => {
  const items = Array.from({ length: 40 }, (_, at) => at)

  test('keeps all items, and gives the same order for the same seed only', () => {
    const order = shuffled(items, seededRandom(7))

    expect([...order].sort((a, b) => a - b)).toEqual(items)
    expect(shuffled(items, seededRandom(7))).toEqual(order)
    expect(shuffled(items, seededRandom(8))).not.toEqual(order)
    expect(order).not.toEqual(items)
  })

  test('puts every item first about as often as any other', () => {
    const random = seededRandom(1)
    const first = new Map<number, number>()
    for (let round = 0; round < 4000; round++) {
      const item = shuffled([0, 1, 2, 3], random)[0] ?? -1
      first.set(item, (first.get(item) ?? 0) + 1)
    }

    expect([...first.keys()].sort()).toEqual([0, 1, 2, 3])
    for (const count of first.values()) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })
})
