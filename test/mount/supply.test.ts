import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { silentLog } from '../../src/base/log.ts'
import { SnapshotterError } from '../../src/base/errors.ts'
import type { UnixfsFile } from '../../src/ipfs/blocks.ts'
import { chunksWithin, membersOf, type PlacedChunk } from '../../src/mount/layer-table.ts'
import { rangesOf } from '../../src/mount/blob-ranges.ts'
import { Supplier, type SuppliedFile, type SupplySink } from '../../src/mount/supply.ts'
import { parseCid } from '../../src/verify/cid.ts'
import type { VerifiedBytes } from '../../src/verify/verified-bytes.ts'

const MIB = 1024 * 1024

async function until (holds: () => boolean): Promise<void> {
  for (let turns = 0; turns < 10_000 && !holds(); turns++) await new Promise((resolve) => { setImmediate(resolve) })
  expect(holds()).toBe(true)
}

interface Sent { readonly first: number, readonly count: number, readonly bytes: string }

/** A blob whose byte at offset n is n mod 251, read in pieces of `leaf` bytes; counts what is read. */
function blobOf (size: number, leaf: number): { readonly file: UnixfsFile, readonly read: () => number } {
  const content = Buffer.from(Uint8Array.from({ length: size }, (_, at) => at % 251))
  let read = 0
  const file: UnixfsFile = {
    cid: parseCid('bafkqaaa'),
    size,
    read: async (offset, length) => content.subarray(offset, offset + length) as unknown as VerifiedBytes,
    stream: async function * (offset, length) {
      for (let at = offset; at < offset + length; at += leaf) {
        const part = content.subarray(at, Math.min(at + leaf, offset + length))
        read += part.length
        yield part as unknown as VerifiedBytes
      }
    }
  }
  return { file, read: () => read }
}

function recordingSink (): { readonly sink: SupplySink, readonly sent: Sent[], readonly failed: Array<[number, number, number]> } {
  const sent: Sent[] = []
  const failed: Array<[number, number, number]> = []
  return {
    sent,
    failed,
    sink: {
      supply: async (_name, _encoding, first, count, payload) => { sent.push({ first, count, bytes: Buffer.from(payload).toString('hex') }) },
      fail: (_name, first, count, errno) => { failed.push([first, count, errno]) }
    }
  }
}

/** Chunks in members of the given lengths, `perMember` chunks each. */
function chunksOf (lengths: readonly number[], perMember = 1): PlacedChunk[] {
  let offset = 0
  const chunks: PlacedChunk[] = []
  for (const length of lengths) {
    for (let inner = 0; inner < perMember; inner++) {
      const position = chunks.length
      chunks.push({ fileOffset: 0, size: 1, digest: new Uint8Array(32), offset, length, innerOffset: inner, dataOffset: position * 4096, position })
    }
    offset += length
  }
  return chunks
}

function supplied (chunks: readonly PlacedChunk[], blob: () => Promise<UnixfsFile>): SuppliedFile {
  return { name: 'layer', cacheFolder: 'cache', chunks, format: 'estargz', prefetchBytes: 0, blob, rawChunks: async function * () { yield * [] } }
}

test('each asked chunk arrives with exactly the bytes of its member, whatever the leaf borders', async () => {
  await fc.assert(fc.asyncProperty(
    fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 40 }),
    fc.integer({ min: 1, max: 3 }),
    fc.nat(),
    fc.integer({ min: 50_000, max: MIB }),
    async (lengths, perMember, pick, leaf) => {
      const chunks = chunksOf(lengths, perMember)
      const size = lengths.reduce((sum, length) => sum + length, 0)
      const { file } = blobOf(size, leaf)
      const { sink, sent } = recordingSink()
      const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
      supplier.add(supplied(chunks, async () => file))
      const wanted = pick % chunks.length

      await supplier.answer('layer', [{ first: wanted, count: 1 }])

      expect(sent.some(({ first, count }) => first <= wanted && wanted < first + count)).toBe(true)
      for (const { first, bytes } of sent) {
        const chunk = chunks[first]
        const expected = Uint8Array.from({ length: chunk?.length ?? 0 }, (_, at) => ((chunk?.offset ?? 0) + at) % 251)
        expect(bytes === Buffer.from(expected).toString('hex')).toBe(true)
      }
    }), { numRuns: 40 })
})

test('what a leaf brings along is supplied once and not again', async () => {
  const chunks = chunksOf(Array.from({ length: 64 }, () => 16 * 1024))
  const { file } = blobOf(MIB, MIB)
  const { sink, sent } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  supplier.add(supplied(chunks, async () => file))

  await supplier.answer('layer', [{ first: 3, count: 1 }])
  await until(() => sent.length === 64)
  await supplier.answer('layer', [{ first: 3, count: 1 }])
  expect(sent).toHaveLength(65)
  expect(sent[64]?.first).toBe(3)
})

