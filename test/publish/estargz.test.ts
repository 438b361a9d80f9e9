// The eStargz writer on hand-made layers: order, landmarks, chunks, what stays verbatim, and what cannot be lazy.
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { openEstargz } from '../../src/layer/estargz.ts'
import type { Published, PublishOptions } from '../../src/publish/publish.ts'
import { parseDigest } from '../../src/verify/digest.ts'
import { rangeReader } from '../layer/fixtures.ts'
import { flatten } from '../layer/flatten.ts'
import { indexTar } from '../layer/index-tar.ts'
import { entry, gnuLong, tar } from '../layer/tar-writer.ts'
import { writeDockerImage } from './docker-image.ts'
import { memberContents } from './member-contents.ts'
import { blobOf, inFolder, jsonOf, publishTo, readLayout, sha256 } from './published.ts'
import { FirstChoice } from '../../src/publish/first-choice.ts'
import type { PlacedEntry } from '../../src/publish/tar-entries.ts'

interface TocEntry {
  name: string, type: string, size?: number, offset?: number, chunkOffset?: number, chunkSize?: number, chunkDigest?: string, digest?: string,
  modtime?: string, linkName?: string, xattrs?: Record<string, string>, userName?: string
}

interface Made {
  readonly published: Published
  readonly blob: Buffer
  readonly tar: Buffer
  readonly toc: TocEntry[]
  readonly tocOffset: number
  readonly names: string[]
}

const NO_LANDMARK = '.no.prefetch.landmark'
const LANDMARK = '.prefetch.landmark'
const TOC = 'stargz.index.json'

describe('order', () => {
  test('puts the no-prefetch landmark first and the table last', async () => {
    const { names, toc } = await make([entry('a', { data: 'A' }), entry('b/', { type: '5' })])

    expect(names).toEqual([NO_LANDMARK, 'a', 'b/', TOC])
    expect(toc.map(({ name }) => name)).toEqual([NO_LANDMARK, 'a', 'b/'])
  })

  test('puts wanted files first, in the order of the list, with parents and link targets, then the landmark', async () => {
    const made = await make([
      entry('etc/', { type: '5' }), entry('etc/one', { data: '1' }), entry('usr/', { type: '5' }), entry('usr/bin/', { type: '5' }),
      entry('usr/bin/tool', { data: 'tool' }), entry('usr/bin/alias', { type: '1', link: 'usr/bin/tool' }), entry('zero')
    ], { wanted: ['usr/bin/alias', 'etc/one', 'not/there', 'usr/bin/tool'] })

    expect(made.names).toEqual(['usr/', 'usr/bin/', 'usr/bin/tool', 'usr/bin/alias', 'etc/', 'etc/one', LANDMARK, 'zero', TOC])
    const index = await indexOf(made)
    expect(index.prefetchBytes).toBe(made.toc.find(({ name }) => name === LANDMARK)?.offset)
  })

  test.each([
    ['a name that occurs twice', [entry('x', { data: '1' }), entry('y', { data: '2' }), entry('x', { data: '3' })], 'x'],
    ['a name beside its own whiteout', [entry('d/.wh.x'), entry('d/x', { data: '2' })], 'd/x'],
    ['a whiteout', [entry('a', { data: '1' }), entry('.wh.x')], '.wh.x'],
    ['what lies behind a link', [
      entry('usr', { type: '2', link: 'real' }), entry('lib', { type: '2', link: 'usr' }), entry('lib/x', { data: '2' })
    ], 'lib/x'],
    ['a hard link to what must not move', [entry('a', { data: '1' }), entry('a', { data: '2' }), entry('b', { type: '1', link: 'a' })], 'b'],
    ['a link that others lie below', [entry('d/', { type: '5' }), entry('d/x', { data: '1' }), entry('d', { type: '2', link: 'e' })], 'd']
  ])('does not move %s', async (_what, entries, wanted) => {
    const made = await make(entries, { wanted: [wanted] })

    expect(made.names[0]).toBe(NO_LANDMARK)
    expect(await treeOf(made)).toEqual(await sourceTree(tar(...entries)))
  })

  test('takes a file of 30,000 names once, however many of them are wanted', () => {
    const names = Array.from({ length: 30_000 }, (_, at) => `name-${at}`)
    const choice = new FirstChoice()
    for (const [at, path] of names.entries()) {
      choice.see(path, { ...placed, headerOffset: at * 512, type: at === 0 ? 'file' : 'hardlink', linkTarget: at === 0 ? '' : 'name-0' })
    }

    expect(choice.choose([...names].reverse())).toEqual(names.map((_, at) => at * 512))
  })

  test('keeps the landmark of an eStargz source where it is, unless a list says otherwise', async () => {
    const source = [entry('a', { data: 'A' }), entry(LANDMARK, { data: '\x0f' }), entry('b', { data: 'B' }), entry(TOC, { data: '{}' })]

    expect((await make(source)).names).toEqual(['a', LANDMARK, 'b', TOC])
    expect((await make(source, { wanted: ['b'] })).names).toEqual(['b', LANDMARK, 'a', TOC])
  })
})

