// Byte ranges of files in every shape of DAG equal slices of the content, in few requests.
import { describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'
import type { UnixfsFile } from '../../src/ipfs/blocks.ts'
import type { Knobs } from '../fakes/gateway.ts'
import { failureOf, gatewayOf, serviceOver } from './block-services.ts'
import { IMPORTERS, importContent, importVector, vectorContent, vectors } from './vector-dag.ts'

async function streamed (file: UnixfsFile, offset: number, length: number): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of file.stream(offset, length)) parts.push(part)
  return Buffer.concat(parts)
}

describe('vectors of Kubo', () => {
  const small = vectors.filter(({ size }) => size < 10_000_000)
  const cases = IMPORTERS.flatMap((name) => small.map((vector) => [name, vector.size, vector] as const))
  test.each(cases)('%s of %d bytes reads back', async (name, size, vector) => {
    const content = vectorContent(size)
    const { blocks, root } = await importVector(content, name)
    expect(root.toString()).toBe(vector[name])

    const file = await serviceOver([await gatewayOf(blocks)]).openFile(root)
    expect(file.size).toBe(size)
    expect(createHash('sha256').update(await file.read(0, size)).digest('hex')).toBe(vector.sha256)
    expect(createHash('sha256').update(await streamed(file, 0, size)).digest('hex')).toBe(vector.sha256)
  })
})

const SHAPES = {
  'raw leaves': { chunker: fixedSize({ chunkSize: 5_000 }), layout: balanced({ maxChildrenPerNode: 7 }) },
  'dag-pb leaves, CIDv0': { cidVersion: 0, rawLeaves: false, chunker: fixedSize({ chunkSize: 4_321 }), layout: balanced({ maxChildrenPerNode: 5 }) },
  'a trickle tree': { chunker: fixedSize({ chunkSize: 3_000 }), layout: trickle({ maxChildrenPerNode: 4 }) },
  'one block': { chunker: fixedSize({ chunkSize: 1 << 20 }) }
} as const

describe.each(Object.keys(SHAPES) as Array<keyof typeof SHAPES>)('random ranges of %s equal slices', (shape) => {
  const content = vectorContent(300_001)
  const cases: Array<[string, Partial<Knobs>]> = [['through CARs and blocks', {}], ['raw only', { formats: 'raw' }], ['CAR only', { formats: 'car' }]]
  test.each(cases)('%s', async (_name, knobs) => {
    const { blocks, root } = await importContent(content, SHAPES[shape])
    const gateway = await gatewayOf(blocks, knobs)
    await fc.assert(fc.asyncProperty(fc.nat(content.byteLength + 10), fc.nat(content.byteLength + 10), fc.boolean(), async (offset, length, fresh) => {
      const file = await serviceOver([gateway]).openFile(root)
      if (!fresh) await file.read(1_000, 20_000)
      const expected = content.subarray(offset, offset + length)
      expect(Buffer.from(await file.read(offset, length)).equals(expected)).toBe(true)
      expect((await streamed(file, offset, length)).equals(expected)).toBe(true)
    }), { numRuns: 25 })
  })
})

test('concurrent reads of one file give each reader its own range', async () => {
  const content = vectorContent(300_001)
  const { blocks, root } = await importContent(content, SHAPES['dag-pb leaves, CIDv0'])
  const gateway = await gatewayOf(blocks, { delayMs: 5 })
  const file = await serviceOver([gateway]).openFile(root)
  const ranges = Array.from({ length: 40 }, (_, index) => [index * 7_001, 20_000] as const)
  const got = await Promise.all(ranges.map(async ([offset, length]) => await file.read(offset, length)))
  for (const [index, [offset, length]] of ranges.entries()) {
    expect(Buffer.from(got[index] ?? []).equals(content.subarray(offset, offset + length))).toBe(true)
  }
})

test('the first bytes of a deep file cost one request after opening it', async () => {
  const content = vectorContent(8_000_000)
  const { blocks, root } = await importContent(content, { chunker: fixedSize({ chunkSize: 100_000 }), layout: balanced({ maxChildrenPerNode: 3 }) })
  const gateway = await gatewayOf(blocks)
  const file = await serviceOver([gateway]).openFile(root)
  expect(gateway.requests.length).toBe(1)
  await file.read(0, 25_000)
  await file.read(5_000, 12_000)
  expect(gateway.requests.length).toBe(2)
  await file.read(7_990_000, 10_000)
  expect(gateway.requests.map(({ format }) => format)).toEqual(['raw', 'car', 'car'])
})