test('what is waited for goes out before what comes with it, also when it is asked for later', async () => {
  const chunks = chunksOf(Array.from({ length: 256 }, () => 1024))
  const { file, read } = blobOf(256 * 1024, 256 * 1024)
  const { sink, sent } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  supplier.add(supplied(chunks, async () => file))

  await supplier.answer('layer', [{ first: 200, count: 1 }])
  expect(sent[0]?.first).toBe(200)
  expect(sent.length).toBeLessThan(100)
  void supplier.answer('layer', [{ first: 255, count: 1 }])
  await until(() => sent.some(({ first }) => first === 255))
  expect(sent.length).toBeLessThan(150)
  await until(() => sent.length === 256)
  expect(new Set(sent.map(({ first }) => first)).size).toBe(256)
  expect(read()).toBe(256 * 1024)
})

test('a chunk that is asked for once more while its leaf is still handed out is sent once more', async () => {
  const chunks = chunksOf(Array.from({ length: 256 }, () => 1024))
  const { file } = blobOf(256 * 1024, 256 * 1024)
  const { sink, sent } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  supplier.add(supplied(chunks, async () => file))

  await supplier.answer('layer', [{ first: 9, count: 1 }])
  await supplier.answer('layer', [{ first: 9, count: 1 }])
  expect(sent.filter(({ first }) => first === 9)).toHaveLength(2)
})

test('a failing source answers every run with an errno, and the next miss tries again', async () => {
  const chunks = chunksOf([100, 100, 100])
  const { file } = blobOf(300, 300)
  const { sink, sent, failed } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  let broken = true
  supplier.add(supplied(chunks, async () => {
    if (broken) throw new SnapshotterError('GATEWAY_TIMEOUT', 'slow')
    return file
  }))

  await supplier.answer('layer', [{ first: 0, count: 1 }, { first: 2, count: 1 }])
  expect(failed).toEqual([[0, 1, 110], [2, 1, 110]])
  broken = false
  await supplier.answer('layer', [{ first: 0, count: 1 }])
  expect(sent.map(({ first }) => first)).toContain(0)
})

test('a source that comes back within the deadline is waited for, and nothing is fetched twice', async () => {
  const chunks = chunksOf([MIB, MIB])
  const { file, read } = blobOf(2 * MIB, MIB)
  const { sink, sent, failed } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 10_000 })
  let breaks = 2
  supplier.add(supplied(chunks, async () => ({
    ...file,
    stream: async function * (offset: number, length: number) {
      for await (const part of file.stream(offset, length)) {
        yield part
        if (breaks-- > 0) throw new SnapshotterError('ROOT_UNREACHABLE', 'gone')
      }
    }
  })))

  await supplier.answer('layer', [{ first: 0, count: 2 }])

  expect(failed).toEqual([])
  expect(sent.map(({ first }) => first)).toEqual([0, 1])
  expect(read()).toBe(2 * MIB)
})

test('an image that lies fails at once, however long a read may wait', async () => {
  const { sink, failed } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: null })
  supplier.add(supplied(chunksOf([10]), async () => { throw new SnapshotterError('TOC_INVALID', 'a lie') }))

  await supplier.answer('layer', [{ first: 0, count: 1 }])

  expect(failed).toEqual([[0, 1, 5]])
})

test('a file that is not served is answered, not left hanging', async () => {
  const { sink, failed } = recordingSink()

  await new Supplier({ sink, log: silentLog, patienceMs: 0 }).answer('nobody', [{ first: 1, count: 2 }])

  expect(failed).toHaveLength(1)
})

test('ranges cover every member, overlap nowhere, and stay within the blob', () => {
  const places = fc.array(fc.tuple(fc.nat(50 * MIB), fc.integer({ min: 1, max: 5 * MIB })), { minLength: 1 })
  fc.assert(fc.property(places, fc.constantFrom(undefined, MIB / 4, MIB / 8 + 1), (pairs, leafBytes) => {
    const members = pairs.map(([offset, length], at) => ({ offset, length, firstChunk: at, count: 1 }))
    const size = 60 * MIB
    const ranges = rangesOf(members, size, leafBytes)

    for (const { offset, length } of members) expect(ranges.some(({ from, to }) => from <= offset && offset + length <= to)).toBe(true)
    ranges.forEach(({ from, to }, at) => {
      expect(to).toBeLessThanOrEqual(size)
      expect(from).toBeGreaterThanOrEqual(ranges[at - 1]?.to ?? 0)
    })
  }))
})

test('chunks of one member travel together', () => {
  expect(membersOf(chunksOf([10, 20], 3), 1, 4)).toEqual([
    { offset: 0, length: 10, firstChunk: 1, count: 2 },
    { offset: 10, length: 20, firstChunk: 3, count: 2 }
  ])
})

test('the prefetch covers the members that end within the marked bytes', () => {
  expect(chunksWithin(chunksOf([10, 20, 30, 40]), 60)).toEqual([{ first: 0, count: 3 }])
  expect(chunksWithin(chunksOf([10, 20, 30, 40]), 0)).toEqual([])
})

