import { expect, test } from '@jest/globals'
import { RECENT_ERROR_CHARACTERS_MAX, RECENT_ERRORS_MAX } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import { Recent } from '../../src/base/recent.ts'
import { RecentErrors } from '../../src/base/recent-errors.ts'

let now = 0
const started = (): { errors: RecentErrors, log: typeof silentLog } => {
  now = 0
  const errors = new RecentErrors(() => ++now)
  return { errors, log: errors.over(silentLog) }
}

test('warnings and errors of the log are kept with their exact line, the latest first, and nothing else is', () => {
  const { errors, log } = started()
  log.warn({ error: 'ROOT_NOT_FOUND: block x (one: 404)' }, 'pull failed')
  log.info({ error: 'not this' }, 'ready')
  log.error({ code: 'DIGEST_MISMATCH', reason: 'layer y', error: undefined }, 'container stopped by policy')
  log.error({ code: 'DATA_PLANE_DOWN', state: '/run' }, 'the guardian is gone')
  log.warn({ digest: 'z' }, 'content was removed')
  expect(errors.newestFirst.map(({ line }) => line)).toEqual([
    'content was removed', 'DATA_PLANE_DOWN: the guardian is gone', 'DIGEST_MISMATCH: layer y', 'ROOT_NOT_FOUND: block x (one: 404)'
  ])
  expect(errors.newestFirst.at(-1)).toEqual({
    firstAt: 1, at: 1, count: 1, level: 'warn', event: 'pull failed', line: 'ROOT_NOT_FOUND: block x (one: 404)', call: null
  })
})

test('one that comes again counts up and pushes nothing out; of others the oldest go', () => {
  const { errors, log } = started()
  log.warn({ error: 'A: first' }, 'read waits')
  for (let at = 0; at < 1000; at++) log.warn({ error: 'B: again' }, 'read waits')
  log.warn({ error: 'A: first' }, 'read waits')
  expect(errors.newestFirst).toMatchObject([{ line: 'A: first', count: 2, firstAt: 1, at: 1002 }, { line: 'B: again', count: 1000, firstAt: 2, at: 1001 }])
  for (let at = 0; at < RECENT_ERRORS_MAX - 1; at++) log.warn({ error: `C: ${at}` }, 'read waits')
  expect(errors.newestFirst.map(({ line }) => line).at(-1)).toBe('A: first')
  expect(errors.newestFirst).toHaveLength(RECENT_ERRORS_MAX)
})

test('a line of any length costs a bounded one', () => {
  const { errors, log } = started()
  log.warn({ error: 'x'.repeat(10 * RECENT_ERROR_CHARACTERS_MAX) }, 'pull failed')
  expect(errors.newestFirst[0]?.line).toHaveLength(RECENT_ERROR_CHARACTERS_MAX)
})

test('the latest are kept, and all are counted', () => {
  const recent = new Recent<number>(2)
  for (const one of [1, 2, 3]) recent.add(one)
  expect([recent.newestFirst, recent.total]).toEqual([[3, 2], 3])
})
