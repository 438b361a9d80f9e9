// The data plane and a disk, a publisher and a network that lie, fail or stay silent: right bytes or an errno, in time.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { DataPlaneFixture, dataPlaneSkipReason, expected, makeChunks, type Range, type TestFile, until } from '../suites/data-plane-fixture.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`data plane fault tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const whole = (file: TestFile): Range[] => [[file, 0, file.content.byteLength]]

function patch (path: string, offset: number, change: (bytes: Buffer) => void, length = 1): void {
  const file = openSync(path, 'r+')
  const bytes = Buffer.alloc(length)
  readSync(file, bytes, 0, length, offset)
  change(bytes)
  writeSync(file, bytes, 0, length, offset)
  closeSync(file)
}

const flip = (bytes: Buffer): void => { bytes[0] = (bytes[0] ?? 0) ^ 1 }

suite('a disk that lies', () => {
  let plane: DataPlaneFixture

  beforeEach(async () => { plane = await DataPlaneFixture.start() })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  test.each([
    ['in a chunk of one leaf', 0, 0], ['in the first leaf of a large chunk', 1, 0], ['in the last leaf of a large chunk', 1, 299_999]
  ])('a flipped bit %s is never served: the chunk is fetched again', async (_, chunk, inside) => {
    const file = await plane.addFile('a', [30_000, 300_000])
    await plane.read(whole(file))
    plane.asked.length = 0
    patch(join(file.cache, 'data'), (file.chunks[chunk]?.dataOffset ?? 0) + inside, flip)

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked).toEqual([{ name: 'a', first: chunk, count: 1, background: false }])
    expect((await plane.plane.status()).violations).toBe(1)
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked.length).toBe(1)
  })

  test('a flipped bit is found by a worker that never saw the chunk before', async () => {
    const file = await plane.addFile('a', [30_000, 300_000])
    await plane.read(whole(file))
    await plane.killSettledWorker()
    plane.asked.length = 0
    patch(join(file.cache, 'data'), (file.chunks[1]?.dataOffset ?? 0) + 150_000, flip)
    const ranges: Range[] = [[file, file.chunks[1]?.dataOffset ?? 0, 4096]]

    expect(await plane.read(ranges)).toEqual(expected(ranges))
    expect(plane.asked.map(({ first }) => first)).toEqual([1])
  })

  test('leaves not touched by a read may be damaged: the touched ones are served', async () => {
    const file = await plane.addFile('a', [300_000])
    await plane.read(whole(file))
    plane.asked.length = 0
    patch(join(file.cache, 'data'), 299_000, flip)
    const ranges: Range[] = [[file, 0, 65_536]]

    expect(await plane.read(ranges)).toEqual(expected(ranges))
    expect(plane.asked).toEqual([])
  })

  test('two chunks of one size swapped, on disk and with a fresh worker, are both fetched again', async () => {
    const file = await plane.addFile('a', [50_000, 50_000])
    await plane.read(whole(file))
    await plane.killSettledWorker()
    plane.asked.length = 0
    const data = join(file.cache, 'data')
    const bytes = readFileSync(data)
    const [one, two] = file.chunks.map(({ dataOffset }) => Buffer.from(bytes.subarray(dataOffset, dataOffset + 50_000)))
    if (one === undefined || two === undefined) throw new Error('unreachable')
    patch(data, file.chunks[0]?.dataOffset ?? 0, (part) => { part.set(two) }, 50_000)
    patch(data, file.chunks[1]?.dataOffset ?? 0, (part) => { part.set(one) }, 50_000)

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked).toEqual([{ name: 'a', first: 0, count: 2, background: false }])
  })

  test('a truncated, emptied or removed cache file is a miss, also under a running worker', async () => {
    const file = await plane.addFile('a', [50_000, 200_000])
    await plane.read(whole(file))
    truncateSync(join(file.cache, 'data'), 60_000)
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    truncateSync(join(file.cache, 'data'), 0)
    truncateSync(join(file.cache, 'present'), 0)
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    rmSync(file.cache, { recursive: true })
    await plane.killSettledWorker()
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
  })

  test('a present file that claims everything is believed in nothing', async () => {
    const cache = join(plane.state, 'cache', 'a')
    mkdirSync(cache, { recursive: true })
    writeFileSync(join(cache, 'present'), Buffer.alloc(4, 1))
    writeFileSync(join(cache, 'data'), randomBytes(400_000))
    const file = await plane.addFile('a', [50_000, 60_000, 70_000, 80_000], { cache })

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked).toEqual([{ name: 'a', first: 0, count: 4, background: false }])
  })

  test('bytes that another program put there rightly are used after the check', async () => {
    const chunks = makeChunks([50_000, 300_000])
    const cache = join(plane.state, 'cache', 'a')
    mkdirSync(cache, { recursive: true })
    writeFileSync(join(cache, 'present'), Buffer.alloc(2, 1))
    writeFileSync(join(cache, 'data'), '')
    for (const { dataOffset, bytes } of chunks) patch(join(cache, 'data'), dataOffset, (part) => { part.set(bytes) }, bytes.byteLength)
    const file = await plane.addFile('a', [], { cache, chunks })

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked).toEqual([])
    expect((await plane.plane.status()).violations).toBe(0)
  })

  test('an evicted chunk is fetched again and is no violation', async () => {
    const file = await plane.addFile('a', [50_000])
    await plane.read(whole(file))
    plane.asked.length = 0
    writeFileSync(join(file.cache, 'present'), Buffer.alloc(1))
    truncateSync(join(file.cache, 'data'), 0)

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked.length).toBe(1)
    expect((await plane.plane.status()).violations).toBe(0)
  })

  test.each(['full', 'read-only'])('reads go on from memory when the disk is %s', async (kind) => {
    const disk = join(plane.state, 'disk')
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk])
    if (kind === 'read-only') execFileSync('mount', ['-o', 'remount,ro', disk])
    const file = await plane.addFile('a', [100_000, 300_000, 1000], { cache: join(disk, 'a') })

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(await plane.read([[file, 0, 5000]])).toEqual(expected([[file, 0, 5000]]))
    expect((await plane.plane.status()).violations).toBe(0)
  })
})