test('reads of one leaf at once bring each member once, under whatever name of the cache they ask', async () => {
  const lengths = Array.from({ length: 12 }, () => 50_000)
  const chunks = chunksOf(lengths)
  const { file, read } = blobOf(600_000, MIB)
  const { sink, sent } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  supplier.add(supplied(chunks, async () => file))
  supplier.add({ ...supplied(chunks, async () => file), name: 'twin' })
  const asked = [['layer', 1], ['twin', 2], ['layer', 9]] as const
  await Promise.all(asked.map(async ([name, first]) => { await supplier.answer(name, [{ first, count: 1 }]) }))
  expect(sent.map(({ first }) => first).sort((a, b) => a - b)).toEqual(chunks.map((_, at) => at))
  expect(read()).toBe(600_000)
  // A cache that lost a chunk gets it again.
  await supplier.answer('twin', [{ first: 2, count: 1 }])
  expect(sent.filter(({ first }) => first === 2)).toHaveLength(2)
})

test('a blob that passes by leaves in the cache what is wanted and was not sent, and goes on unchanged', async () => {
  const lengths = [1000, 2000, 3000, 4000]
  const chunks = chunksOf(lengths)
  const { file } = blobOf(10_000, 700)
  const { sink, sent } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  supplier.add(supplied(chunks, async () => file))
  const passed: Uint8Array[] = []
  for await (const piece of supplier.feed('cache', file.stream(0, 10_000), (chunk) => chunk !== 1)) passed.push(piece)
  expect(Buffer.concat(passed)).toEqual(Buffer.from(await file.read(0, 10_000)))
  expect(sent.map(({ first }) => first)).toEqual([0, 2, 3])
  expect(sent[1]?.bytes).toBe(Buffer.from(await file.read(3000, 3000)).toString('hex'))
  for await (const piece of supplier.feed('cache', file.stream(0, 10_000), () => true)) expect(piece.length).toBeGreaterThan(0)
  expect(sent.map(({ first }) => first)).toEqual([0, 2, 3, 1])
  supplier.remove('layer')
  for await (const piece of supplier.feed('cache', file.stream(0, 10_000), () => true)) expect(piece.length).toBeGreaterThan(0)
  expect(sent).toHaveLength(4)
})

test('a background fetch that gives up fails nothing that a read waits for: the read has its own deadline', async () => {
  const { sink, failed } = recordingSink()
  const chunks = chunksOf([1000, 1000, 1000])
  const gone = Promise.withResolvers<UnixfsFile>()
  const late = Promise.withResolvers<UnixfsFile>()
  const blobs = [gone.promise, late.promise]
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  supplier.add(supplied(chunks, async () => await (blobs.shift() ?? Promise.reject(new Error('nobody asks thrice')))))
  const background = supplier.answer('layer', [{ first: 0, count: 3 }], { background: true })
  const read = supplier.answer('layer', [{ first: 1, count: 1 }])
  gone.reject(new SnapshotterError('UNAVAILABLE', 'no source'))
  await background
  expect(failed.map(([first, count]) => [first, count])).toEqual([[0, 1], [2, 1]])
  late.reject(new SnapshotterError('UNAVAILABLE', 'no source'))
  await read
  expect(failed.map(([first, count]) => [first, count])).toEqual([[0, 1], [2, 1], [1, 1]])
})

test('a program that reads small files all over a layer gets the rest of it, and no leaf comes twice', async () => {
  const LEAF = 256 * 1024
  const chunks = chunksOf(Array.from({ length: 8000 }, (_, at) => 3000 + at * 37 % 2000)) // some span two leaves
  const size = chunks.reduce((end, { offset, length }) => Math.max(end, offset + length), 0)
  const { file } = blobOf(size, LEAF)
  const kept: number[] = [] // leaves in memory: fewer than were fetched when the rest is asked for
  let fetched = 0
  const stream: typeof file.stream = async function * (offset, length) {
    for await (const piece of file.stream(offset, length)) {
      const leaf = Math.floor(offset / LEAF)
      if (!kept.includes(leaf)) fetched++
      kept.push(...kept.splice(0).filter((one) => one !== leaf).slice(-7), leaf)
      offset += piece.byteLength
      yield piece
    }
  }
  const { sink, sent } = recordingSink()
  const supplier = new Supplier({ sink, log: silentLog, patienceMs: 0 })
  supplier.add(supplied(chunks, async () => ({ ...file, stream, leafBytes: LEAF })))
  for (let at = 0; at < 40; at++) {
    const first = at * 2503 % 8000
    if (!sent.some((one) => one.first === first)) await supplier.answer('layer', [{ first, count: 1 }])
  }
  await until(() => sent.length > 7600)
  for (let turns = 0; turns < 500; turns++) await new Promise((resolve) => { setImmediate(resolve) })
  const twice = sent.length - new Set(sent.map(({ first }) => first)).size
  expect(twice).toBe(0)
  expect(fetched).toBeLessThanOrEqual(Math.ceil(size / LEAF) + 2)
})
