import { expect, test } from '@jest/globals'
import { withNamedGateway } from '../../src/library/sources.ts'

const CAR = { type: 'car', path: '/a.car' } as const
const OTHER = { type: 'gateway', url: 'https://other.example', timeoutMs: 1 } as const
const MINE = { type: 'gateway', url: 'https://gw.example/base', timeoutMs: 2, token: 'secret' } as const

test('the gateway of the reference comes after CAR files and before the others', () => {
  expect(withNamedGateway([OTHER, CAR], 'https://gw.example'))
    .toEqual([CAR, { type: 'gateway', url: 'https://gw.example', timeoutMs: 10_000 }, OTHER])
})

test('a configured gateway of that origin moves to the front with its token', () => {
  expect(withNamedGateway([OTHER, MINE], 'https://gw.example')).toEqual([MINE, OTHER])
})

test('without one the sources stay as they are, and there must be some', () => {
  expect(withNamedGateway([OTHER, CAR], null)).toEqual([OTHER, CAR])
  expect(() => withNamedGateway([], null)).toThrow('there is no source to fetch from')
})
