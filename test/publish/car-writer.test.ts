import { createReadStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { CarBlockIterator, CarReader } from '@ipld/car'
import fc from 'fast-check'
import { createCar } from '../../src/publish/car-writer.ts'
import { rawCid } from '../../src/publish/dag-pb.ts'
import { inFolder, namesIn } from './published.ts'

test('is read back by @ipld/car, each block once, in the order of writing, with the roots that came last', async () => inFolder(async (folder) => {
  const block = fc.uint8Array({ maxLength: 400 })
  await fc.assert(fc.asyncProperty(fc.array(block, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 2 }), async (blocks, rootCount) => {
    const path = join(folder, 'x.car')
    const car = await createCar(path, rootCount)
    for (const bytes of [...blocks, ...blocks]) await car.put(rawCid(bytes), bytes)
    const roots = blocks.slice(0, 1).concat(blocks.slice(-1)).slice(0, rootCount).map(rawCid)
    await car.finish(roots)
    await car.discard()

    const iterator = await CarBlockIterator.fromIterable(createReadStream(path))
    expect((await iterator.getRoots()).map(String)).toEqual(roots.map(String))
    const got: string[] = []
    for await (const { cid, bytes } of iterator) got.push(`${cid.toString()} ${Buffer.from(bytes).toString('hex')}`)
    expect(got).toEqual([...new Set(blocks.map((bytes) => `${rawCid(bytes).toString()} ${Buffer.from(bytes).toString('hex')}`))])
    expect(car.bytes()).toBe((await readFile(path)).byteLength)
  }), { numRuns: 30 })
}))

test('holds large blocks whose length needs several bytes', async () => inFolder(async (folder) => {
  const bytes = Buffer.alloc(2 ** 20, 7)
  const car = await createCar(join(folder, 'x.car'), 1)
  await car.put(rawCid(bytes), bytes)
  await car.finish([rawCid(bytes)])

  const reader = await CarReader.fromBytes(await readFile(join(folder, 'x.car')))
  expect(Buffer.from((await reader.get(rawCid(bytes)))?.bytes ?? []).equals(bytes)).toBe(true)
}))

test('shows nothing under its name before it is finished, and nothing at all when it is discarded', async () => inFolder(async (folder) => {
  const car = await createCar(join(folder, 'x.car'), 1)
  await car.put(rawCid(Buffer.from('a')), Buffer.from('a'))
  expect(await namesIn(folder)).toEqual([expect.stringMatching(/^\.x\.car\..*\.tmp$/)])

  await car.discard()
  expect(await namesIn(folder)).toEqual([])
}))

test('refuses to finish with another number of roots than it has room for', async () => inFolder(async (folder) => {
  const car = await createCar(join(folder, 'x.car'), 1)
  const cid = rawCid(Buffer.from('a'))
  await expect(car.finish([cid, cid])).rejects.toThrow('same length')
  await car.discard()
  expect(await namesIn(folder)).toEqual([])
}))

test('notices when the disk gives other bytes back', async () => inFolder(async (folder) => {
  const car = await createCar(join(folder, 'x.car'), 1)
  const cid = rawCid(Buffer.from('aaaa'))
  const place = await car.put(cid, Buffer.from('aaaa'))
  const [temporary = ''] = await namesIn(folder)
  const bytes = await readFile(join(folder, temporary))
  bytes.write('b', place.offset, 'latin1')
  await writeFile(join(folder, temporary), bytes)

  await expect(car.read(cid, place)).rejects.toMatchObject({ code: 'BLOCK_HASH_MISMATCH' })
  await car.discard()
}))
