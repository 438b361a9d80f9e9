// Which sources a pull uses, and that equal lists share one service with its connections and budgets.
import { afterEach, expect, test } from '@jest/globals'
import { silentLog } from '../../src/base/log.ts'
import { Sources } from '../../src/daemon/sources.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'

const ONE = { type: 'gateway' as const, url: 'http://127.0.0.1:1', timeoutMs: 1000 }
const TWO = { type: 'gateway' as const, url: 'http://127.0.0.1:2', timeoutMs: 1000 }
const sources = new Sources([ONE, TWO], silentLog)
const names = (service: BlockService): string[] => service.sources().map(({ name }) => name)

afterEach(async () => { await sources.close() })

test('without wishes the configured sources serve, in order', () => {
  expect(names(sources.for([], null))).toEqual(['127.0.0.1:1', '127.0.0.1:2'])
  expect(sources.for([], null)).toBe(sources.configured)
})

test('named gateways take the place of the configured ones, and equal lists share a service', () => {
  const named = sources.for(['http://127.0.0.1:3', 'http://127.0.0.1:4'], null)
  expect(names(named)).toEqual(['127.0.0.1:3', '127.0.0.1:4'])
  expect(sources.for(['http://127.0.0.1:3', 'http://127.0.0.1:4'], null)).toBe(named)
  expect(sources.all()).toContain(named)
})

test('the gateway of a reference goes first, once, with what is configured for it', () => {
  expect(names(sources.for([], 'http://127.0.0.1:9'))).toEqual(['127.0.0.1:9', '127.0.0.1:1', '127.0.0.1:2'])
  expect(names(sources.for([], 'http://127.0.0.1:2'))).toHaveLength(2)
})

test('a layer of an earlier run asks the gateways that its pull named, then the configured ones', () => {
  const service = sources.for(['http://127.0.0.1:3'], 'http://127.0.0.1:9')
  expect(sources.namedIn(service)).toEqual(['http://127.0.0.1:9', 'http://127.0.0.1:3'])
  expect(names(sources.again(sources.namedIn(service)))).toEqual(['127.0.0.1:9', '127.0.0.1:3', '127.0.0.1:1', '127.0.0.1:2'])
  expect(sources.namedIn(sources.configured)).toEqual([])
})

test('a CAR file is a source like another', () => {
  expect(names(new Sources([{ type: 'car', path: '/nowhere/image.car' }, ONE], silentLog).configured)).toEqual(['/nowhere/image.car', '127.0.0.1:1'])
})
