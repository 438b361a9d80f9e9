import { expect, test } from '@jest/globals'
import { PolicedReads } from '../../src/daemon/policy-reads.ts'

const EIO = 5

function policed () {
  const events: string[] = []
  const reads = new PolicedReads({
    plane: { supply: async () => {}, fail: (name, first, count) => { events.push(`fail ${name} ${first}+${count}`) } },
    onFailed: async (name) => { await Promise.resolve(); events.push(`policy ${name}`) },
    admit: async () => () => {},
    deadlineMs: null
  })
  return { events, reads }
}

test('a failed read is told to the policy before it fails', async () => {
  const { events, reads } = policed()
  await reads.answer('a', [{ first: 3, count: 2 }], async () => { reads.fail('a', 3, 2, EIO) })
  expect(events).toEqual(['policy a', 'fail a 3+2'])
})

test('what only the background wanted stops no container, also while others of its file are read', async () => {
  const { events, reads } = policed()
  await reads.answer('a', [{ first: 3, count: 2 }], async () => {
    reads.fail('a', 5, 1, EIO)
    reads.fail('a', 0, 3, EIO)
    reads.fail('b', 3, 2, EIO)
  })
  reads.fail('a', 3, 2, EIO)
  expect(events).toEqual(['fail a 5+1', 'fail a 0+3', 'fail b 3+2', 'fail a 3+2'])
})

test('two reads of the same chunks count until the second is answered', async () => {
  const { events, reads } = policed()
  const second = Promise.withResolvers<undefined>()
  const runs = [{ first: 1, count: 1 }]
  const waits = reads.answer('a', [...runs], async () => { await second.promise })
  await reads.answer('a', runs, async () => {})
  reads.fail('a', 1, 1, EIO)
  second.resolve(undefined)
  await waits
  expect(events).toEqual(['policy a', 'fail a 1+1'])
})
