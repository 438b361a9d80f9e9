// Every way a program may read, on every driver: sizes and places of all kinds, mmap, splice, sendfile, O_DIRECT, 256 at
// once; and readers that are killed while they wait for a network that is gone.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { systemCode } from '../../src/base/errors.ts'
import { DataPlaneFixture, dataPlaneSkipReason, expected, type Range, until } from '../suites/data-plane-fixture.ts'
import { described, DRIVERS, DriverScene } from '../suites/driver-scene.ts'
import { layerFrom } from '../suites/layer-from-tree.ts'
import { readBy, readWaysProgram, WAYS } from '../suites/read-ways.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`reader tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const CONTENT = randomBytes(700_001)
const PLACES: ReadonlyArray<readonly [offset: number, length: number]> = [[0, CONTENT.byteLength], [65_535, 70_000], [4096, 8192], [699_990, 11]]
const hashOf = ([offset, length]: readonly [number, number]): string =>
  createHash('sha256').update(CONTENT.subarray(offset, offset + length)).digest('hex')

suite.each(DRIVERS)('readers of the driver %s', (driver) => {
  let scene: DriverScene
  let path: string

  beforeAll(async () => {
    await readWaysProgram()
    scene = await DriverScene.start()
    const layer = described(layerFrom({ kind: 'directory', entries: { file: { kind: 'file', content: CONTENT } } }))
    path = join(await scene.mount(driver, layer), 'file')
  })
  afterAll(async () => { await scene[Symbol.asyncDispose]() })

  const dropCaches = (): void => { writeFileSync('/proc/sys/vm/drop_caches', '1') }

  test.each(WAYS.filter((way) => way !== 'direct' && way !== 'unaligned'))('get the same bytes by %s', async (way) => {
    dropCaches()
    for (const place of PLACES) expect(await readBy(way, path, ...place)).toBe(hashOf(place))
  })

  test('get by O_DIRECT what docs/PROTOCOL.md says', async () => {
    dropCaches()
    const aligned = await readBy('direct', path, 4096, 131_072)
    const odd = await readBy('unaligned', path, 1, 10_000)
    process.stdout.write(`O_DIRECT on ${driver}: aligned ${aligned.length === 64 ? 'bytes' : aligned}, not aligned ${odd.length === 64 ? 'bytes' : odd}\n`)
    expect([hashOf([4096, 131_072]), 'EINVAL', 'EOPNOTSUPP']).toContain(aligned)
    expect([hashOf([1, 10_000]), 'EINVAL', 'EOPNOTSUPP']).toContain(odd)
  })
})

suite('the FUSE file itself', () => {
  let plane: DataPlaneFixture

  beforeAll(async () => { plane = await DataPlaneFixture.start() })
  afterAll(async () => { await plane[Symbol.asyncDispose]() })

  test('serves 256 readers at once, hits and misses, while a worker dies', async () => {
    const file = await plane.addFile('many', Array.from({ length: 256 }, (_, index) => 5000 + index * 101))
    const ranges: Range[] = Array.from({ length: 256 }, (_, index) => [file, file.chunks[(index * 37) % 256]?.dataOffset ?? 0, 4000])
    const readers = await Promise.all([ranges.slice(0, 128), ranges.slice(128)].map(async (half) => await plane.startReader(half)))
    await plane.killWorker()
    const outcomes = await Promise.all(readers.map(async (reader) => await reader.outcomes))
    expect(outcomes.flat()).toEqual(expected(ranges))
  })

  test.each([['with', true], ['without', false]])('lets go of a reader that is killed while its network is dead, %s RESEND', async (_, resend) => {
    await using own = await DataPlaneFixture.start(0, { resend })
    own.holding = true
    const file = await own.addFile('a', [60_000])
    const reader = await own.startReader([[file, 0, 4096]])
    await until(async () => await own.waitingReads() === 1)
    const start = performance.now()
    reader.child.kill('SIGKILL')
    await reader.outcomes
    process.stdout.write(`a killed reader of the FUSE file was gone after ${(performance.now() - start).toFixed(0)} ms\n`)
    await until(async () => await own.waitingReads() === 0)
  })

  test('answers every name and every write with the errno that fits, and nothing hangs', async () => {
    const at = (name: string): string => join(plane.state, 'data', name)
    const codeOf = async (work: Promise<unknown>): Promise<unknown> => await work.then(() => 'done', (error: unknown) => systemCode(error))
    for (const name of ['x', '.x', 'x'.repeat(255), '\u{1F600}\n']) expect(await codeOf(readFile(at(name)))).toBe('ENOENT')
    expect(await codeOf(readFile(at('x'.repeat(600))))).toMatch(/^(ENOENT|ENAMETOOLONG)$/)
    const writes = [writeFile(at('new'), ''), mkdir(at('new')), symlink('a', at('new')), chmod(at('.'), 0o7), rm(at('many')), rename(at('many'), at('x'))]
    for (const write of writes) expect(await codeOf(write)).toBe('EROFS')
    expect(await readdir(at('.'))).toEqual(['many'])
    expect(await codeOf(readFile(at('.')))).toBe('EISDIR')
    expect(await codeOf(readlink(at('many')))).toBe('EINVAL')
    expect((await plane.plane.status()).waitingReads).toBe(0)
  })
})

suite('a reader through a driver', () => {
  test.each(DRIVERS)('that is killed while the network of %s is dead is gone, and the mount goes too', async (driver) => {
    const scene = await DriverScene.start()
    scene.fixture.plane.onFetch(async () => await new Promise(() => {}))
    const layer = described(layerFrom({ kind: 'directory', entries: { file: { kind: 'file', content: CONTENT } } }))
    const merged = await scene.overlay([await scene.mount(driver, layer)])
    const child = spawn('cat', [join(merged, 'file')], { stdio: 'ignore' })
    await until(async () => await scene.fixture.waitingReads() > 0)
    await delay(20)
    const ended = new Promise((resolve) => child.once('close', resolve))
    const start = performance.now()
    child.kill('SIGKILL')
    await ended
    process.stdout.write(`a killed reader through overlay and ${driver} was gone after ${(performance.now() - start).toFixed(0)} ms\n`)
    await scene[Symbol.asyncDispose]()
  })
})
