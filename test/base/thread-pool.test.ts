import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { SnapshotterError } from '../../src/base/errors.ts'
import { ThreadPool } from '../../src/base/thread-pool.ts'
import type { TestTask } from './pool-tasks.ts'

interface Answer { readonly thread: number, readonly bytes: Uint8Array }

let pool: ThreadPool

beforeEach(() => {
  pool = new ThreadPool({ entry: new URL('./pool-tasks.ts', import.meta.url), threads: 1, limits: { maxOldGenerationSizeMb: 32 } })
})
afterEach(async () => { await pool.close() })

async function run (task: TestTask, signal?: AbortSignal): Promise<unknown> {
  return await pool.run({ message: task, transfer: [], what: 'test task' }, { signal })
}

const threadOf = async (): Promise<number> => (await run({ do: 'answer' }) as Answer).thread

/** A task that is under way until it is let go. */
async function lingering (signal?: AbortSignal): Promise<{ readonly result: Promise<unknown>, readonly letGo: () => void }> {
  const flag = new Int32Array(new SharedArrayBuffer(8))
  const result = run({ do: 'linger', flag }, signal)
  result.catch(() => {})
  await Atomics.waitAsync(flag, 0, 0, 20_000).value
  return { result, letGo: () => { Atomics.store(flag, 1, 1); Atomics.notify(flag, 1) } }
}

test('answers with what the task gave away, from the same thread each time', async () => {
  const first = await run({ do: 'answer' }) as Answer
  expect([...first.bytes]).toEqual([1, 2, 3])
  expect(await threadOf()).toBe(first.thread)
})

test('an error arrives with its code and message, and the thread lives on', async () => {
  const thread = await threadOf()
  await expect(run({ do: 'fail' })).rejects.toMatchObject({ code: 'TOC_INVALID', message: 'TOC x: "a" is bad', line: 'TOC_INVALID: TOC x: "a" is bad' })
  await expect(run({ do: 'throw' })).rejects.toMatchObject({ code: 'INTERNAL', message: 'a bug' })
  expect(await threadOf()).toBe(thread)
})

test('a thread that dies fails the one task that it was at and is replaced', async () => {
  const thread = await threadOf()
  await expect(run({ do: 'die' })).rejects.toMatchObject({ code: 'INTERNAL', message: 'test task: its thread died' })
  const second = await threadOf()
  expect(second).not.toBe(thread)
  await expect(run({ do: 'unanswerable' })).rejects.toMatchObject({ code: 'INTERNAL', message: expect.stringMatching(/^test task: its thread died/) })
  expect(await threadOf()).not.toBe(second)
})

test('a thread without memory left fails the one task that took it', async () => {
  await expect(run({ do: 'hoard' })).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: 'test task needs more memory than its thread may use' })
  expect(await threadOf()).toBeGreaterThan(0)
})

test('a message that cannot be sent costs no thread', async () => {
  const thread = await threadOf()
  await expect(pool.run({ message: () => 1, transfer: [], what: 'test task' })).rejects.toThrow('could not be cloned')
  expect(await threadOf()).toBe(thread)
})

test('an abort ends the waiting at once, of a task that runs and of one in the queue', async () => {
  const [running, queued] = [new AbortController(), new AbortController()]
  const first = await lingering(running.signal)
  const second = run({ do: 'answer' }, queued.signal)
  second.catch(() => {})
  const [why, whyQueued] = [new SnapshotterError('CANCELLED', 'gone'), new SnapshotterError('CANCELLED', 'gone too')]
  running.abort(why)
  queued.abort(whyQueued)
  await expect(first.result).rejects.toBe(why)
  await expect(second).rejects.toBe(whyQueued)
  first.letGo()
  expect(await threadOf()).toBeGreaterThan(0)
  await expect(run({ do: 'answer' }, AbortSignal.abort(why))).rejects.toBe(why)
})

test('an idle thread with a larger heap than allowed is ended, one at work first does its task', async () => {
  const thread = await threadOf()
  expect(await pool.shed(2 ** 40)).toBe(false)
  expect(await threadOf()).toBe(thread)
  expect(await pool.shed(1)).toBe(true)
  expect(await pool.shed(1)).toBe(false)
  expect(await threadOf()).not.toBe(thread)
  const { result, letGo } = await lingering()
  const shed = pool.shed(1)
  letGo()
  expect([await result, await shed]).toEqual(['lingered', true])
})

test('close ends what is under way and what waits', async () => {
  const first = await lingering()
  const second = run({ do: 'answer' })
  second.catch(() => {})
  await pool.close()
  await expect(first.result).rejects.toMatchObject({ code: 'CANCELLED', message: 'test task: its thread was ended' })
  await expect(second).rejects.toMatchObject({ code: 'CANCELLED' })
  await expect(run({ do: 'answer' })).rejects.toMatchObject({ code: 'CANCELLED' })
})
