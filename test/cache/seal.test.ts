import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Seal, writeDurably } from '../../src/cache/seal.ts'

let folder: string
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'seal-')) })
afterAll(async () => { await rm(folder, { recursive: true }) })

test('what was sealed opens, also after the key was read again', async () => {
  const path = join(folder, 'key')
  const sealed = (await Seal.at(path)).seal('record', 'a', Buffer.from('bytes'))

  expect(Buffer.from((await Seal.at(path)).open('record', 'a', sealed)).toString()).toBe('bytes')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})

test('one flipped bit anywhere, another kind, another name or another key does not open', async () => {
  const seal = await Seal.at(join(folder, 'key-1'))
  const other = await Seal.at(join(folder, 'key-2'))
  const sealed = seal.seal('record', 'a', Buffer.from('bytes'))

  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = Uint8Array.from(sealed)
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(() => seal.open('record', 'a', flipped)).toThrow('does not carry our seal')
  }
  expect(() => seal.open('record', 'b', sealed)).toThrow('record b on disk')
  expect(() => seal.open('snapshot', 'a', sealed)).toThrow('does not carry our seal')
  expect(() => other.open('record', 'a', sealed)).toThrow('does not carry our seal')
  expect(() => seal.open('record', 'a', sealed.subarray(0, 10))).toThrow('does not carry our seal')
})

test('a key file of a wrong size is refused, not used', async () => {
  const path = join(folder, 'short')
  await writeFile(path, 'short')

  await expect(Seal.at(path)).rejects.toThrow('holds 5 bytes, not a key of 32')
})

test('a durable write leaves nothing temporary', async () => {
  const inside = await mkdtemp(join(folder, 'durable-'))
  await writeDurably(join(inside, 'file'), Buffer.from('one'))
  await writeDurably(join(inside, 'file'), Buffer.from('two'))

  expect(await readdir(inside)).toEqual(['file'])
})

test('a write that fails leaves no file of its own', async () => {
  const inside = await mkdtemp(join(tmpdir(), 'durable-'))
  await mkdir(join(inside, 'taken', 'full'), { recursive: true })
  await expect(writeDurably(join(inside, 'taken'), Buffer.from('x'))).rejects.toThrow()
  expect(await readdir(inside)).toEqual(['taken'])
  await rm(inside, { recursive: true })
})
