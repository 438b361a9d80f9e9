import { expect, test } from '@jest/globals'
import { Semaphore } from '../../src/base/semaphore.ts'
import { SingleFlight } from '../../src/base/single-flight.ts'

test('callers of one key share one flight, and the next caller starts a new one', async () => {
  const flights = new SingleFlight<number>()
  let runs = 0
  const work = async (): Promise<number> => ++runs

  expect(await Promise.all([flights.run('a', work), flights.run('a', work), flights.run('b', work)])).toEqual([1, 1, 2])
  expect(await flights.run('a', work)).toBe(3)
  expect(flights.size).toBe(0)
})

test('a failed flight is shared and forgotten', async () => {
  const flights = new SingleFlight<number>()
  const fail = async (): Promise<number> => await Promise.reject(new Error('x'))

  const outcomes = await Promise.allSettled([flights.run('a', fail), flights.run('a', fail)])

  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(await flights.run('a', async () => 1)).toBe(1)
})

test('foreground work overtakes background work that waits', async () => {
  const semaphore = new Semaphore(1)
  const order: string[] = []
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })

  const all = [
    semaphore.run(async () => { await gate }),
    semaphore.run(async () => { order.push('background') }, { priority: 'background' }),
    semaphore.run(async () => { order.push('foreground') })
  ]
  open()
  await Promise.all(all)

  expect(order).toEqual(['foreground', 'background'])
})

test('work for several things takes turns, in order for each, and who gives up loses only its own turn', async () => {
  const semaphore = new Semaphore(1)
  const order: string[] = []
  const abort = new AbortController()
  const { promise: gate, resolve: open } = Promise.withResolvers<undefined>()
  const queue = async (of: string, name: string, signal?: AbortSignal): Promise<void> => {
    await semaphore.run(async () => { order.push(name) }, { of, signal })
  }

  const all = [
    semaphore.run(async () => { await gate }, { of: 'a' }),
    ...['a1', 'a2', 'a3', 'a4'].map(async (name) => { await queue('a', name) }),
    queue('b', 'b1', abort.signal).catch(() => {}), queue('b', 'b2'), queue('c', 'c1')
  ]
  abort.abort(new Error('enough'))
  open(undefined)
  await Promise.all(all)

  expect(order).toEqual(['a1', 'b2', 'c1', 'a2', 'a3', 'a4'])
})

test('an abort while waiting takes no slot', async () => {
  const semaphore = new Semaphore(1)
  const abort = new AbortController()
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  const first = semaphore.run(async () => { await gate })
  const second = semaphore.run(async () => 'ran', { signal: abort.signal })

  abort.abort(new Error('enough'))
  await expect(second).rejects.toThrow('enough')
  open()
  await first

  expect(await semaphore.run(async () => 'free')).toBe('free')
})