describe('contents', () => {
  test('starts a gzip member at each file and at each chunk of it, and digests every chunk', async () => {
    const data = Buffer.from(Array.from({ length: 10_000 }, (_, at) => at * 7 % 251))
    const { blob, toc } = await make([entry('small', { data: 'x' }), entry('large', { data }), entry('after', { data: 'y' })], { chunkBytes: 4096 })
    const chunks = toc.filter(({ name }) => name === 'large')

    expect(chunks.map(({ type, chunkOffset, chunkSize }) => [type, chunkOffset ?? 0, chunkSize])).toEqual([
      ['reg', 0, 4096], ['chunk', 4096, 4096], ['chunk', 8192, undefined]
    ])
    expect(chunks[0]?.digest).toBe(sha256(data))
    const offsets = toc.flatMap(({ offset }) => offset ?? [])
    expect(new Set(offsets).size).toBe(offsets.length)
    for (const { offset = 0, chunkOffset = 0, chunkDigest } of chunks) {
      const next = offsets.find((other) => other > offset)
      const member = gunzipSync(blob.subarray(offset, next))
      const bytes = data.subarray(chunkOffset, chunkOffset + 4096)
      expect(member.subarray(0, bytes.byteLength).equals(bytes)).toBe(true)
      expect(sha256(bytes)).toBe(chunkDigest)
    }
  })

  test('keeps every header block, PAX and GNU extensions too, byte for byte', async () => {
    const entries = [
      entry('pax', {
        data: 'p',
        pax: { path: 'ü'.repeat(80), mtime: '1234567890.123456789', 'SCHILY.xattr.user.bin': Buffer.of(0, 255, 10, 61), comment: 'kept' }
      }),
      Buffer.concat([gnuLong('L', `long/${'n'.repeat(200)}`), entry('long', { data: 'g', magic: 'ustar  \0' })]),
      entry('global', { type: 'g', data: '16 comment=hello\n' }),
      entry('old', { mtime: -1, uid: 5_000_000, data: '' })
    ]
    const { tar, toc } = await make(entries)
    const [named, long, old] = toc.slice(1)

    for (const bytes of entries) expect(tar.includes(bytes)).toBe(true)
    expect(named).toMatchObject({ name: 'ü'.repeat(80), modtime: '2009-02-13T23:31:30.123456789Z', xattrs: { 'user.bin': 'AP8KPQ==' } })
    expect(long?.name).toBe(`long/${'n'.repeat(200)}`)
    expect(old).toMatchObject({ name: 'old', modtime: '1969-12-31T23:59:59Z', uid: 5_000_000 })
  })

  test('means the same as the source, for any entries, any chunk size and any list', async () => {
    const name = fc.constantFrom('a', 'b', 'd', 'd/a', 'd/b', 'd/e', 'd/e/a', '.wh.a', 'd/.wh.b', '.wh.d', 'd/.wh..wh..opq')
    const item = fc.oneof(
      fc.record({ name, type: fc.constant('0'), bytes: fc.nat(20_000), fill: fc.nat(255), mtime: fc.nat(2e9) }),
      fc.record({ name, type: fc.constant('5'), mode: fc.nat(0o7777) }),
      fc.record({ name, type: fc.constantFrom('1', '2'), link: name })
    )
    let compared = 0
    const anyItems = fc.array(item, { minLength: 2, maxLength: 8 })
    const anyChunk = fc.integer({ min: 4096, max: 9000 })
    await fc.assert(fc.asyncProperty(anyItems, anyChunk, fc.array(name), async (items, chunkBytes, wanted) => {
      const source = tar(...items.map((item) =>
        entry(item.name, 'bytes' in item ? { data: Buffer.alloc(item.bytes, item.fill), mtime: item.mtime } : item)))
      const expected = await sourceTree(source).catch(() => null)
      if (expected === null) return // no tar that containerd unpacks
      expect(await treeOf(await makeFrom(source, { chunkBytes, wanted }))).toEqual(expected)
      compared++
    }), { numRuns: Number(process.env['PUBLISH_FUZZ_RUNS'] ?? 200) })
    expect(compared).toBeGreaterThan(40)
  }, 600_000)
})

