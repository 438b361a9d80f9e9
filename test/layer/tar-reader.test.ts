import { describe, expect, test } from '@jest/globals'
import { PATH_BYTES_MAX, PAX_BYTES_MAX } from '../../src/base/limits.ts'
import type { LayerEntry } from '../../src/layer/layer-entry.ts'
import { readTar } from '../../src/layer/tar-reader.ts'
import { lineOf } from './errors.ts'
import { pieces } from './fixtures.ts'
import { entry, gnuLong, header, padding, paxRecord, paxRecords, putNumber, tar } from './tar-writer.ts'

interface ReadEntry extends LayerEntry { readonly content: string }

async function read (bytes: Uint8Array, pieceBytes = 700): Promise<ReadEntry[]> {
  const found: Array<{ entry: LayerEntry, content: Buffer }> = []
  for await (const event of readTar(pieces(bytes, pieceBytes), 'layer')) {
    if (event.kind === 'entry') found.push({ entry: event.entry, content: Buffer.alloc(event.entry.size) })
    else {
      found.at(-1)?.content.set(event.bytes, event.fileOffset)
      expect(Buffer.from(bytes.subarray(event.tarOffset, event.tarOffset + event.bytes.byteLength))).toEqual(Buffer.from(event.bytes))
    }
  }
  return found.map(({ entry, content }) => ({ ...entry, content: content.toString('latin1') }))
}

async function one (bytes: Uint8Array): Promise<ReadEntry> {
  const [first, ...rest] = await read(bytes)
  expect(rest).toEqual([])
  if (first === undefined) throw new Error('no entry')
  return first
}

