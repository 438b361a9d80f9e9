import { expect, test } from '@jest/globals'
import { SharedFlight } from '../../src/base/shared-flight.ts'

interface Work { readonly signal: AbortSignal, readonly resolve: (value: string) => void, readonly reject: (error: unknown) => void }

/** Work that ends when the test says so; each begin is one entry. */
function flights (): { readonly run: (signal?: AbortSignal) => Promise<string>, readonly begun: Work[] } {
  const shared = new SharedFlight<string>()
  const begun: Work[] = []
  const run = async (signal?: AbortSignal): Promise<string> => await shared.run('key', async (signal) => await new Promise((resolve, reject) => {
    begun.push({ signal, resolve, reject })
  }), signal)
  return { run, begun }
}

const turns = async (): Promise<void> => { await new Promise((resolve) => setImmediate(resolve)) }

test('all who want it now share the work and its outcome', async () => {
  const { run, begun } = flights()
  const both = [run(), run(new AbortController().signal)]
  begun[0]?.resolve('done')
  expect([await Promise.all(both), begun.length, begun[0]?.signal.aborted]).toEqual([['done', 'done'], 1, false])

  const failing = run()
  begun[1]?.reject(new Error('no'))
  await expect(failing).rejects.toThrow('no')
})

test('who leaves leaves alone, and the work goes on for the others', async () => {
  const { run, begun } = flights()
  const leaving = new AbortController()
  const [left, stayed] = [run(leaving.signal), run(new AbortController().signal)]
  leaving.abort(new Error('I leave'))

  await expect(left).rejects.toThrow('I leave')
  expect(begun[0]?.signal.aborted).toBe(false)
  begun[0]?.resolve('done')
  expect(await stayed).toBe('done')
})

test('the work stops when the last one leaves; who comes meanwhile begins anew after it stopped', async () => {
  const { run, begun } = flights()
  const leaving = new AbortController()
  const left = run(leaving.signal)
  leaving.abort(new Error('I leave'))
  await expect(left).rejects.toThrow('I leave')
  expect(begun[0]?.signal.aborted).toBe(true)

  const late = run()
  await turns()
  expect(begun).toHaveLength(1)
  begun[0]?.reject(begun[0].signal.reason)
  await turns()
  expect(begun).toHaveLength(2)
  begun[1]?.resolve('anew')
  expect(await late).toBe('anew')
})

test('who left before it began begins nothing', async () => {
  const { run, begun } = flights()
  await expect(run(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
  expect(begun).toEqual([])
})
