import { describe, expect, test } from '@jest/globals'
import { decodeIndex, encodeIndex } from '../../src/layer/index-codec.ts'
import type { Chunk, Inode, LayerIndex } from '../../src/layer/layer-index.ts'
import { codeOf } from './errors.ts'
import { truthTar } from './fixtures.ts'
import { indexTar } from './index-tar.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text)

function inode (fields: Partial<Inode>): Inode {
  return {
    kind: 'file', mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, size: 0, linkCount: 1, rdevMajor: 0, rdevMinor: 0,
    target: null, xattrs: [], entries: null, firstChunk: 0, chunkCount: 0, implied: false, ...fields
  }
}

const root = (...entries: Array<[string, number]>): Inode =>
  inode({ kind: 'directory', mode: 0o755, linkCount: 2, entries: entries.map(([name, inode]) => ({ name: bytes(name), inode })) })
const chunk = (fields: Partial<Chunk> = {}): Chunk =>
  ({ fileOffset: 0, size: 1, digest: Buffer.alloc(32, 7), offset: 0, length: 1, innerOffset: 0, ...fields })
const index = (inodes: Inode[], chunks: Chunk[] = []): LayerIndex => ({ format: 'tar', inodes, chunks, prefetchBytes: 0 })

const good = index([
  root(['a', 1], ['b', 1], ['c', 2], ['d', 3]),
  inode({ size: 5, linkCount: 2, chunkCount: 2, mode: 0o4755, uid: 2 ** 32 - 2, gid: 7, mtimeSeconds: -(2 ** 40),
    mtimeNanoseconds: 999_999_999, implied: false }),
  inode({ kind: 'symlink', size: 2, target: bytes('tt'), firstChunk: 2,
    xattrs: [{ name: bytes('a'), value: bytes('') }, { name: bytes('b'), value: Buffer.alloc(300) }] }),
  inode({ kind: 'directory', linkCount: 2, entries: [{ name: bytes('dev'), inode: 4 }], firstChunk: 2, implied: true }),
  inode({ kind: 'block', rdevMajor: 4095, rdevMinor: 2 ** 20 - 1, firstChunk: 2 })
], [chunk({ size: 2, offset: 2 ** 52, length: 9, innerOffset: 4 }), chunk({ fileOffset: 3 })])

/** Without the difference between Buffer and Uint8Array. */
function plain (value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_key, part: unknown) =>
    part instanceof Uint8Array || isBufferJson(part) ? Buffer.from(part as Uint8Array).toString('hex') : part))
}

function isBufferJson (part: unknown): boolean {
  return typeof part === 'object' && part !== null && 'type' in part && part.type === 'Buffer'
}

describe('a record', () => {
  test('is read back as it was', () => {
    const [first] = good.inodes
    const want = { ...good, inodes: [{ ...first, linkCount: 3 }, ...good.inodes.slice(1)] }

    expect(plain(decodeIndex(encodeIndex(good)))).toEqual(plain(want))
  })

  test('of a real layer too, in about 130 bytes an entry', async () => {
    const { index } = await indexTar(truthTar('base'))
    const record = encodeIndex(index)

    expect(plain(decodeIndex(record))).toEqual(plain(index))
    expect(record.byteLength).toBeLessThan(16_000)
  })

  test('cut anywhere is refused, and so is a longer one', () => {
    const record = encodeIndex(good)
    for (let length = 0; length < record.byteLength; length++) {
      expect([length, codeOf(() => decodeIndex(record.subarray(0, length)))])
        .toEqual([length, expect.stringMatching(/^STATE_INVALID: stored layer index: it/)])
    }
    expect(codeOf(() => decodeIndex(Buffer.concat([record, Buffer.alloc(1)]))))
      .toBe('STATE_INVALID: stored layer index: it goes on behind its end')
  })

  test('with any byte changed is refused or still a tree', () => {
    const record = encodeIndex(good)
    for (let at = 0; at < record.byteLength; at++) {
      for (const flip of [1, 0x80, 0xff]) {
        const bad = Buffer.from(record)
        bad[at] = (bad[at] ?? 0) ^ flip
        const line = codeOf(() => decodeIndex(bad))
        expect([at, line]).toEqual([at, expect.stringMatching(/^(no error|STATE_INVALID: stored layer index: )/)])
      }
    }
  })

  test('of another version is refused', () => {
    expect(codeOf(() => decodeIndex(Buffer.from('IPSNIDX2............')))).toBe('STATE_INVALID: stored layer index: it has another version')
  })
})

