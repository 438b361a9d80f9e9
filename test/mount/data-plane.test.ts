// The data plane on a good day: bytes right, hits without control, misses coalesced and asked for once.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import { openSync, readdirSync, readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { encodeTable } from '../../src/layer/chunk-table.ts'
import { DataPlaneFixture, dataPlaneSkipReason, expected, makeChunks, type Range, type TestFile, until } from '../suites/data-plane-fixture.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`data plane tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const KiB = 1024
const MiB = 1024 * KiB

suite('the data plane', () => {
  let plane: DataPlaneFixture

  beforeEach(async () => { plane = await DataPlaneFixture.start() })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  const whole = (file: TestFile): Range[] => [[file, 0, file.content.byteLength]]

  test('serves prefix, chunks of every size and holes as one file', async () => {
    const file = await plane.addFile('a', [10, 64 * KiB, 64 * KiB + 1, 300_000, 4 * MiB + 1, 1, 4096, 16 * MiB], { prefixBlocks: 3 })

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(statSync(plane.pathOf(file)).size).toBe(file.content.byteLength)
  })

  test('reads any range right, also across chunks and at odd places', async () => {
    const file = await plane.addFile('a', Array.from({ length: 60 }, (_, index) => 1 + index * 977), { prefixBlocks: 1 })
    const end = file.content.byteLength
    const ranges: Range[] = Array.from({ length: 200 }, (_, index) => {
      const offset = index * 104_729 % end
      return [file, offset, Math.min(end - offset, 1 + index * 7_919 % 300_000)]
    })

    expect(await plane.read(ranges)).toEqual(expected(ranges))
  })

  test('asks control for nothing when all is cached, after a restart of the worker too', async () => {
    const file = await plane.addFile('a', [100_000, 5000, 3 * MiB])
    await plane.read(whole(file))
    const asked = plane.asked.length

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    await plane.killSettledWorker()
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked.length).toBe(asked)
    expect((await plane.plane.status()).files[0]).toMatchObject({ suppliedBytes: 0, cachedChunks: 3, chunks: 3 })
  })

  test('asks for the chunks of one read in coalesced runs', async () => {
    const file = await plane.addFile('a', Array.from({ length: 10 }, () => 4096))
    await plane.supply(file, 4, 1)
    await until(async () => (await plane.plane.status()).files[0]?.cachedChunks === 1)
    await plane.read([[file, 0, 8192 * 9]])

    expect(plane.asked.map(({ first, count }) => [first, count])).toEqual([[0, 4], [5, 4]])
  })

  test('asks once for what 64 readers want at the same time', async () => {
    const file = await plane.addFile('a', [2 * MiB])
    plane.holding = true
    const ranges: Range[] = Array.from({ length: 64 }, (_, index) => [file, index * 4096, 4096])
    const reader = await plane.startReader(ranges)
    await until(async () => await plane.waitingReads() === 64)
    await plane.release()

    expect(await reader.outcomes).toEqual(expected(ranges))
    expect(plane.asked).toEqual([{ name: 'a', first: 0, count: 1, background: false }])
  })

  test('answers 64 concurrent readers of many chunks', async () => {
    const file = await plane.addFile('a', Array.from({ length: 300 }, (_, index) => 1000 + index * 511 % 90_000))
    const ranges: Range[] = Array.from({ length: 64 }, (_, index) => {
      const offset = Math.floor(index * file.content.byteLength / 70)
      return [file, offset, Math.min(400_000, file.content.byteLength - offset)]
    })

    expect(await plane.read(ranges)).toEqual(expected(ranges))
  })

  test('takes one gzip member for several chunks at their inner offsets, with padding after them', async () => {
    const [one, two] = makeChunks([70_000, 9000])
    if (one === undefined || two === undefined) throw new Error('unreachable')
    const chunks = [{ ...one, innerOffset: 512 }, { ...two, innerOffset: 512 + 70_000 + 100 }]
    const file = await plane.addFile('a', [], { chunks })
    plane.holding = true
    const reader = await plane.startReader(whole(file))
    await until(async () => await plane.waitingReads() > 0)
    const member = Buffer.concat([Buffer.alloc(512, 1), one.bytes, Buffer.alloc(100, 2), two.bytes, Buffer.alloc(200_000, 3)])
    await plane.plane.supply('a', 'gzip', 0, 2, gzipSync(member))

    expect(await reader.outcomes).toEqual(expected(whole(file)))
  })

  test('keeps an unasked supply: a later read asks for nothing', async () => {
    const file = await plane.addFile('a', [50_000, 60_000])
    await plane.supply(file, 0, 2)
    await until(async () => (await plane.plane.status()).files[0]?.cachedChunks === 2)

    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    expect(plane.asked).toEqual([])
  })

  test('need resolves when the chunks are in the cache, as background fetches', async () => {
    const file = await plane.addFile('a', [5000, 6000, 7000])
    await plane.plane.need('a', 0, 2)

    expect(plane.asked).toEqual([{ name: 'a', first: 0, count: 2, background: true }])
    expect(readFileSync(join(file.cache, 'present'))).toEqual(Buffer.from([1, 1]))
    await plane.plane.need('a', 0, 2)
    expect(plane.asked.length).toBe(1)
  })

  test('a read that joins a background fetch is asked for as a read, once, and fails as one', async () => {
    const file = await plane.addFile('a', [5000, 6000])
    plane.holding = true
    const need = plane.plane.need('a', 0, 2).then(() => 'came', String)
    await until(() => plane.asked.length === 1)
    const readers = [await plane.startReader([[file, 0, 4096]]), await plane.startReader([[file, 0, 4096]])]
    await until(async () => await plane.waitingReads() === 2)
    await until(() => plane.asked.length === 2)

    expect(plane.asked).toEqual([{ name: 'a', first: 0, count: 2, background: true }, { name: 'a', first: 0, count: 1, background: false }])
    plane.plane.fail('a', 0, 1, 5)
    expect(await Promise.all(readers.map(async ({ outcomes }) => await outcomes))).toEqual([['EIO'], ['EIO']])
    expect(await need).toContain('errno 5')
  })

  test('two files of one layer share a cache', async () => {
    const chunks = makeChunks([100_000, 200_000])
    const cache = join(plane.state, 'cache', 'shared')
    const first = await plane.addFile('a', [], { chunks, cache })
    const second = await plane.addFile('b', [], { chunks, cache, prefixBlocks: 2 })
    await plane.read(whole(first))

    expect(await plane.read(whole(second))).toEqual(expected(whole(second)))
    expect(plane.asked.every(({ name }) => name === 'a')).toBe(true)
  })

  test('a reader of one file gets what another file of the layer asked for, also when that one is removed', async () => {
    const chunks = makeChunks([100_000])
    const cache = join(plane.state, 'cache', 'shared')
    const first = await plane.addFile('a', [], { chunks, cache })
    const second = await plane.addFile('b', [], { chunks, cache })
    plane.holding = true
    const loser = await plane.startReader([[first, 0, 4096]])
    await until(async () => await plane.waitingReads() === 1)
    const winner = await plane.startReader([[second, 0, 4096]])
    await until(async () => await plane.waitingReads() === 2)
    await plane.plane.removeFile('a')

    expect(await loser.outcomes).toEqual(['EIO'])
    await until(() => plane.asked.some(({ name }) => name === 'b'))
    await plane.supply(second, 0, 1)
    expect(await winner.outcomes).toEqual(expected([[second, 0, 4096]]))
  })

  test('adding twice is nothing, another table under the same name is refused', async () => {
    const file = await plane.addFile('a', [5000])
    await plane.plane.addFile('a', file.cache, file.table)

    await expect(plane.addFile('a', [6000])).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(await plane.plane.list()).toEqual(['a'])
  })

  test('takes a table larger than a frame, and keeps it through a kill', async () => {
    const small = makeChunks([4096])
    const file = await plane.addFile('a', [], { chunks: small, prefixBlocks: 30 * 256 })
    await plane.killSettledWorker()
    const tail: Range[] = [[file, file.content.byteLength - 10_000, 10_000]]

    expect(await plane.read(tail)).toEqual(expected(tail))
  })

  test('lists all files, also more than one answer holds, says its size and takes no writes', async () => {
    const names = Array.from({ length: 150 }, (_, index) => `${String(index).padStart(3, '0')}-${'n'.repeat(200)}`)
    for (const name of names) await plane.addFile(name, [100])
    const root = join(plane.state, 'data')

    expect(readdirSync(root).sort()).toEqual(names)
    expect(statfsSync(root)).toMatchObject({ bsize: 4096, blocks: 150, files: 150, bfree: 0 })
    expect(() => { writeFileSync(join(root, 'new'), '') }).toThrow('EROFS')
    expect(() => openSync(join(root, names[0] ?? ''), 'r+')).toThrow('EROFS')
    expect(() => statSync(join(root, 'nobody'))).toThrow('ENOENT')
  })

  test('a removed file is gone, its name free for another', async () => {
    const file = await plane.addFile('a', [5000])
    await plane.read(whole(file))
    await plane.plane.removeFile('a')
    expect(() => readFileSync(plane.pathOf(file))).toThrow('ENOENT')
    const other = await plane.addFile('a', [7000, 8000], { cache: join(plane.state, 'cache', 'other') })

    expect(await plane.read(whole(other))).toEqual(expected(whole(other)))
  })

  test('refuses tables that break a rule, and says which', async () => {
    const good = Buffer.from(encodeTable({ layerDigest: Buffer.alloc(32), dataSize: 20_000, chunks: makeChunks([5000, 6000]), prefix: new Uint8Array(0) }))
    const broken = (change: (table: Buffer) => void): Buffer => { const table = Buffer.from(good); change(table); return table }
    const cases: Array<[Buffer, RegExp]> = [
      [broken((table) => { table[0] = 0 }), /IPSNAPT1/],
      [broken((table) => { table.writeUInt32LE(3, 24) }), /bytes where/],
      [broken((table) => { table.writeUInt32LE(0xffffffff, 24) }), /bytes where/],
      [broken((table) => { table.writeUInt32LE(0, 128 + 8) }), /size of chunk 0/],
      [broken((table) => { table.writeBigUInt64LE(100n, 128 + 80) }), /overlap of chunk 1/],
      [broken((table) => { table.writeBigUInt64LE(1n << 63n, 128 + 80) }), /end of chunk 1/],
      [broken((table) => { table.writeUInt32LE(0xffffffff, 128 + 12) }), /innerOffset of chunk 0/],
      [broken((table) => { table[100] = 1 }), /reserved header/],
      [broken((table) => { table[128 + 79] = 1 }), /reserved bytes of chunk 0/],
      [broken((table) => { table.writeBigUInt64LE(20_481n, 8) }), /file size/],
      [good.subarray(0, 100), /100 bytes/]
    ]

    for (const [table, reason] of cases) await expect(plane.plane.addFile('bad', join(plane.state, 'cache'), table)).rejects.toThrow(reason)
    await expect(plane.plane.addFile('../a', plane.state, good)).rejects.toThrow('not a file name')
    await expect(plane.plane.addFile('a', `${plane.state}/../b`, good)).rejects.toThrow('absolute path')
    expect(await plane.plane.list()).toEqual([])
  })

  test('holds a layer of 24,000 entries in 24 MiB', async () => {
    const bytes = Buffer.alloc(3000, 7)
    const digest = createHash('sha256').update(bytes).digest()
    const chunks = Array.from({ length: 24_000 }, (_, index) => (
      { dataOffset: index * 4096, size: 3000, innerOffset: 0, offset: index, length: 1, digest, bytes }))
    const file = await plane.addFile('a', [], { chunks, prefixBlocks: 540 })
    for (let first = 0; first < 24_000; first += 2000) {
      await plane.plane.supply('a', 'raw', first, 2000, Buffer.alloc(3000 * 2000, 7))
    }
    await until(async () => (await plane.plane.status()).files[0]?.cachedChunks === 24_000)
    await plane.read([[file, 0, 20 * MiB]])
    await plane.killSettledWorker()
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    const status = readFileSync(`/proc/${String(plane.plane.worker?.pid)}/status`, 'utf8')
    const kilobytes = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1])

    if (process.env['IPFS_SNAPSHOTTER_NATIVE'] === undefined) expect(kilobytes).toBeLessThan(24 * 1024)
  })
})