describe('headers', () => {
  test.each([1, 511, 512, 513, 4096])('reads the same from pieces of %i bytes', async (size) => {
    const bytes = tar(entry('a', { data: 'x'.repeat(700) }), entry('d/', { type: '5' }), entry('b', { data: 'yz' }))

    expect((await read(bytes, size)).map(({ path, type, content }) => [path, type, content]))
      .toEqual([['a', 'file', 'x'.repeat(700)], ['d/', 'directory', ''], ['b', 'file', 'yz']])
  })

  test.each([
    ['octal', 0o1234567, 0o1234567], ['base-256', 2 ** 40, 2 ** 40], ['negative base-256', -1_500, -1_500]
  ])('reads %s times', async (_form, mtime, want) => {
    expect((await one(tar(entry('a', { mtime })))).mtimeSeconds).toBe(want)
  })

  test('reads numbers that blanks and NULs surround', async () => {
    const bytes = tar(entry('a', { patch: (block) => { block.write('  0750 \0', 100, 'latin1') } }))

    expect((await one(bytes)).mode).toBe(0o750)
  })

  test.each(['9', '12x', '-1'])('refuses the number %p', async (digits) => {
    const bytes = tar(entry('a', { patch: (block) => { block.write(`${digits}\0\0\0\0\0`, 108, 'latin1') } }))

    expect(await lineOf(read(bytes))).toBe('LAYER_INVALID: layer: tar offset 0: tar header holds a malformed number at byte 108')
  })

  test('refuses a base-256 number that no double holds', async () => {
    const bytes = tar(entry('a', { patch: (block) => { block.fill(0xff, 136, 148); block[136] = 0x80; block[140] = 0x7f } }))

    expect(await lineOf(read(bytes))).toMatch(/^LAYER_INVALID: .*malformed number/)
  })

  test('accepts the signed checksum of old tars and refuses any other', async () => {
    const block = header('ä', {})
    const signed = block.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 32 : byte < 128 ? byte : byte - 256), 0)
    block.write(signed.toString(8).padStart(6, '0'), 148, 'latin1')
    expect((await one(tar(block))).path).toBe('Ã¤') // one character per byte

    block.write('000001', 148, 'latin1')
    expect(await lineOf(read(tar(block)))).toBe('LAYER_INVALID: layer: tar offset 0: tar header checksum does not match')
  })

  test('joins the prefix of ustar, the shorter one of star, none of v7 and GNU', async () => {
    const star = (block: Buffer): void => { block.write('tar\0', 508, 'latin1'); block.write('00000001\0', 476, 'latin1') }

    expect((await one(tar(entry('b', { prefix: 'a' })))).path).toBe('a/b')
    expect((await one(tar(entry('b', { prefix: 'a', patch: star })))).path).toBe('a/b')
    expect((await one(tar(entry('b', { prefix: 'a', magic: '\0\0\0\0\0\0\0\0' })))).path).toBe('b')
    expect((await one(tar(entry('b', { prefix: '00000000017\0', magic: 'ustar  \0' })))).path).toBe('b')
    expect((await one(tar(entry('b', { prefix: 'old-go-writer', magic: 'ustar  \0' })))).path).toBe('old-go-writer/b')
  })

  test('takes an old regular file with a slash at its end for a directory', async () => {
    expect((await one(tar(entry('d/', { type: '\0' })))).type).toBe('directory')
    expect((await one(tar(entry('f', { type: '\0' })))).type).toBe('file')
  })

  test.each(['7', 'V', 'M', 'D', 'X', 'Z'])('refuses the entry type %s', async (type) => {
    expect(await lineOf(read(tar(entry('a', { type }))))).toBe(`LAYER_INVALID: layer: tar offset 0: "a" has the tar type "${type}"`)
  })

  test('ignores the size of entries that have no content', async () => {
    const bytes = tar(entry('l', { type: '2', link: 't', size: 4096 }), entry('h', { type: '1', link: 'x', size: 1 }),
      entry('f', { data: '1' }))

    expect((await read(bytes)).map(({ path, size }) => [path, size])).toEqual([['l', 0], ['h', 0], ['f', 1]])
  })

  test('reads devices of ustar and none of v7', async () => {
    expect(await one(tar(entry('c', { type: '3', major: 8, minor: 300 }))))
      .toMatchObject({ type: 'char', deviceMajor: 8, deviceMinor: 300 })
    expect(await one(tar(entry('c', { type: '4', major: 8, magic: '\0\0\0\0\0\0' })))).toMatchObject({ type: 'block', deviceMajor: 0 })
  })
})

describe('GNU long names', () => {
  test('replace name and link, for one entry only', async () => {
    const bytes = tar(gnuLong('L', 'n'.repeat(300)), gnuLong('K', 't'.repeat(200)), entry('short', { type: '2', link: 'short' }),
      entry('next'))

    expect((await read(bytes)).map(({ path, linkTarget }) => [path, linkTarget]))
      .toEqual([['n'.repeat(300), 't'.repeat(200)], ['next', '']])
  })
})