suite('a source that lies or stays silent', () => {
  let plane: DataPlaneFixture

  beforeEach(async () => { plane = await DataPlaneFixture.start(); plane.holding = true })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  const bad = (bytes: Buffer): Buffer => { const copy = Buffer.from(bytes); flip(copy); return copy }

  test.each([
    ['raw bytes with one flipped bit', 'raw', (bytes: Buffer) => bad(bytes)],
    ['raw bytes one too short', 'raw', (bytes: Buffer) => bytes.subarray(1)],
    ['raw bytes one too long', 'raw', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(1)])],
    ['a member of other bytes', 'gzip', (bytes: Buffer) => gzipSync(bad(bytes))],
    ['a member cut in half', 'gzip', (bytes: Buffer) => gzipSync(bytes).subarray(0, 30_000)],
    ['a member with a damaged middle', 'gzip', (bytes: Buffer) => { const all = gzipSync(bytes); all[20_000] = (all[20_000] ?? 0) ^ 255; return all }],
    ['a member of fewer bytes', 'gzip', (bytes: Buffer) => gzipSync(bytes.subarray(0, 1000))],
    ['something that is no gzip', 'gzip', () => randomBytes(60_000)],
    ['nothing', 'gzip', () => Buffer.alloc(0)]
  ] as const)('%s is not taken: the reader gets EIO, the disk nothing', async (_, encoding, damage) => {
    const file = await plane.addFile('a', [60_000, 60_000])
    const reader = await plane.startReader([[file, 0, 4096]])
    await until(async () => await plane.waitingReads() === 1)
    await plane.plane.supply('a', encoding, 0, 1, damage(file.chunks[0]?.bytes ?? Buffer.alloc(0)))

    expect(await reader.outcomes).toEqual(['EIO'])
    expect((await plane.plane.status()).files[0]?.cachedChunks).toBe(0)
    expect(readFileSync(join(file.cache, 'data')).byteLength).toBe(0)
  })

  test('a gzip bomb is inflated no further than the chunk', async () => {
    const file = await plane.addFile('a', [1000])
    const bomb = gzipSync(Buffer.alloc(200 << 20), { level: 9 })
    const reader = await plane.startReader([[file, 0, 1000]])
    await until(async () => await plane.waitingReads() === 1)
    await plane.plane.supply('a', 'gzip', 0, 1, bomb)

    expect(await reader.outcomes).toEqual(['EIO'])
    const status = readFileSync(`/proc/${String(plane.plane.worker?.pid)}/status`, 'utf8')
    if (process.env['IPFS_SNAPSHOTTER_NATIVE'] === undefined) expect(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1])).toBeLessThan(32 * 1024)
  })

  test('of several chunks, the right ones are kept and only the readers of the wrong one fail', async () => {
    const file = await plane.addFile('a', [60_000, 60_000, 60_000])
    const ranges: Range[] = file.chunks.map(({ dataOffset }) => [file, dataOffset, 4096])
    const reader = await plane.startReader(ranges)
    await until(async () => await plane.waitingReads() === 3)
    await plane.plane.supply('a', 'raw', 0, 3, Buffer.concat(file.chunks.map(({ bytes }, index) => index === 1 ? bad(bytes) : bytes)))

    const good = expected(ranges)
    expect(await reader.outcomes).toEqual([good[0], 'EIO', good[2]])
  })

  test('says to the caller which supply did not match', async () => {
    await plane.addFile('a', [60_000])
    const rejected = new Promise((resolve) => { plane.plane.onRejected((...what) => { resolve(what) }) })
    await plane.plane.supply('a', 'raw', 0, 1, Buffer.alloc(60_000))

    expect(await rejected).toEqual(['a', 0, 1, 'chunk 0 does not match its sha256'])
  })

  test('FAIL gives waiting reads its errno, and the next read asks again', async () => {
    const file = await plane.addFile('a', [60_000])
    const reader = await plane.startReader([[file, 0, 4096], [file, 8192, 4096]])
    await until(async () => await plane.waitingReads() === 2)
    plane.plane.fail('a', 0, 1, 110)
    expect(await reader.outcomes).toEqual(['ETIMEDOUT', 'ETIMEDOUT'])
    plane.holding = false

    expect(await plane.read([[file, 0, 4096]])).toEqual(expected([[file, 0, 4096]]))
  })

  test('a handler that ends without an answer fails its reads at once', async () => {
    const file = await plane.addFile('a', [60_000])
    plane.plane.onFetch(async () => { await Promise.reject(new Error('no idea')) })

    expect(await plane.read([[file, 0, 4096]])).toEqual(['EIO'])
  })

  test('removing a file answers its waiting reads with EIO', async () => {
    const file = await plane.addFile('a', [60_000, 60_000])
    const reader = await plane.startReader([[file, 0, 4096], [file, 70_000, 4096]])
    await until(async () => await plane.waitingReads() === 2)
    await plane.plane.removeFile('a')

    expect(await reader.outcomes).toEqual(['EIO', 'EIO'])
    expect(await plane.waitingReads()).toBe(0)
  })

  test('a reader that is killed while it waits dies at once', async () => {
    const file = await plane.addFile('a', [60_000])
    const reader = await plane.startReader([[file, 0, 4096]])
    await until(async () => await plane.waitingReads() === 1)
    reader.child.kill('SIGKILL')
    await reader.outcomes

    await until(async () => await plane.waitingReads() === 0)
    expect(existsSync(`/proc/${String(reader.child.pid)}`)).toBe(false)
  })

  test('stopping answers waiting reads with EIO and leaves no mount', async () => {
    const file = await plane.addFile('a', [60_000])
    const reader = await plane.startReader([[file, 0, 4096]])
    await until(async () => await plane.waitingReads() === 1)
    await plane.plane.stop()

    expect(await reader.outcomes).toEqual(['EIO'])
    await plane.native.stopGuardian(plane.state) // false when it was quicker than we
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(plane.state)
  })
})

suite('a deadline', () => {
  test('ends a read that nobody answers with EIO; a later supply still counts', async () => {
    await using plane = await DataPlaneFixture.start(300)
    plane.holding = true
    const file = await plane.addFile('a', [60_000])

    expect(await plane.read([[file, 0, 4096]])).toEqual(['EIO'])
    await plane.release()
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
  })

  test('holds without control too: reads end while nobody is connected', async () => {
    await using plane = await DataPlaneFixture.start(300)
    const file = await plane.addFile('a', [60_000])
    await plane.plane.close()

    expect(await plane.read([[file, 0, 4096]])).toEqual(['EIO'])
  })
})
