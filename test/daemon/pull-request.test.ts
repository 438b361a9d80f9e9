// What the daemon takes for a request to pull.
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { SnapshotterError } from '../../src/base/errors.ts'
import { asPullRequest } from '../../src/daemon/pull-request.ts'

const good = { reference: 'ipfs://bafkqaaa', namespace: 'default', name: null, snapshotter: 'ipfs', gateways: ['http://127.0.0.1'], platform: 'linux/amd64' }

test('takes what the command line sends', () => {
  expect(asPullRequest(good)).toEqual(good)
})

test.each(Object.keys(good))('names %s when it is missing or of another type', (key) => {
  for (const value of [undefined, 7, {}, [1]]) {
    expect(() => asPullRequest({ ...good, [key]: value })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(key) }))
  }
})

test('any JSON is a request or an error of ours', () => {
  fc.assert(fc.property(fc.jsonValue(), (body) => {
    try {
      asPullRequest(body)
    } catch (error) {
      expect(error).toBeInstanceOf(SnapshotterError)
    }
  }))
})
