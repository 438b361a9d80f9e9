import { expect, test } from '@jest/globals'
import { growthOf } from '../../bench/growth/verdict.ts'

const points = (...pairs: Array<[number, number]>): Array<{ x: number, y: number }> => pairs.map(([x, y]) => ({ x, y }))

test('a line passes, with its slope', () => {
  expect(growthOf(points([1, 10], [10, 100], [100, 1000]), 0)).toMatchObject({ slope: 10, isLinear: true })
  expect(growthOf(points([1, 50], [10, 50], [100, 50]), 1).isLinear).toBe(true)
})

test('a square does not pass, and says what would have', () => {
  const squares = growthOf(points([5, 25], [20, 400], [60, 3600], [120, 14_400]), 100)
  expect(squares.isLinear).toBe(false)
  expect(squares.allowed).toBeLessThan(14_400)
})

test('what was flat and jumps at the end is no line, unless it is noise', () => {
  expect(growthOf(points([1, 10], [10, 10], [100, 60]), 20).isLinear).toBe(false)
  expect(growthOf(points([1, 10], [10, 8], [100, 27]), 20).isLinear).toBe(true)
})

test('two points are no growth', () => {
  expect(() => growthOf(points([1, 1], [2, 2]), 0)).toThrow('fewer than three')
})
