import { describe, expect, test } from '@jest/globals'
import { crc32, deflateRawSync, gzipSync } from 'node:zlib'
import { randomBytes } from 'node:crypto'
import { GZIP_HEADER_BYTES_MAX } from '../../src/base/limits.ts'
import { type InflatedPiece, inflateMembers } from '../../src/layer/gzip-members.ts'
import { lineOf } from './errors.ts'
import { pieces } from './fixtures.ts'

async function inflate (blob: Uint8Array, pieceBytes = 50_000): Promise<InflatedPiece[]> {
  const found: InflatedPiece[] = []
  for await (const piece of inflateMembers(pieces(blob, pieceBytes), 'layer')) found.push(piece)
  return found
}

/** Content by member, with the inner offsets checked. */
async function members (blob: Uint8Array, pieceBytes?: number): Promise<Map<number, Buffer>> {
  const found = new Map<number, Buffer>()
  for (const { member, innerOffset, bytes } of await inflate(blob, pieceBytes)) {
    const before = found.get(member) ?? Buffer.alloc(0)
    expect(innerOffset).toBe(before.byteLength)
    found.set(member, Buffer.concat([before, bytes]))
  }
  return found
}

function member (content: Uint8Array, flags: number, ...fields: Uint8Array[]): Buffer {
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(crc32(content), 0)
  trailer.writeUInt32LE(content.byteLength, 4)
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255]), ...fields, deflateRawSync(content), trailer])
}

const small = Buffer.from('small content')
const large = randomBytes(3_000_000)

describe('members', () => {
  test.each([1, 7, 4096, 100_000, 10_000_000])('are told apart in pieces of %i bytes', async (pieceBytes) => {
    const contents = pieceBytes < 100 ? [small, Buffer.alloc(0), small, small] : [small, small, large, small, small, Buffer.alloc(0),
      large, large, small]
    const parts = contents.map((content) => gzipSync(content, { level: 1 }))
    const found = await members(Buffer.concat(parts), pieceBytes)

    const starts = parts.map((_, i) => parts.slice(0, i).reduce((sum, part) => sum + part.byteLength, 0))
    const want = starts.map((start, i) => [start, contents[i]] as const).filter(([, content]) => (content?.byteLength ?? 0) > 0)
    expect([...found.keys()].filter((start) => (found.get(start)?.byteLength ?? 0) > 0)).toEqual(want.map(([start]) => start))
    for (const [start, content] of want) expect(found.get(start)?.equals(content ?? small)).toBe(true)
  })

  test('inflate hugely without being held whole', async () => {
    const sizes = (await inflate(gzipSync(Buffer.alloc(50_000_000)))).map(({ bytes }) => bytes.byteLength)

    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(50_000_000)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(256 * 1024)
  })

  test('may have extra fields, names, comments and header checksums', async () => {
    const blob = member(small, 2 | 4 | 8 | 16, Buffer.from([3, 0, 1, 2, 3]), Buffer.from('name\0comment\0'), Buffer.from([9, 9]))

    expect((await members(blob, 3)).get(0)).toEqual(small)
  })

  test('an empty blob has none', async () => {
    expect(await inflate(Buffer.alloc(0))).toEqual([])
  })
})

describe('refuses', () => {
  const one = gzipSync(small)
  const flip = (at: number): Buffer => {
    const copy = Buffer.from(one)
    copy[at] = (copy[at] ?? 0) ^ 1
    return copy
  }

  test('data behind the last member', async () => {
    for (const rest of [Buffer.from('garbage that is long enough'), Buffer.alloc(20)]) {
      expect(await lineOf(inflate(Buffer.concat([one, rest]))))
        .toBe(`LAYER_INVALID: layer: at byte ${one.byteLength}: data after the last gzip member`)
    }
  })

  test('what is no gzip', async () => {
    expect(await lineOf(inflate(Buffer.from('0123456789')))).toBe('LAYER_INVALID: layer: at byte 0: not gzip')
  })

  test('a wrong CRC and a wrong length, of the first member and of a later one', async () => {
    const two = (defect: Buffer): Buffer => Buffer.concat([one, defect])
    const at = one.byteLength

    expect(await lineOf(inflate(flip(at - 8)))).toBe('LAYER_INVALID: layer: gzip member at 0: CRC does not match')
    expect(await lineOf(inflate(flip(at - 4)))).toBe('LAYER_INVALID: layer: gzip member at 0: length does not match')
    expect(await lineOf(inflate(two(flip(at - 8))))).toBe(`LAYER_INVALID: layer: gzip member at ${at}: CRC does not match`)
  })

  test('deflate data that is broken', async () => {
    const broken = member(small, 0)
    broken[10] = 0xff

    expect(await lineOf(inflate(broken))).toMatch(/^LAYER_INVALID: layer: gzip data near byte \d+: invalid/)
    expect(await lineOf(inflate(Buffer.concat([one, broken])))).toMatch(/^LAYER_INVALID: layer: gzip data near byte \d+: invalid/)
  })

  test('a blob that is cut, wherever that is', async () => {
    const blob = Buffer.concat([member(small, 4 | 8, Buffer.from([2, 0, 1, 2]), Buffer.from('n\0')), one])
    const first = blob.byteLength - one.byteLength
    for (let length = 1; length < blob.byteLength; length++) {
      const line = await lineOf(inflate(blob.subarray(0, length)))
      if (length === first) expect(line).toBe('no error')
      else expect(line).toMatch(/^LAYER_INVALID: layer: /)
    }
  })

  test('reserved flags and other methods', async () => {
    expect(await lineOf(inflate(member(small, 0x20)))).toMatch(/unknown gzip method or flags/)
    const odd = member(small, 0)
    odd[2] = 7
    expect(await lineOf(inflate(odd))).toMatch(/unknown gzip method or flags/)
  })

  test('a header text without end', async () => {
    const endless = member(small, 8, Buffer.alloc(GZIP_HEADER_BYTES_MAX + 100_000, 'n'))

    expect(await lineOf(inflate(endless))).toMatch(/^LIMIT_EXCEEDED: layer: at byte 0: gzip header has more than 131072 bytes/)
  })
})

test('an error of the source comes through, and the source is closed when the reader leaves', async () => {
  let closed = 0
  async function * source (fails: boolean): AsyncGenerator<Uint8Array> {
    try {
      yield gzipSync(large, { level: 1 }).subarray(0, 1_000_000)
      if (fails) throw new Error('network gone')
      for (;;) yield gzipSync(large, { level: 1 }).subarray(1_000_000, 1_100_000)
    } finally {
      closed++
    }
  }
  expect(await lineOf((async () => { for await (const piece of inflateMembers(source(true), 'layer')) expect(piece.member).toBe(0) })()))
    .toBe('INTERNAL: network gone')
  for await (const piece of inflateMembers(source(false), 'layer')) {
    expect(piece.innerOffset).toBe(0)
    break
  }
  expect(closed).toBe(2)
})
