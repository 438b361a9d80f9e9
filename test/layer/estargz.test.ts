import { describe, expect, test } from '@jest/globals'
import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { CHUNK_BYTES_MAX, MEMBER_BYTES_MAX, MEMBER_INNER_BYTES_MAX, SUPPLY_ALIGNMENT, TOC_TAIL_BYTES } from '../../src/base/limits.ts'
import { openEstargz, tocDigestOf } from '../../src/layer/estargz.ts'
import { footerBytes, parseFooter } from '../../src/layer/estargz-footer.ts'
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import { indexToc } from '../../src/layer/toc-index.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { codeOf, lineOf } from './errors.ts'
import { type Estargz, estargz, type Item, legacyFooter, type Toc, type TocJson, type WriteOptions } from './estargz-writer.ts'
import { rangeReader } from './fixtures.ts'
import { flatten } from './flatten.ts'
import { inodeAt } from './index-tar.ts'
import { entry, tar } from './tar-writer.ts'

const ITEMS: readonly Item[] = [
  { name: 'd/', type: '5', mode: 0o1777, uid: 3, gid: 4, mtime: 1_700_000_000 },
  { name: 'd/a', data: 'content of a', toc: { xattrs: { 'user.x': 'AAEC', 'user.empty': '' } } },
  { name: 'd/link', type: '1', link: 'd/a' },
  { name: 'e', data: 'x'.repeat(1000) },
  { name: 'empty', data: '' },
  { name: 's', type: '2', link: 'd/a' },
  { name: 'c', type: '3', major: 8, minor: 300 },
  { name: 'p', type: '6' },
  { name: '.wh.gone', data: '' }
]

async function open (layer: Estargz): Promise<LayerIndex> {
  return await openEstargz(rangeReader(layer.blob), layer.blob.byteLength, layer.tocDigest)
}

async function openWith (changeToc: (toc: Toc) => void, options: WriteOptions = {}): Promise<string> {
  return await lineOf(open(estargz(ITEMS, { changeToc, ...options })))
}

/** Changes the TOC entry of that name. */
function lie (name: string, change: TocJson, options: WriteOptions = { chunkBytes: 400 }): Promise<string> {
  return openWith((toc) => { Object.assign(entryOf(toc, name), change) }, options)
}

function entryOf (toc: Toc, name: string): TocJson {
  const found = toc.entries?.find((entry) => entry['name'] === name)
  if (found === undefined) throw new Error(`no ${name}`)
  return found
}

