import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { inOrder } from '../../src/publish/in-order.ts'

test('answers in the order of the items, never beyond its bounds', async () => {
  const anySizes = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 20 })
  await fc.assert(fc.asyncProperty(fc.scheduler(), anySizes, fc.integer({ min: 1, max: 4 }), async (scheduler, sizes, itemsMax) => {
    let running = 0
    let bytes = 0
    const work = async (item: { at: number, size: number }): Promise<number> => {
      running++
      bytes += item.size
      expect(running).toBeLessThanOrEqual(itemsMax)
      expect(running === 1 || bytes <= 20).toBe(true)
      await scheduler.schedule(Promise.resolve())
      running--
      bytes -= item.size
      return item.at
    }
    const results: number[] = []
    const all = (async () => {
      const items = asyncly(sizes.map((size, at) => ({ at, size })))
      for await (const result of inOrder(items, work, { itemsMax, bytesMax: 20, bytesOf: ({ size }) => size })) results.push(result)
    })()
    await scheduler.waitFor(all)
    expect(results).toEqual(sizes.map((_, at) => at))
  }))
})

test('the first failure ends it, after what runs has settled', async () => {
  let settled = 0
  const work = async (at: number): Promise<number> => {
    if (at === 1) throw new Error('one')
    await new Promise((resolve) => setImmediate(resolve))
    settled++
    return at
  }
  const run = async (): Promise<void> => {
    for await (const result of inOrder(asyncly([0, 1, 2, 3, 4]), work, { itemsMax: 3, bytesMax: 100, bytesOf: () => 1 })) expect(result).toBe(0)
  }
  await expect(run()).rejects.toThrow('one')
  expect(settled).toBeGreaterThanOrEqual(2)
})

async function * asyncly<Item> (items: readonly Item[]): AsyncGenerator<Item> {
  yield * items
}
