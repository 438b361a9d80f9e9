import { expect, test } from '@jest/globals'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OpenedLayer } from '../../src/cache/layer-opener.ts'
import { LivingLayers } from '../../src/daemon/living-layers.ts'

async function counted () {
  const cacheFolder = await mkdtemp(join(tmpdir(), 'living-'))
  const read: string[] = []
  const layers = new LivingLayers({
    open: async () => { throw new Error('not asked') },
    reopen: async (key) => {
      read.push(key)
      await new Promise((resolve) => setTimeout(resolve, 5))
      return key === 'unknown' ? null : { key, cacheFolder } as unknown as OpenedLayer
    }
  })
  return { cacheFolder, layers, read }
}

test('a record is read once for all who hold its layer, also when they ask at once', async () => {
  const { cacheFolder, layers, read } = await counted()
  const held = await Promise.all(['a', 'b', 'a', 'a'].map(async (key) => await layers.reopen(key)))
  expect(await layers.reopen('a')).toBe(held[0])
  expect(held[2]).toBe(held[0])
  expect(read).toEqual(['a', 'b'])
  await rm(cacheFolder, { recursive: true })
})

test('a layer without a record, or whose folder is gone, is not handed out from memory', async () => {
  const { cacheFolder, layers, read } = await counted()
  const held = [await layers.reopen('unknown'), await layers.reopen('unknown'), await layers.reopen('a')]
  await rm(cacheFolder, { recursive: true })
  expect(await layers.reopen('a')).not.toBe(held[2])
  expect(read).toEqual(['unknown', 'unknown', 'a', 'a'])
})