describe('an honest TOC', () => {
  test('becomes the tree that it describes', async () => {
    const flat = flatten(await open(estargz(ITEMS, { chunkBytes: 400 })), () => new Uint8Array(0))

    expect([...flat.keys()]).toEqual(['/', '/c', '/d', '/d/a', '/d/link', '/e', '/empty', '/gone', '/p', '/s'])
    expect(flat.get('/d')).toMatchObject({ type: 'dir', mode: '01777', uid: 3, gid: 4, mtimeNs: '1700000000000000000', implied: false })
    expect(flat.get('/d/a')).toMatchObject({ size: 12, nlink: 2, mtimeNs: '0', xattrs: { 'user.x': '000102', 'user.empty': '' } })
    expect(flat.get('/d/link')).toMatchObject({ sameFileAs: '/d/a' })
    expect(flat.get('/c')).toMatchObject({ type: 'char', rdev: [8, 300] })
    expect(flat.get('/gone')).toMatchObject({ type: 'char', rdev: [0, 0] })
  })

  test('places chunks: member, its length, inner offset, all of the file', async () => {
    const layer = estargz(ITEMS, { chunkBytes: 400 })
    const index = await open(layer)
    const { firstChunk, chunkCount } = index.inodes[inodeAt(index, 'e')] ?? { firstChunk: 0, chunkCount: 0 }
    const chunks = index.chunks.slice(firstChunk, firstChunk + chunkCount)

    expect(chunks.map(({ fileOffset, size, innerOffset }) => [fileOffset, size, innerOffset]))
      .toEqual([[0, 400, 0], [400, 400, 0], [800, 200, 0]])
    expect(chunks.map(({ offset, length }) => offset + length)).toEqual([chunks[1]?.offset, chunks[2]?.offset, layer.tocOffset])
  })

  test('may put everything into the first member, at offset 0', async () => {
    const index = await open(estargz(ITEMS, { oneMember: true }))

    expect(index.chunks.map(({ offset, innerOffset }) => [offset, innerOffset])).toEqual([[0, 1024], [0, 2560]])
  })

  test.each(['"entries": null', '"entries": []'])('may be empty: %s', async (entries) => {
    const index = await open(estargz([], { changeJson: () => `{"version": 1, ${entries}}` }))

    expect(index.inodes).toHaveLength(1)
  })

  test.each([
    ['2024-02-29T23:59:59Z', '1709251199000000000'], ['2039-01-02T03:04:05.000000001Z', '2177550245000000001'],
    ['1970-01-01T01:00:00.5+01:00', '500000000'], ['1969-12-31T23:59:58.5Z', '0'], ['2262-04-11T23:47:16.854775808Z', '0']
  ])('may say %s', async (modtime, want) => {
    const index = await open(estargz(ITEMS, { changeToc: (toc) => { Object.assign(entryOf(toc, 'e'), { modtime }) } }))

    expect(flatten(index, () => new Uint8Array(0)).get('/e')?.mtimeNs).toBe(want)
  })

  test('may have names in any script, escaped or not, and fields we do not know', async () => {
    const changeJson = (json: string): string =>
      json.replace('"name": "e"', '"name": "d/\\u00e9\u{1F600}\\ud83d\\ude00", "future": {"a": [1, null]}')
    const index = await open(estargz(ITEMS, { changeJson }))

    expect(inodeAt(index, 'd/é\u{1F600}\u{1F600}')).toBeGreaterThan(0)
  })
})

describe('landmarks', () => {
  const landmark = (name: string): Item => ({ name, data: '\x0f' })

  test('the prefetch landmark says how many bytes come first, and is gone', async () => {
    const layer = estargz([{ name: 'hot', data: 'h' }, landmark('.prefetch.landmark'), { name: 'cold', data: 'c' }])
    const index = await open(layer)

    expect(index.prefetchBytes).toBe(layer.toc.entries?.[1]?.['offset'])
    expect(index.inodes[0]?.entries?.map(({ name }) => Buffer.from(name).toString())).toEqual(['cold', 'hot'])
  })

  test('inside a shared member it counts to the end of the member', async () => {
    const layer = estargz([{ name: 'hot', data: 'h' }, landmark('.prefetch.landmark')], { oneMember: true })

    expect((await open(layer)).prefetchBytes).toBe(layer.tocOffset)
  })

  test('the other landmark, and none, mean nothing comes first', async () => {
    for (const items of [[landmark('.no.prefetch.landmark'), { name: 'a', data: 'a' }], [{ name: 'a', data: 'a' }],
      [landmark('d/.prefetch.landmark')]]) {
      expect((await open(estargz(items))).prefetchBytes).toBe(0)
    }
  })
})

describe('the tail', () => {
  test('of a small layer is read at once', async () => {
    const layer = estargz(ITEMS)
    const reader = rangeReader(layer.blob)
    await openEstargz(reader, layer.blob.byteLength, layer.tocDigest)

    expect(reader.reads).toEqual([[0, layer.blob.byteLength]])
  })

  test('of a layer with a long TOC is read in two parts', async () => {
    const layer = estargz(ITEMS, { changeJson: (json) => json.replace('{', `{"padding": "${randomBytes(2_500_000).toString('base64')}",`) })
    const reader = rangeReader(layer.blob)
    const index = await openEstargz(reader, layer.blob.byteLength, layer.tocDigest)

    const size = layer.blob.byteLength
    const tail = Math.floor((size - TOC_TAIL_BYTES) / SUPPLY_ALIGNMENT) * SUPPLY_ALIGNMENT
    expect(tail).toBeGreaterThan(layer.tocOffset)
    expect(reader.reads).toEqual([[tail, size - tail], [layer.tocOffset, tail - layer.tocOffset]])
    expect(index.inodes).toHaveLength(9)
  })

  test('may have the legacy footer', async () => {
    expect((await open(estargz(ITEMS, { legacyFooter: true }))).inodes).toHaveLength(9)
  })
})