describe('PAX', () => {
  test('replaces path, link, ids, size and time, for one entry only', async () => {
    const pax = { path: 'p/ä', linkpath: 'l', uid: '3000000', gid: '70000', size: '3', mtime: '1.5' }
    const bytes = tar(entry('x', { pax, size: 0, data: 'abc' }), entry('y', { data: 'd' }))
    const [first, second] = await read(bytes)

    expect(first).toMatchObject({ path: Buffer.from('p/ä').toString('latin1'), uid: 3_000_000, gid: 70_000, mtimeSeconds: 1,
      mtimeNanoseconds: 500_000_000, content: 'abc' })
    expect(second).toMatchObject({ path: 'y', uid: 0, content: 'd' })
  })

  test.each([
    ['-1.5', -2, 500_000_000], ['-0.25', -1, 750_000_000], ['-3', -3, 0], ['4102444800.000000001', 4_102_444_800, 1],
    ['7.1234567899', 7, 123_456_789], ['7.', 7, 0], ['0', 0, 0]
  ])('reads the time %s', async (mtime, seconds, nanoseconds) => {
    expect(await one(tar(entry('a', { pax: { mtime } })))).toMatchObject({ mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds })
  })

  test.each(['', '.5', '1.5x', '1e3', '--1'].filter((text) => text !== ''))('refuses the time %p', async (mtime) => {
    expect(await lineOf(read(tar(entry('a', { pax: { mtime } }))))).toMatch(/^LAYER_INVALID: .*malformed PAX time/)
  })

  test('keeps every byte of xattrs, equals signs, newlines and NULs too', async () => {
    const value = Uint8Array.from({ length: 256 }, (_, i) => i)
    const { xattrs } = await one(tar(entry('a',
      { pax: { 'SCHILY.xattr.user.b': value, 'SCHILY.xattr.user.e': '', 'SCHILY.xattr.user.x': 'a=b\n=' } })))

    expect([...xattrs.keys()]).toEqual(['user.b', 'user.e', 'user.x'])
    expect(Buffer.from(xattrs.get('user.b') ?? []).equals(value)).toBe(true)
    expect(xattrs.get('user.e')).toHaveLength(0)
    expect(Buffer.from(xattrs.get('user.x') ?? []).toString()).toBe('a=b\n=')
  })

  test('ignores LIBARCHIVE.xattr, as containerd does', async () => {
    expect((await one(tar(entry('a', { pax: { 'LIBARCHIVE.xattr.user.a': 'AAAA' } })))).xattrs.size).toBe(0)
  })

  test('is not misled by keys of Object.prototype', async () => {
    const bytes = tar(entry('a', { pax: { __proto__x: '1', constructor: '2', toString: '3', 'SCHILY.xattr.__proto__': '4' } }))

    expect([...(await one(bytes)).xattrs.keys()]).toEqual(['__proto__'])
  })

  test('the last of two equal records counts, and an empty one does not', async () => {
    const data = Buffer.concat([paxRecord('path', 'first'), paxRecord('path', 'last'), paxRecord('linkpath', '')])
    const bytes = tar(entry('pax', { type: 'x', data }), entry('a', { type: '2', link: 'kept' }))

    expect(await one(bytes)).toMatchObject({ path: 'last', linkTarget: 'kept' })
  })

  test('global headers are ignored, as in Go', async () => {
    expect((await one(tar(entry('g', { type: 'g', data: paxRecords({ path: 'global' }) }), entry('a')))).path).toBe('a')
  })

  test.each([
    ['no length', 'path=x\n'], ['a length that is too long', '99 path=x\n'], ['no newline', '9 path=x!'], ['no equals sign', '8 pathx\n'],
    ['a length of 4', '4 =\n'], ['a negative length', '-9 path=x\n'], ['NUL in the path', '11 path=a\0b\n'],
      ['NUL in the key', '11 pa\0h=ab\n']
  ])('refuses records with %s', async (_what, data) => {
    expect(await lineOf(read(tar(entry('pax', { type: 'x', data }), entry('a')))))
      .toBe('LAYER_INVALID: layer: tar offset 0: malformed PAX header')
  })

  test.each(['uid', 'gid', 'size'])('refuses a malformed %s', async (key) => {
    expect(await lineOf(read(tar(entry('a', { pax: { [key]: '12a' } })))))
      .toBe(`LAYER_INVALID: layer: tar offset 1024: malformed PAX ${key}`)
  })
})

