// Chunks that several layers have are stored once: read through the layer that holds them, checked in that read, handed over
// when their holder goes, and found again by a new worker without Node.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { closeSync, cpSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { evictChunks, usedChunks } from '../../src/mount/cache-control.ts'
import { DataPlaneFixture, dataPlaneSkipReason, expected, makeChunks, type Range, type TestChunk, type TestFile, until } from '../suites/data-plane-fixture.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`shared chunk tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const COMMON = Array.from({ length: 24 }, (_, index) => 5_000 + index * 9_001)
const OWN = [30_000, 4_096, 140_000]
const whole = (file: TestFile): Range[] => [[file, 0, file.content.byteLength]]
const stored = (...files: readonly TestFile[]): number => files.reduce((sum, { cache }) => sum + statSync(join(cache, 'data')).blocks * 512, 0)
const blocksOf = (chunks: readonly TestChunk[]): number => chunks.reduce((sum, { size }) => sum + Math.ceil(size / 4096) * 4096, 0)
const hexOf = ({ digest }: TestChunk): string => Buffer.from(digest).toString('hex')

suite('chunks of two layers', () => {
  let plane: DataPlaneFixture
  let first: TestFile
  let second: TestFile
  /** Of each digest one. */
  let union: readonly TestChunk[]

  beforeEach(async () => {
    plane = await DataPlaneFixture.start()
    const common = makeChunks(COMMON)
    first = await plane.addFile('first', [], { chunks: placed([...common, ...makeChunks(OWN)]) })
    second = await plane.addFile('second', [], { chunks: placed([...makeChunks(OWN), ...common.toReversed()]) })
    union = [...new Map([...first.chunks, ...second.chunks].map((chunk) => [hexOf(chunk), chunk])).values()]
  })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  const readBoth = async (): Promise<void> => {
    for (const file of [first, second]) expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    await until(() => plane.plane.unacknowledgedBytes === 0)
  }
  const askedBytes = (): number => plane.asked.reduce((sum, { name, first: at, count }) =>
    sum + (plane.files.get(name)?.chunks.slice(at, at + count) ?? []).reduce((bytes, { size }) => bytes + size, 0), 0)

  test('are fetched once and stored once', async () => {
    await readBoth()

    expect(askedBytes()).toBe(union.reduce((sum, { size }) => sum + size, 0))
    expect(stored(first, second)).toBe(blocksOf(union))
    const { files, violations } = await plane.plane.status()
    expect(files.map(({ chunks, cachedChunks, sharedBytes }) => [cachedChunks / chunks, sharedBytes]))
      .toEqual([[1, 0], [1, COMMON.reduce((sum, size) => sum + size, 0)]])
    expect(violations).toBe(0)
    await plane.plane.need('second', 0, second.chunks.length)
    process.stdout.write(`two layers of ${blocksOf(first.chunks)} and ${blocksOf(second.chunks)} bytes: ${stored(first, second)} on the disk\n`)
  })

  test('are stored once also when they come unasked, and at the same time', async () => {
    plane.holding = true
    const readers = await Promise.all([first, second].map(async (file) => await plane.startReader(whole(file))))
    await until(async () => await plane.waitingReads() > 1)
    await Promise.all([first, second].map(async (file) => { await plane.supply(file, 0, file.chunks.length) }))
    await until(() => plane.plane.unacknowledgedBytes === 0)

    for (const [at, file] of [first, second].entries()) expect(await readers[at]?.outcomes).toEqual(expected(whole(file)))
    expect(stored(first, second)).toBe(blocksOf(union))
  })

  test('outlive the layer that holds them: the other is complete without the network', async () => {
    await readBoth()
    plane.holding = true
    const asked = plane.asked.length
    await plane.plane.removeFile('first')

    expect(await plane.plane.list()).toEqual(['second'])
    expect(await plane.read(whole(second))).toEqual(expected(whole(second)))
    expect(stored(second)).toBe(blocksOf(second.chunks))
    expect(stored(first)).toBe(blocksOf(first.chunks.slice(COMMON.length)))
    await plane.killWorker()
    expect(await plane.read(whole(second))).toEqual(expected(whole(second)))
    expect(plane.asked.length).toBe(asked)
  })

  test('outlive it also when the worker is killed, and Node replaced, while they are handed over', async () => {
    await readBoth()
    plane.holding = true
    const asked = plane.asked.length
    const removed = plane.plane.removeFile('first')
    await plane.killWorker()
    await removed
    await plane.reconnect()

    expect(await plane.plane.list()).toEqual(['second'])
    expect(await plane.read(whole(second))).toEqual(expected(whole(second)))
    expect(stored(second)).toBe(blocksOf(second.chunks))
    expect(plane.asked.length).toBe(asked)
  })

  test('are found again by a new worker while nobody is there to ask', async () => {
    await readBoth()
    const asked = plane.asked.length
    const pid = plane.plane.worker?.pid ?? 0
    await plane.plane.close()
    process.kill(pid, 'SIGKILL')

    expect(await plane.read(whole(second))).toEqual(expected(whole(second)))
    await plane.reconnect()
    expect((await plane.plane.status()).files.every(({ chunks, cachedChunks }) => chunks === cachedChunks)).toBe(true)
    expect(plane.asked.length).toBe(asked)
  })

  test('that lie on the disk of one are noticed by readers of the other, fetched again and right for both', async () => {
    await readBoth()
    const before = plane.asked.length
    await plane.killSettledWorker() // no leaf of them is in memory any more
    const flipped = [3, 11]
    for (const chunk of flipped) flip(join(first.cache, 'data'), (first.chunks[chunk]?.dataOffset ?? 0) + 4_000)

    expect(await plane.read(whole(second))).toEqual(expected(whole(second)))
    const again = plane.asked.slice(before)
    expect(again.map(({ name }) => name)).toEqual(flipped.map(() => 'second'))
    expect(again.map(({ first: at }) => hexOf(second.chunks[at] as TestChunk)).sort()).toEqual(flipped.map((at) => hexOf(first.chunks[at] as TestChunk)).sort())
    expect((await plane.plane.status()).violations).toBe(flipped.length)
    await until(() => plane.plane.unacknowledgedBytes === 0)
    expect(await plane.read(whole(first))).toEqual(expected(whole(first)))
    expect(plane.asked.length).toBe(before + flipped.length)
    expect(stored(first, second)).toBe(blocksOf(union))
  })

  test('that were evicted are missing for both, and used is what either read', async () => {
    await readBoth()
    await usedChunks(plane.plane, 'first')
    const last = second.chunks.length - 1 // the first chunk of the first layer
    expect(await plane.read([[second, second.chunks[last]?.dataOffset ?? 0, 100]])).toHaveLength(1)
    expect([...await usedChunks(plane.plane, 'first')]).toEqual([1, 0, 0, 0])
    const before = stored(first, second)
    await evictChunks(plane.plane, 'first', [{ first: 0, count: 2 }])
    const freed = blocksOf(first.chunks.slice(0, 2))

    expect(stored(first, second)).toBe(before - freed)
    expect(await plane.read(whole(second))).toEqual(expected(whole(second)))
    await until(() => plane.plane.unacknowledgedBytes === 0)
    expect(await plane.read(whole(first))).toEqual(expected(whole(first)))
    expect(stored(first, second)).toBe(before)
  })

  test('of a layer that was filled alone are given up when it is served beside the other', async () => {
    await readBoth()
    await plane.plane.removeFile('second')
    const alone = join(plane.state, 'cache', 'alone')
    cpSync(first.cache, alone, { recursive: true })
    const third = await plane.addFile('third', [], { chunks: first.chunks.toSpliced(0, 1, ...makeChunks([first.chunks[0]?.size ?? 0])), cache: alone })

    await until(() => stored(third) === blocksOf(first.chunks.slice(0, 1)))
    const asked = plane.asked.length
    expect(await plane.read(whole(third))).toEqual(expected(whole(third))) // its first chunk does not match what was copied
    expect(plane.asked.slice(asked)).toEqual([{ name: 'third', first: 0, count: 1, background: false }])
  })
})

/** The same chunks one after the other. */
function placed (chunks: readonly TestChunk[]): TestChunk[] {
  let at = 0
  return chunks.map((chunk) => {
    const dataOffset = at
    at += Math.ceil(chunk.size / 4096) * 4096
    return { ...chunk, dataOffset, offset: dataOffset }
  })
}

function flip (path: string, offset: number): void {
  const file = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, offset)
  byte.writeUInt8(byte.readUInt8(0) ^ 4)
  writeSync(file, byte, 0, 1, offset)
  closeSync(file)
}