test('a small child that turns out to be a node costs one request more', async () => {
  const content = vectorContent(300_000)
  const { blocks, root } = await importContent(content, { chunker: fixedSize({ chunkSize: 1_000 }), layout: balanced({ maxChildrenPerNode: 3 }) })
  const gateway = await gatewayOf(blocks)
  const file = await serviceOver([gateway]).openFile(root)
  await file.read(299_500, 100)
  expect(gateway.requests.map(({ format }) => format)).toEqual(['raw', 'raw', 'car'])
})

test('a range of known leaves is one CAR, one leaf is one raw block', async () => {
  const content = vectorContent(5_242_897)
  const { blocks, root } = await importVector(content, 'unixfs-v1-2025')
  const gateway = await gatewayOf(blocks)
  const file = await serviceOver([gateway]).openFile(root)
  await file.read(1 << 20, 100)
  expect(gateway.requests.at(-1)?.format).toBe('raw')
  await file.read(0, content.byteLength)
  expect(gateway.requests.length).toBe(4) // root, leaf 1, leaf 0 alone, leaves 2 to 5
  expect(gateway.requests.at(-1)?.query.get('entity-bytes') ?? gateway.requests.at(-2)?.query.get('entity-bytes')).toBe('2097152:5242896')
})

test('a small file of many blocks is read in one request', async () => {
  const content = vectorContent(300_001)
  const { blocks, root } = await importContent(content, SHAPES['dag-pb leaves, CIDv0'])
  const gateway = await gatewayOf(blocks)
  expect(Buffer.from(await serviceOver([gateway]).readAll(root, 1 << 20)).equals(content)).toBe(true)
  expect(gateway.requests.map(({ format }) => format)).toEqual(['car'])
})

test('a read into memory is bounded, a stream is not', async () => {
  const { blocks, root } = await importVector(vectorContent(100), 'unixfs-v1-2025')
  const over = serviceOver([await gatewayOf(blocks)])
  const failure = await failureOf(over.readAll(root, 99))
  expect(failure.line).toBe(`LIMIT_EXCEEDED: ${root.toString()} has 100 bytes, limit 99`)
  const file = await over.openFile(root)
  expect((await failureOf(file.read(-1, 5))).code).toBe('INVALID_ARGUMENT')
  expect((await failureOf(file.read(0, NaN))).code).toBe('INVALID_ARGUMENT')
})

describe('readers who miss neighbours of each other at once', () => {
  const LEAF = 1 << 20
  const setUp = async () => {
    const content = vectorContent(12 * LEAF)
    const { blocks, root } = await importVector(content, 'unixfs-v1-2025')
    const gateway = await gatewayOf(blocks, { delayMs: 20 })
    const over = serviceOver([gateway])
    const file = await over.openFile(root)
    const readsRight = async (leaf: number): Promise<boolean> =>
      Buffer.from(await file.read(leaf * LEAF + 5, 300)).equals(content.subarray(leaf * LEAF + 5, leaf * LEAF + 305))
    return { gateway, over, file, readsRight }
  }

  test('share one request, in which nobody else\'s leaves come', async () => {
    const { gateway, readsRight } = await setUp()
    expect(await Promise.all([5, 3, 4, 9].map(readsRight))).toEqual([true, true, true, true])
    expect(gateway.requests.slice(1).map(({ format, query }) => [format, query.get('entity-bytes')])).toEqual([
      ['car', `${3 * LEAF + 5}:${5 * LEAF + 304}`], ['raw', null]
    ])
  })

  test('also when one comes a moment later', async () => {
    const { gateway, readsRight } = await setUp()
    const first = readsRight(0)
    await new Promise((resolve) => { setImmediate(() => { setImmediate(resolve) }) })
    expect(await Promise.all([first, readsRight(2), readsRight(3)])).toEqual([true, true, true])
    expect(gateway.requests.length).toBe(3)
  })

  test('lose nothing when the first of them leaves', async () => {
    const { file, readsRight } = await setUp()
    const leaving = new AbortController()
    const left = file.read(6 * LEAF, 10, { signal: leaving.signal })
    const stayed = readsRight(7)
    leaving.abort(new Error('enough'))
    await expect(left).rejects.toThrow('enough')
    expect(await stayed).toBe(true)
  })

  test('hear of it when the service closes before anything was asked', async () => {
    const { over, file } = await setUp()
    const reading = failureOf(file.read(0, 10))
    await over.close()
    expect((await reading).line).toBe('CANCELLED: the block service was closed')
  })
})