describe('limits', () => {
  test('an extended header may have PAX_BYTES_MAX bytes and not one more', async () => {
    const exactly = (size: number): Buffer => tar(entry('pax', { type: 'x', data: fill(size) }), entry('a'))

    expect((await one(exactly(PAX_BYTES_MAX))).path).toBe('a')
    expect(await lineOf(read(exactly(PAX_BYTES_MAX + 1)))).toMatch(/^LIMIT_EXCEEDED: .*extended header of 1048577 bytes, limit 1048576/)
  })

  test('a path may have PATH_BYTES_MAX bytes and not one more', async () => {
    expect((await one(tar(entry('a', { pax: { path: 'n'.repeat(PATH_BYTES_MAX) } })))).path).toHaveLength(PATH_BYTES_MAX)
    expect(await lineOf(read(tar(entry('a', { pax: { path: 'n'.repeat(PATH_BYTES_MAX + 1) } })))))
      .toMatch(/^LIMIT_EXCEEDED: .*path of 4097 bytes/)
  })

  test('a link target may have 4095 bytes and not one more', async () => {
    const link = (length: number): Buffer => tar(entry('a', { type: '2', pax: { linkpath: 'n'.repeat(length) } }))

    expect((await one(link(4095))).linkTarget).toHaveLength(4095)
    expect(await lineOf(read(link(4096)))).toMatch(/^LIMIT_EXCEEDED: .*link target of 4096 bytes, limit 4095/)
  })

  /** One PAX record of exactly `size` bytes. */
  function fill (size: number): Buffer {
    for (let length = size - 20; ; length++) {
      const record = paxRecord('comment', 'c'.repeat(length))
      if (record.byteLength === size) return record
    }
  }
})

describe('the end', () => {
  const a = entry('a', { data: 'x' })

  test.each([
    ['two zero blocks', tar(a)], ['one zero block', Buffer.concat([a, Buffer.alloc(512)])], ['nothing', a],
    ['no padding', a.subarray(0, 513)], ['anything behind the mark', Buffer.concat([tar(a), Buffer.from('garbage')])]
  ])('may be %s', async (_what, bytes) => {
    expect((await one(bytes)).content).toBe('x')
  })

  test.each([
    ['inside a header', a.subarray(0, 100), 0], ['inside content', entry('a', { data: 'x'.repeat(600) }).subarray(0, 1024), 0],
    ['inside a PAX header', entry('pax', { type: 'x', data: paxRecords({ a: 'b' }) }).subarray(0, 515), 0]
  ])('may not come %s', async (_what, bytes, offset) => {
    expect(await lineOf(read(bytes))).toBe(`LAYER_INVALID: layer: tar offset ${offset}: the tar ends in the middle of an entry`)
  })

  test('a lone zero block among the entries is refused', async () => {
    expect(await lineOf(read(Buffer.concat([a, Buffer.alloc(512), a]))))
      .toBe('LAYER_INVALID: layer: tar offset 1024: a zero block stands among the entries')
  })

  test('no entry at all is an empty layer', async () => {
    expect(await read(Buffer.alloc(1024))).toEqual([])
    expect(await read(Buffer.alloc(0))).toEqual([])
  })
})