describe('what JSON cannot express', () => {
  test.each([
    ['has a name that is not UTF-8', entry(Buffer.of(0x61, 0xff), { data: 'x' })],
    ['has a link target that is not UTF-8', entry('link', { type: '2', link: Buffer.of(0xc3, 0x28) })],
    ['has an xattr name that is not UTF-8', Buffer.concat([
      entry('pax', { type: 'x', data: Buffer.from('22 SCHILY.xattr.u.\xff=v\n', 'latin1') }), entry('file')
    ])],
    ['has a time outside the years 0 to 9999', entry('late', { data: 'x', mtime: 253_402_300_800 })],
    ['has a name with ".." in it', entry('a/../b', { data: 'x' })],
    ['is stored as a sparse file', entry('holes', {
      data: 'x', pax: { 'GNU.sparse.major': '0', 'GNU.sparse.minor': '1', 'GNU.sparse.map': '5,1', 'GNU.sparse.size': '9' }
    })]
  ])('%s: the layer stays plain gzip with the same diffID and is not lazy', async (why, odd) => {
    const layer = tar(entry('plain', { data: 'p' }), odd)
    const notes: string[] = []
    await inFolder(async (folder) => {
      const source = await writeDockerImage(folder, { layers: [layer, tar(entry('fine', { data: 'f' }))] })
      const report: PublishOptions['report'] = (event) => { if (event.event === 'note') notes.push(event.text) }
      const published = await publishTo(join(folder, 'image.car'), source, { report })
      const layout = await readLayout(join(folder, 'image.car'))

      expect(published.layers.map(({ lazy, mediaType }) => [lazy, mediaType])).toEqual([
        [false, 'application/vnd.oci.image.layer.v1.tar+gzip'], [true, 'application/vnd.oci.image.layer.v1.tar+gzip']
      ])
      expect(published.layers[0]?.diffId).toBe(sha256(layer))
      expect(gunzipSync(blobOf(layout, published.layers[0]?.digest ?? '')).equals(layer)).toBe(true)
      const manifest = jsonOf(blobOf(layout, published.manifestDigest)) as { layers: Array<{ annotations: object }> }
      expect(Object.keys(manifest.layers[0]?.annotations ?? {})).toEqual(['containerd.io/snapshot/ipfs-snapshotter/cid'])
    })
    expect(notes.at(-1)).toContain('stays plain gzip, not lazy: ')
    expect(notes.at(-1)).toContain(why)
  })
})

async function make (entries: readonly Uint8Array[], more: Partial<PublishOptions> = {}): Promise<Made> {
  return await makeFrom(tar(...entries), more)
}

async function makeFrom (layer: Uint8Array, more: Partial<PublishOptions>): Promise<Made> {
  return await inFolder(async (folder) => {
    const source = await writeDockerImage(folder, { layers: [layer] })
    const published = await publishTo(join(folder, 'image.car'), source, more)
    const blob = blobOf(await readLayout(join(folder, 'image.car')), published.layers[0]?.digest ?? '')
    const inflated = gunzipSync(blob)
    const tocOffset = Number.parseInt(blob.toString('latin1', blob.byteLength - 35, blob.byteLength - 19), 16)
    const tocTar = gunzipSync(blob.subarray(tocOffset))
    const json = tocTar.subarray(512, 512 + Number.parseInt(tocTar.toString('latin1', 124, 135), 8))
    const { entries: toc } = jsonOf(json) as { entries: TocEntry[] }
    const names = [...toc.filter(({ type }) => type !== 'chunk').map(({ name }) => name), tocTar.toString('latin1', 0, TOC.length)]
    return { published, blob, tar: inflated, toc, tocOffset, names }
  })
}

async function indexOf ({ blob, tocOffset }: Made): ReturnType<typeof openEstargz> {
  const tocTar = gunzipSync(blob.subarray(tocOffset))
  const json = tocTar.subarray(512, 512 + Number.parseInt(tocTar.toString('latin1', 124, 135), 8))
  return await openEstargz(rangeReader(blob), blob.byteLength, parseDigest(sha256(json)))
}

async function treeOf (made: Made): Promise<ReturnType<typeof flatten>> {
  const index = await indexOf(made)
  return flatten(index, memberContents(index, made.blob))
}

/** The tree that the plain source unpacks to, by the reader's own tar walk. */
async function sourceTree (source: Buffer): Promise<ReturnType<typeof flatten>> {
  return (await indexTar(source)).flat
}

const placed: PlacedEntry = {
  path: '', type: 'file', mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, size: 0, deviceMajor: 0, deviceMinor: 0,
  linkTarget: '', xattrs: new Map(), userName: '', groupName: '', headerOffset: 0, dataOffset: 0, dataSize: 0
}