describe('footers', () => {
  test('are read back from what is written, and known by every byte', () => {
    for (const footer of [Buffer.from(footerBytes(0x1234_5678_9abc)), legacyFooter(0x1234_5678_9abc)]) {
      expect(parseFooter(Buffer.concat([Buffer.from('blob'), footer]))).toEqual({ tocOffset: 0x1234_5678_9abc, size: footer.byteLength })
      for (let at = 0; at < footer.byteLength; at++) {
        const isFree = at >= 4 && at <= 9 // time, flags and system of the gzip header
        const isDigit = at >= footer.byteLength - 35 && at < footer.byteLength - 19
        if (isFree || isDigit) continue
        const bad = Buffer.from(footer)
        bad[at] = (bad[at] ?? 0) ^ 0x20
        expect([at, parseFooter(bad)]).toEqual([at, null])
      }
      expect(parseFooter(footer.subarray(1))).toBeNull()
    }
  })

  test('of no kind, or that point nowhere, are refused', async () => {
    const { blob, tocDigest, tocOffset } = estargz(ITEMS)
    const withFooter = (offset: number): Buffer => Buffer.concat([blob.subarray(0, -51), footerBytes(offset)])
    const line = async (bytes: Buffer): Promise<string> => await lineOf(openEstargz(rangeReader(bytes), bytes.byteLength, tocDigest))

    expect(await line(blob.subarray(0, -1))).toMatch(/^TOC_INVALID: .* does not end in an eStargz footer/)
    expect(await line(Buffer.alloc(0))).toMatch(/^TOC_INVALID/)
    expect(await line(withFooter(blob.byteLength - 51))).toMatch(/^TOC_INVALID: .*its footer puts the TOC at \d+ of \d+ bytes/)
    expect(await line(withFooter(2 ** 52))).toMatch(/^TOC_INVALID: .*its footer puts the TOC at/)
    expect(await line(withFooter(tocOffset + 1))).toMatch(/^TOC_INVALID: .*the TOC does not inflate/)
    expect(await line(withFooter(0))).toMatch(/^TOC_INVALID: .*its footer points at no TOC/)
    expect(await line(withFooter(tocOffset))).toBe('no error')
  })
})

describe('before anything is parsed', () => {
  test('the TOC must match the digest of the annotation', async () => {
    const layer = estargz(ITEMS, { changeJson: () => 'not even JSON' })
    const other = digestOf(Buffer.from('other'))

    expect(await lineOf(openEstargz(rangeReader(layer.blob), layer.blob.byteLength, other)))
      .toBe(`DIGEST_MISMATCH: TOC of layer with TOC ${other}: want ${other}, got ${layer.tocDigest}`)
  })

  test('a TOC that inflates beyond the limit ends there', async () => {
    const bomb = Buffer.concat([gzipSync(Buffer.alloc(135_000_000)), footerBytes(0)])

    expect(await lineOf(openEstargz(rangeReader(bomb), bomb.byteLength, digestOf(bomb))))
      .toMatch(/^LIMIT_EXCEEDED: .*TOC of more than 134217728 bytes/)
  })

  test('only the one entry stargz.index.json is a TOC', async () => {
    const json = Buffer.from('{"version":1,"entries":[]}')
    for (const [entries, good] of [[['stargz.index.json'], true], [['other.json'], false],
      [['stargz.index.json', 'more'], false]] as const) {
      const blob = Buffer.concat([gzipSync(tar(...entries.map((name) => entry(name, { data: json })))), footerBytes(0)])
      const line = await lineOf(openEstargz(rangeReader(blob), blob.byteLength, digestOf(json)))
      expect(line).toMatch(good ? /^no error/ : /^TOC_INVALID: .*its footer points at no TOC/)
    }
  })
})