describe('sparse files', () => {
  const content = `${'\0'.repeat(1024)}${'A'.repeat(512)}${'\0'.repeat(1000)}BCD${'\0'.repeat(97)}`
  const stored = `${'A'.repeat(512)}BCD`
  const size = content.length
  const map = [1024, 512, 2536, 3]

  test('PAX 0.0: repeated records', async () => {
    const pairs = Buffer.concat([0, 2].flatMap((at) =>
      [paxRecord('GNU.sparse.offset', String(map[at])), paxRecord('GNU.sparse.numbytes', String(map[at + 1]))]))
    const data = Buffer.concat([paxRecord('GNU.sparse.size', String(size)), paxRecord('GNU.sparse.numblocks', '2'), pairs])

    expect(await one(tar(entry('pax', { type: 'x', data }), entry('s', { data: stored })))).toMatchObject({ path: 's', size, content })
  })

  test('PAX 0.1: a map in one record, and the name in another', async () => {
    const pax = { 'GNU.sparse.size': String(size), 'GNU.sparse.numblocks': '2', 'GNU.sparse.name': 'real', 'GNU.sparse.map': map.join(',') }

    expect(await one(tar(entry('s', { pax, data: stored })))).toMatchObject({ path: 'real', size, content })
  })

  test('PAX 1.0: the map in the content', async () => {
    const text = Buffer.from(`2\n${map.join('\n')}\n`)
    const pax = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'real', 'GNU.sparse.realsize': String(size) }
    const data = Buffer.concat([text, padding(text.byteLength), Buffer.from(stored)])

    expect((await read(tar(entry('s', { pax, data }), entry('next', { data: 'n' })))).map(({ path, content }) => [path, content]))
      .toEqual([['real', content], ['next', 'n']])
  })

  test('old GNU: the map in the header and in extension blocks', async () => {
    const five = [0, 1, 10, 1, 20, 1, 30, 1, 40, 1]
    const extension = Buffer.alloc(512)
    five.slice(8).forEach((value, i) => { putNumber(extension, i * 12, 12, value) })
    const block = header('s', {
      type: 'S',
      magic: 'ustar  \0',
      size: 5,
      patch: (block) => {
        five.slice(0, 8).forEach((value, i) => { putNumber(block, 386 + i * 12, 12, value) })
        block[482] = 1
        putNumber(block, 483, 12, 50)
      }
    })
    const bytes = tar(block, extension, Buffer.from('abcde'), padding(5), entry('next'))
    const gap = '\0'.repeat(9)

    expect((await read(bytes)).map(({ path, content }) => [path, content]))
      .toEqual([['s', `a${gap}b${gap}c${gap}d${gap}e${gap}`], ['next', '']])
  })

  test('a file of nothing but a hole has a size and no data', async () => {
    const pax = { 'GNU.sparse.major': '0', 'GNU.sparse.minor': '1', 'GNU.sparse.size': '100000', 'GNU.sparse.map': '' }

    expect(await one(tar(entry('s', { pax })))).toMatchObject({ size: 100_000, content: '\0'.repeat(100_000) })
  })

  test.each([
    ['pieces out of order', [10, 1, 5, 1], 2, 100], ['overlapping pieces', [0, 5, 4, 1], 6, 100],
      ['a piece behind the end', [99, 2], 2, 100],
    ['fewer bytes than the archive', [0, 1], 2, 100], ['more bytes than the archive', [0, 3], 2, 100],
      ['a negative offset', [-1, 2], 2, 100]
  ])('refuses a map with %s', async (_what, numbers, payload, total) => {
    const pax = { 'GNU.sparse.size': String(total), 'GNU.sparse.map': numbers.join(',') }

    expect(await lineOf(read(tar(entry('s', { pax, data: 'x'.repeat(payload) })))))
      .toMatch(/^LAYER_INVALID: layer: tar offset 1024: sparse file: its map/)
  })

  test.each([
    ['is odd', '1,2,3'], ['is no number', 'a,b']
  ])('refuses a map that %s', async (_what, value) => {
    expect(await lineOf(read(tar(entry('s', { pax: { 'GNU.sparse.size': '9', 'GNU.sparse.map': value } })))))
      .toMatch(/sparse file: its map/)
  })

  test('refuses a 1.0 map that is longer than the content, and one that counts too far', async () => {
    const pax = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '100' }

    for (const data of ['9\n0\n1\n', 'x', '1', '99999999999999999999\n', 'x\n'.padEnd(512, '\0'), '\n'.padEnd(512, '\0'), '1 \n'.padEnd(512, '\0')]) {
      expect(await lineOf(read(tar(entry('s', { pax, data }))))).toMatch(/^LAYER_INVALID: .*sparse file: its map/)
    }
  })

  test('refuses a sparse file larger than any device', async () => {
    const pax = { 'GNU.sparse.size': String(2 ** 50), 'GNU.sparse.map': '' }

    expect(await lineOf(read(tar(entry('s', { pax }))))).toMatch(/^LIMIT_EXCEEDED: .*file of 1125899906842624 bytes/)
  })
})