describe('what is no tree is refused', () => {
  test.each<[string, LayerIndex, string]>([
    ['no inode', index([]), 'there is no root directory'],
    ['a root that is a file', index([inode({})]), 'there is no root directory'],
    ['a name that leads nowhere', index([root(['a', 5])]), 'a name leads to inode 5 of 1'],
    ['an inode without a name', index([root(), inode({})]), '1 inodes have no name'],
    ['a circle', index([root(['a', 1]), root(['b', 0])]), 'the directory 0 has two names'],
    ['a circle apart', index([root(), root(['b', 2]), root(['a', 1])]), '2 inodes have no name'],
    ['a directory with two names', index([root(['a', 1], ['b', 1]), root()]), 'the directory 1 has two names'],
    ['names out of order', index([root(['b', 1], ['a', 1]), inode({})]), 'names are not sorted'],
    ['a name twice', index([root(['a', 1], ['a', 1]), inode({})]), 'names are not sorted'],
    ['an empty name', index([root(['', 1]), inode({})]), 'a name is empty or has NUL or "/" in it'],
    ['a slash in a name', index([root(['a/b', 1]), inode({})]), 'a name is empty or has NUL or "/" in it'],
    ['a dot', index([root(['.', 1]), inode({})]), 'a name is "." or ".."'],
    ['two dots', index([root(['..', 1]), inode({})]), 'a name is "." or ".."'],
    ['xattrs out of order', index([{ ...root(),
      xattrs: [{ name: bytes('b'), value: bytes('') }, { name: bytes('a'), value: bytes('') }] }]), 'xattrs are not sorted'],
    ['a chunk of no file', index([root()], [chunk()]), 'there are chunks of no file'],
    ['a file without its chunk', index([root(['a', 1]), inode({ size: 1, chunkCount: 1 })]), 'chunks are missing'],
    ['a chunk behind its file', index([root(['a', 1]), inode({ size: 1, chunkCount: 1 })], [chunk({ size: 2 })]),
      'a chunk is not inside its file'],
    ['chunks that overlap', index([root(['a', 1]), inode({ size: 3, chunkCount: 2 })], [chunk({ size: 2 }), chunk({ fileOffset: 1 })]),
      'a chunk is not inside its file'],
    ['an empty chunk', index([root(['a', 1]), inode({ size: 3, chunkCount: 1 })], [chunk({ size: 0 })]), 'a chunk is not inside its file']
  ])('%s', (_what, bad, message) => {
    expect(codeOf(() => decodeIndex(encodeIndex(bad)))).toBe(`STATE_INVALID: stored layer index: ${message}`)
  })

  test.each<[string, Partial<Inode>]>([
    ['mode', { mode: 0o10000 }], ['uid', { uid: 2 ** 32 }], ['nanoseconds', { mtimeNanoseconds: 10 ** 9 }],
    ['device', { kind: 'char', rdevMajor: 4096 }], ['target', { kind: 'symlink', target: Buffer.alloc(4096, 'x') }]
  ])('a %s beyond its range', (_what, fields) => {
    expect(codeOf(() => decodeIndex(encodeIndex(index([root(['a', 1]), inode(fields)])))))
      .toMatch(/^STATE_INVALID: stored layer index: a number is greater than/)
  })
})