describe('the annotation', () => {
  const claims = { digest: digestOf(Buffer.from('blob')), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' }
  const key = 'containerd.io/snapshot/stargz/toc.digest'

  test('makes a layer lazy, and its absence makes it plain', () => {
    expect(tocDigestOf({ ...claims, annotations: { [key]: claims.digest } })).toBe(claims.digest)
    expect(tocDigestOf({ ...claims, annotations: {} })).toBeNull()
  })

  test('must be a sha256 digest', () => {
    for (const value of ['', 'sha256:', claims.digest.toUpperCase(), `sha512:${'a'.repeat(128)}`]) {
      expect(codeOf(() => tocDigestOf({ ...claims, annotations: { [key]: value } }))).toMatch(/^TOC_INVALID: layer sha256:\w+: annotation/)
    }
  })
})

describe('a TOC that is not strict JSON', () => {
  test.each([
    ['duplicate keys', (json: string) => json.replace('"name": "e"', '"name": "x", "name": "e"'), /duplicate key "name"/],
    ['duplicate top keys', (json: string) => json.replace('{', '{"version": 1,'), /duplicate key "version"/],
    ['a second list of entries', (json: string) => json.replace('{', '{"entries": [],'), /duplicate key "entries"/],
    ['duplicate xattrs', (json: string) => json.replace('"user.x": "AAEC"', '"user.x": "", "user.x": "AAEC"'), /duplicate key "user.x"/],
    ['data after the end', (json: string) => `${json}{}`, /data after the end/],
    ['a key that Go takes for another', (json: string) => json.replace('"name": "e"', '"name": "e", "Name": "x"'), /has the field "Name"/],
    ['a key in the Kelvin alphabet', (json: string) => json.replace('"name": "e"', '"name": "e", "lin\u212aName": "x"'),
      /which Go takes for another/],
    ['a second Entries', (json: string) => json.replace('{', '{"Entries": [],'), /unknown version/],
    ['half a surrogate pair', (json: string) => json.replace('"name": "e"', '"name": "\\ud800"'), /half a surrogate pair/],
    ['no JSON', () => 'null', /is no JSON object/],
    ['another version', (json: string) => json.replace('"version": 1', '"version": 2'), /unknown version/],
    ['entries that are no list', () => '{"version": 1, "entries": {}}', /has no list of entries/],
    ['an entry that is no object', () => '{"version": 1, "entries": [[]]}', /is no object/]
  ])('%s', async (_what, changeJson, message) => {
    const line = await lineOf(open(estargz(ITEMS, { changeJson })))

    expect(line).toMatch(/^TOC_INVALID/)
    expect(line).toMatch(message)
  })

  test('invalid UTF-8', () => {
    expect(codeOf(() => indexToc(Buffer.from('{"version":1,"entries":[{"name":"\xff"}]}', 'latin1'), 100, digestOf(Buffer.alloc(0)))))
      .toMatch(/^TOC_INVALID: .*not UTF-8/)
  })

  test('depth beyond the limit', async () => {
    const nested = (depth: number): string => `{"version":1,"entries":[],"x":${'['.repeat(depth)}${']'.repeat(depth)}}`

    expect(await lineOf(open(estargz([], { changeJson: () => nested(63) })))).toBe('no error')
    expect(await lineOf(open(estargz([], { changeJson: () => nested(64) })))).toMatch(/^LIMIT_EXCEEDED: .*nests deeper than 64/)
  })
})

describe('a lying TOC: fields', () => {
  test.each<[string, TocJson, RegExp]>([
    ['NUL in the name', { name: 'a\0b' }, /has NUL or "\.\." in its name/],
    ['".." in the name', { name: 'a/../../etc' }, /has NUL or "\.\." in its name/],
    ['".." alone', { name: '..' }, /has NUL or/],
    ['a name that is no text', { name: 5 }, /has a name that is no text/],
    ['an unknown type', { type: 'socket' }, /has an unknown type/],
    ['no type', { type: undefined }, /has an unknown type/],
    ['a fraction for size', { size: 1000.5 }, /has a size that is no whole number/],
    ['a negative size', { size: -1 }, /has a size that is no whole number/],
    ['a size beyond 2^53', { size: 2 ** 60 }, /has a size that is no whole number/],
    ['text for a number', { uid: '0' }, /has a uid that is no whole number/],
    ['null for a number', { gid: null }, /has a gid that is no whole number/],
    ['a digest of another kind', { chunkDigest: 'sha512:abc' }, /has a chunkDigest that is no sha256 digest/],
    ['a time without zone', { modtime: '2024-01-01T00:00:00' }, /which is no RFC 3339 time/],
    ['30 February', { modtime: '2024-02-30T00:00:00Z' }, /which is no RFC 3339 time/],
    ['a leap second', { modtime: '2016-12-31T23:59:60Z' }, /which is no RFC 3339 time/],
    ['hour 24', { modtime: '2024-01-01T24:00:00Z' }, /which is no RFC 3339 time/],
    ['xattrs that are no object', { xattrs: [] }, /has xattrs that are no object/],
    ['xattrs that are not base64', { xattrs: { 'user.a': '*AA' } }, /that is not base64/],
    ['base64 without its padding', { xattrs: { 'user.a': 'AA' } }, /that is not base64/],
    ['NUL in an xattr name', { xattrs: { 'user.\0': '' } }, /NUL in an xattr name/],
    ['an owner beyond 32 bits', { uid: 2 ** 32 }, /has the owner/]
  ])('%s', async (_what, change, message) => {
    const line = await lie('e', change)

    expect(line).toMatch(/^TOC_INVALID: /)
    expect(line).toMatch(message)
  })

  test('a hard link to nothing, a path below a file', async () => {
    expect(await lie('d/link', { linkName: 'nothing' })).toMatch(/^TOC_INVALID: .*"d\/link" is a hard link to "nothing"/)
    expect(await lie('p', { name: 'e/p' })).toMatch(/^TOC_INVALID: .*lies below "e"/)
  })
})

describe('a lying TOC: chunks', () => {
  const chunk = (toc: Toc, at: number): TocJson => toc.entries?.filter((entry) => entry['chunkDigest'] !== undefined)[at] ?? {}
  const change = async (at: number, fields: TocJson): Promise<string> =>
    await openWith((toc) => { Object.assign(chunk(toc, at), fields) }, { chunkBytes: 400 })

  test('the honest one is accepted', async () => {
    expect(await change(1, {})).toBe('no error')
  })

  test.each<[string, number, TocJson, RegExp]>([
    ['a file that ends before its last chunk', 1, { size: 800 }, /has a chunk of 0 bytes at 800; 800 of 800 are covered/],
    ['a file that ends inside a chunk', 1, { size: 700 }, /has a chunk of 400 bytes at 400; 400 of 700 are covered/],
    ['a first chunk that is the whole file, and more chunks', 1, { chunkSize: 0 }, /has a chunk of 400 bytes at 400; 1000 of 1000|digest/],
    ['an overlap in the file', 2, { chunkOffset: 399 }, /has a chunk of 400 bytes at 399; 400 of 1000 are covered/],
    ['a gap in the file', 2, { chunkOffset: 401 }, /has a chunk of 400 bytes at 401; 400 of 1000 are covered/],
    ['a first chunk that does not start the file', 1, { chunkOffset: 1 }, /has a chunk of 400 bytes at 1; 0 of 1000 are covered/],
    ['a last chunk that ends early', 3, { chunkSize: 199 }, /has 1000 bytes, chunks cover 999/],
    ['a last chunk that ends late', 3, { chunkSize: 201 }, /has a chunk of 201 bytes at 800/],
    ['a chunk without digest', 2, { chunkDigest: undefined }, /has a chunk without chunkDigest/],
    ['a chunk of another file', 2, { name: 'd/a' }, /is a chunk of no file before it/],
    ['two digests for one chunk', 0, { digest: `sha256:${'0'.repeat(64)}` }, /has one chunk, but digest and chunkDigest differ/],
    ['a member at 0', 1, { offset: 0 }, /is at 0; the member before starts at/],
    ['members out of order', 2, { offset: 1 }, /is at 1; the member before starts at/],
    ['a member behind the TOC', 3, { offset: 10 ** 9 }, /the TOC at/],
    ['a member inside another', 2, { offset: undefined, innerOffset: 5 }, /is at 0; the member before/]
  ])('%s', async (_what, at, fields, message) => {
    const line = await change(at, fields)

    expect(line).toMatch(/^TOC_INVALID: /)
    expect(line).toMatch(message)
  })

  test('a file that its chunks do not fill', async () => {
    const line = await openWith((toc) => { chunk(toc, 1)['size'] = 1001; chunk(toc, 3)['chunkSize'] = 200 }, { chunkBytes: 400 })

    expect(line).toMatch(/^TOC_INVALID: .*"e" has 1001 bytes, chunks cover 1000/)
  })

  test('chunks that overlap in one member', async () => {
    const line = await openWith((toc) => { chunk(toc, 1)['innerOffset'] = 1024 + 11 }, { oneMember: true })

    expect(line).toMatch(/^TOC_INVALID: .*"e" overlaps the chunk before it in the member at 0/)
  })

  test('data where the first header must be', async () => {
    expect(await openWith((toc) => { chunk(toc, 0)['innerOffset'] = 511 }, { oneMember: true })).toMatch(/^TOC_INVALID: .*overlaps/)
  })

  test('a chunk of no file', async () => {
    const line = await openWith((toc) => { toc.entries?.unshift({ name: 'd/a', type: 'chunk', offset: 1,
      chunkDigest: digestOf(Buffer.alloc(0)) }) })

    expect(line).toMatch(/^TOC_INVALID: .*is a chunk of no file before it/)
  })
})

describe('limits of a TOC', () => {
  const digest = digestOf(Buffer.alloc(0))
  const one = (fields: TocJson, tocOffset = 10 ** 6): string => codeOf(() =>
    indexToc(Buffer.from(JSON.stringify({ version: 1,
      entries: [{ name: 'a', type: 'reg', offset: 100, chunkDigest: digest, ...fields }] })), tocOffset, digest))

  test('a chunk may have CHUNK_BYTES_MAX bytes and not one more', () => {
    expect(one({ size: CHUNK_BYTES_MAX })).toBe('no error')
    expect(one({ size: CHUNK_BYTES_MAX + 1 })).toMatch(/^LIMIT_EXCEEDED: .*chunk of 16777217 bytes, limit 16777216/)
  })

  test('a member may have MEMBER_BYTES_MAX bytes and not one more', () => {
    expect(one({ size: 1 }, 100 + MEMBER_BYTES_MAX)).toBe('no error')
    expect(one({ size: 1 }, 101 + MEMBER_BYTES_MAX)).toMatch(/^LIMIT_EXCEEDED: .*member of 20971521 bytes at 100, limit 20971520/)
  })

  test('a chunk may end MEMBER_INNER_BYTES_MAX into its member and not one byte further', () => {
    expect(one({ size: 1, innerOffset: MEMBER_INNER_BYTES_MAX - 1 })).toBe('no error')
    expect(one({ size: 1, innerOffset: MEMBER_INNER_BYTES_MAX })).toMatch(/^LIMIT_EXCEEDED: .*place in its member/)
  })

  test('a file may not be larger than any device', () => {
    expect(one({ size: 2 ** 50, chunkSize: 1 })).toMatch(/^LIMIT_EXCEEDED: .*size of 1125899906842624 bytes/)
  })
})
