// Whether the soak tells growth from breathing.
import { expect, test } from '@jest/globals'
import { growth, type Sample, slopePerHour } from '../../bench/soak/slope.ts'

const series = (value: (at: number) => number): Sample[] => Array.from({ length: 180 }, (_, atSeconds) => ({ atSeconds, value: value(atSeconds) }))

test('a leak of one a second is 3600 an hour, and 60 between the thirds of three minutes', () => {
  expect(slopePerHour(series((at) => 500 + at))).toBeCloseTo(3600)
  expect(growth(series((at) => 500 + at))).toBeCloseTo(60)
})

test('what fills in the first third and then stays is flat', () => {
  expect(growth(series((at) => Math.min(at, 60)))).toBe(0)
})

test('a saw tooth and single peaks are flat', () => {
  expect(Math.abs(growth(series((at) => 100 + at % 7)))).toBeLessThan(2)
  expect(slopePerHour(series((at) => at === 170 ? 1e6 : 100))).toBe(0)
})

test('too few samples say nothing', () => {
  expect([growth([]), slopePerHour([]), slopePerHour(series(() => 1).slice(0, 1))]).toEqual([0, 0, 0])
})
