// The byte formats that both ends agree on: frames and tables.
import { describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { BodyReader, encodeFrame, type Frame, FrameParser, text, u32 } from '../../src/mount/frames.ts'
import { OutstandingChunks } from '../../src/mount/outstanding-chunks.ts'
import { encodeTable, type TableChunk } from '../../src/layer/chunk-table.ts'

describe('frames', () => {
  test('survive any cut of the stream', () => {
    const frames = fc.array(fc.tuple(fc.nat(255), fc.nat(0xffffffff), fc.uint8Array({ maxLength: 300 })))
    const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 })
    fc.assert(fc.property(frames, pieces, (list, cuts) => {
      const stream = Buffer.concat(list.flatMap(([type, id, body]) => encodeFrame(type, id, body)))
      const parser = new FrameParser()
      const got: Frame[] = []
      for (let at = 0, turn = 0; at < stream.byteLength; turn++) {
        const size = cuts[turn % cuts.length] ?? 1
        got.push(...parser.push(stream.subarray(at, at + size)))
        at += size
      }
      expect(got.map(({ type, id, body }) => [type, id, [...body]])).toEqual(list.map(([type, id, body]) => [type, id, [...body]]))
    }))
  })

  test.each([[0], [7], [24 * 1024 * 1024 + 1]])('a length of %d is refused', (length) => {
    expect(() => new FrameParser().push(Buffer.concat([u32(length), Buffer.alloc(8)]))).toThrow(/broke its protocol/)
  })

  test('too much for a frame is refused before it is sent', () => {
    expect(() => encodeFrame(8, 1, Buffer.alloc(24 * 1024 * 1024))).toThrow(/the data plane takes/)
  })

  test('a cut body is refused', () => {
    expect(() => new BodyReader(text('hello').subarray(0, 4)).text()).toThrow(/cut short/)
    expect(new BodyReader(text('grüß')).text()).toBe('grüß')
  })
})

describe('tables', () => {
  const chunk = (dataOffset: number, size: number): TableChunk => ({
    dataOffset, size, innerOffset: 3, offset: 2 ** 40, length: 77, digest: createHash('sha256').update(String(dataOffset)).digest()
  })
  const content = { layerDigest: Buffer.alloc(32, 9), dataSize: 9000, prefix: Buffer.alloc(4096, 5) }

  test('have the layout of the protocol', () => {
    const table = Buffer.from(encodeTable({ ...content, chunks: [chunk(0, 4096), chunk(4096, 4904)] }))

    expect(table.byteLength).toBe(128 + 2 * 80 + 4096)
    expect(table.subarray(0, 8).toString()).toBe('IPSNAPT1')
    expect([table.readBigUInt64LE(8), table.readBigUInt64LE(16), table.readUInt32LE(24), table.readUInt32LE(28)]).toEqual([16_384n, 4096n, 2, 65_536])
    expect([table.readBigUInt64LE(208), table.readUInt32LE(216), table.readUInt32LE(220), table.readBigUInt64LE(224), table.readUInt32LE(232)])
      .toEqual([4096n, 4904, 3, 2n ** 40n, 77])
    expect(table.subarray(240, 272)).toEqual(chunk(4096, 1).digest)
    expect(table.subarray(288)).toEqual(content.prefix)
  })

  test.each([
    ['a prefix in half blocks', { ...content, prefix: Buffer.alloc(100), chunks: [] }, /100 bytes is not in whole blocks/],
    ['overlapping chunks', { ...content, chunks: [chunk(0, 5000), chunk(4096, 10)] }, /chunk 1 starts at 4096, before 5000/],
    ['an empty chunk', { ...content, chunks: [chunk(0, 0)] }, /chunk 0 has 0 bytes/],
    ['a huge chunk', { ...content, chunks: [chunk(0, 16 * 1024 * 1024 + 1)] }, /chunk 0 has 16777217 bytes/],
    ['a chunk beyond the end', { ...content, chunks: [chunk(12_000, 1000)] }, /chunks end at 13000/],
    ['a digest that is cut', { ...content, chunks: [{ ...chunk(0, 1), digest: Buffer.alloc(31) }] }, /digest of 31 bytes/]
  ])('refuse %s', (_, table, reason) => {
    expect(() => encodeTable(table)).toThrow(reason)
  })
})

describe('outstanding chunks', () => {
  test('are begun once until they are settled, and count as unanswered until they are supplied', () => {
    const chunks = new OutstandingChunks()
    expect(chunks.begin('a', [{ first: 0, count: 4 }])).toEqual([{ first: 0, count: 4 }])
    expect(chunks.begin('a', [{ first: 2, count: 4 }])).toEqual([{ first: 4, count: 2 }])
    expect(chunks.begin('b', [{ first: 2, count: 1 }])).toEqual([{ first: 2, count: 1 }])
    chunks.supplying('a', 1, 1)
    expect(chunks.unanswered('a', [{ first: 0, count: 6 }])).toEqual([{ first: 0, count: 1 }, { first: 2, count: 4 }])
    expect(chunks.begin('a', [{ first: 1, count: 1 }])).toEqual([])
    chunks.settle('a', 1, 0xffffffff)
    expect(chunks.begin('a', [{ first: 0, count: 3 }])).toEqual([{ first: 1, count: 2 }])
    chunks.remove('a')
    expect(chunks.unanswered('a', [{ first: 0, count: 9 }])).toEqual([])
  })

  test('pass from the background to the read that comes to wait for them, once, until they are being supplied', () => {
    const chunks = new OutstandingChunks()
    const two = [{ first: 0, count: 2 }]
    expect(chunks.begin('a', two, true)).toEqual(two)
    chunks.supplying('a', 1, 1)
    expect(chunks.begin('a', two)).toEqual([{ first: 0, count: 1 }])
    expect([chunks.begin('a', two), chunks.begin('a', two, true)]).toEqual([[], []])
    expect(chunks.unanswered('a', two, true)).toEqual([]) // the end of the background fetch fails no read
    expect(chunks.unanswered('a', two)).toEqual([{ first: 0, count: 1 }])
  })
})
