import { describe, expect, test } from '@jest/globals'
import { gunzipSync, gzipSync } from 'node:zlib'
import { footerBytes } from '../../src/layer/estargz-footer.ts'
import { openEstargz } from '../../src/layer/estargz.ts'
import { proveLayer } from '../../src/layer/prove.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { lineOf } from './errors.ts'
import { type Estargz, estargz, type Item, type Toc, type TocJson, type WriteOptions } from './estargz-writer.ts'
import { pieces, rangeReader } from './fixtures.ts'
import { entry, tar } from './tar-writer.ts'

const MEDIA = 'application/vnd.oci.image.layer.v1.tar+gzip'
const ITEMS: readonly Item[] = [
  { name: 'd/', type: '5', mode: 0o755, mtime: 1_700_000_000 },
  { name: 'd/a', data: 'content of a', pax: { 'SCHILY.xattr.user.x': 'x' }, toc: { xattrs: { 'user.x': 'eA==' } } },
  { name: 'd/link', type: '1', link: 'd/a' },
  { name: 'e', data: 'first half, second half' },
  { name: 'f', data: 'content of a' },
  { name: 's', type: '2', link: 'd/a' },
  { name: 'c', type: '3', major: 8, minor: 3 },
  { name: '.no.prefetch.landmark', data: '\x0f' }
]
const OPTIONS: WriteOptions = { chunkBytes: 12 }

async function prove (layer: Estargz, blob: Uint8Array = layer.blob): Promise<string> {
  const index = await openEstargz(rangeReader(layer.blob), layer.size, layer.tocDigest)
  return await lineOf(proveLayer({
    stream: pieces(blob, 333), digest: layer.digest, size: layer.size, diffId: layer.diffId, mediaType: MEDIA,
      toc: { index, digest: layer.tocDigest }
  }))
}

async function proveWith (changeToc: (toc: Toc) => void, options: WriteOptions = OPTIONS): Promise<string> {
  return await prove(estargz(ITEMS, { ...options, changeToc }))
}

const find = (toc: Toc, name: string): TocJson => toc.entries?.find((one) => one['name'] === name) ?? {}

describe('an honest layer', () => {
  test.each([[OPTIONS], [{ oneMember: true }], [{ legacyFooter: true }]])('is proven: %j', async (options) => {
    expect(await proveWith(() => {}, options)).toBe('no error')
  })

  test('may name times in whole seconds where the tar has more, within a second and not beyond', async () => {
    const at = (mtime: string, modtime: string): Promise<string> =>
      prove(estargz([{ name: 'a', data: 'a', pax: { mtime }, toc: { modtime } }]))

    expect(await at('1000.4', '1970-01-01T00:16:40Z')).toBe('no error')
    expect(await at('1000.6', '1970-01-01T00:16:41Z')).toBe('no error')
    expect(await at('1000.6', '1970-01-01T00:16:40Z')).toBe('no error')
    expect(await at('1000.4', '1970-01-01T00:16:40.4Z')).toBe('no error')
    expect(await at('0.4', '')).toBe('no error')
    expect(await at('-0.4', '')).toBe('no error')
    expect(await at('1000', '1970-01-01T00:16:41Z')).toMatch(/mtime is 1001.000000000 in the TOC, 1000.000000000 in the tar/)
    expect(await at('1000.6', '1970-01-01T00:16:42Z')).toMatch(/^TOC_INVALID: .*mtime is/)
    expect(await at('1000.4', '1970-01-01T00:16:40.400000001Z')).toMatch(/^TOC_INVALID: .*mtime is/)
    expect(await at('1000.4', '1970-01-01T00:16:39Z')).toMatch(/^TOC_INVALID: .*mtime is/)
  })
})

describe('a TOC that differs from its tar is refused, naming the path', () => {
  test.each<[string, string, TocJson, string]>([
    ['mode', 'd/', { mode: 0o700 }, '"/d": mode is 448 in the TOC, 493 in the tar'],
    ['setuid', 'e', { mode: 0o4644 }, '"/e": mode is 2468 in the TOC, 420 in the tar'],
    ['owner', 'e', { uid: 1 }, '"/e": uid is 1 in the TOC, 0 in the tar'],
    ['group', 's', { gid: 1 }, '"/s": gid is 1 in the TOC, 0 in the tar'],
    ['device', 'c', { devMinor: 4 }, '"/c": rdevMinor is 4 in the TOC, 3 in the tar'],
    ['kind', 'c', { type: 'block' }, '"/c": kind is block in the TOC, char in the tar'],
    ['link target', 's', { linkName: 'd/b' }, '"/s": link targets differ'],
    ['xattr value', 'd/a', { xattrs: { 'user.x': 'eQ==' } }, '"/d/a": xattrs differ'],
    ['missing xattr', 'd/a', { xattrs: undefined }, '"/d/a": xattrs differ'],
    ['another name', 's', { name: 'r' }, '"/r": only the TOC has it'],
    ['a hard link that is another file', 'd/link', { linkName: 'f' }, '"/d/link": ']
  ])('%s', async (_what, name, fields, message) => {
    const layer = estargz(ITEMS, { ...OPTIONS, changeToc: (toc) => { moveLast(toc, name); Object.assign(find(toc, name), fields) } })

    expect(await prove(layer)).toContain(`TOC_INVALID: TOC ${layer.tocDigest} differs from its tar at ${message}`)
  })

  test('an entry that only the tar has', async () => {
    expect(await proveWith((toc) => { toc.entries = toc.entries?.filter((one) => one['name'] !== 's') ?? [] }))
      .toMatch(/^TOC_INVALID: .*differs from its tar at "\/s": only the tar has it/)
  })

  test('a directory that only the TOC names', async () => {
    expect(await prove(estargz([{ name: 'd/f', data: 'f' }],
      { changeToc: (toc) => { toc.entries?.unshift({ name: 'd', type: 'dir', mode: 0o755 }) } })))
      .toMatch(/"\/d": implied is false in the TOC, true in the tar/)
  })

  test('two files of the TOC that are one in the tar', async () => {
    const layer = estargz([{ name: 'a', data: 'same' }, { name: 'b', type: '1', link: 'a' }], {
      changeToc: (toc) => { toc.entries = [...toc.entries ?? [], { name: 'b', type: 'reg', mode: 0o644 }].filter((one) =>
        one['type'] !== 'hardlink') }
    })

    expect(await prove(layer)).toMatch(/^TOC_INVALID: .*"\/b": /)
  })

  test('hard links of other names', async () => {
    const items: Item[] = [{ name: 'a', data: '' }, { name: 'b', data: '' }, { name: 'c', type: '1', link: 'a' }]

    expect(await prove(estargz(items, { changeToc: (toc) => { find(toc, 'c')['linkName'] = 'b' } }))).toMatch(/"\/c": hard links differ/)
  })

  /** Attributes of the last hard link count; the order of other entries does not matter. */
  function moveLast (toc: Toc, name: string): void {
    const entries = toc.entries ?? []
    if (find(toc, name)['type'] === 'hardlink') toc.entries = [...entries.filter((one) => one['name'] !== name), find(toc, name)]
  }
})

describe('bytes', () => {
  test('of another digest than the TOC says', async () => {
    expect(await proveWith((toc) => { find(toc, 'e')['chunkDigest'] = digestOf(Buffer.from('x')) }))
      .toMatch(/^TOC_INVALID: .*has other bytes than its digest says/)
  })

  test('of another file with the same content and digest', async () => {
    const layer = estargz([{ name: 'a', data: 'same' }, { name: 'b', data: 'same' }], {
      changeToc: (toc) => { for (const one of toc.entries ?? []) one['name'] = one['name'] === 'a' ? 'b' : 'a' }
    })

    expect(await prove(layer)).toMatch(/^TOC_INVALID: .*"\/a": its bytes from 0 are not where the TOC says/)
  })

  test('where no gzip member starts', async () => {
    expect(await proveWith((toc) => { find(toc, 'e')['offset'] = Number(find(toc, 'e')['offset']) + 1 }))
      .toMatch(/^TOC_INVALID: .*is not in the blob/)
  })

  test('that a member does not hold', async () => {
    expect(await proveWith((toc) => { Object.assign(find(toc, '.no.prefetch.landmark'), { innerOffset: 9_000 }) }))
      .toBe('no error') // left out
    expect(await proveWith((toc) => { Object.assign(find(toc, 'f'), { innerOffset: 9_000 }) }))
      .toMatch(/^TOC_INVALID: .*is not in the blob/)
  })

  test('of a member that ends elsewhere', async () => {
    const line = await proveWith((toc) => { find(toc, 'c')['offset'] = Number(find(toc, 'f')['offset']) + 7 })

    expect(line).toMatch(/^TOC_INVALID: TOC sha256:\w+: no gzip member starts at \d+/)
  })
})

describe('the blob', () => {
  const layer = estargz(ITEMS, OPTIONS)

  test('with any bit flipped is refused', async () => {
    for (let at = 0; at < layer.size; at += 7) {
      const bad = Buffer.from(layer.blob)
      bad[at] = (bad[at] ?? 0) ^ (1 << at % 8)
      expect([at, (await prove(layer, bad)).split(':')[0]]).toEqual([at, 'DIGEST_MISMATCH'])
    }
  })

  test('cut or longer is refused', async () => {
    expect(await prove(layer, layer.blob.subarray(0, -1))).toMatch(/^DIGEST_MISMATCH: .*want \d+ bytes, got \d+/)
    expect(await prove(layer, Buffer.concat([layer.blob, Buffer.alloc(1)]))).toMatch(/^DIGEST_MISMATCH: .*got more/)
  })

  test('with another diffID is refused', async () => {
    expect(await prove({ ...layer, diffId: layer.digest })).toMatch(/^DIFFID_MISMATCH/)
  })

  test('with its TOC behind the end of its tar is refused', async () => {
    const end = gzipSync(Buffer.alloc(1024))
    const rest = layer.blob.subarray(layer.tocOffset, -51)
    const blob = Buffer.concat([layer.blob.subarray(0, layer.tocOffset), end, rest, footerBytes(layer.tocOffset + end.byteLength)])
    const twisted = { ...layer, blob, digest: digestOf(blob), size: blob.byteLength, diffId: digestOf(gunzipSync(blob)) }

    expect(await prove(twisted)).toMatch(/^TOC_INVALID: TOC sha256:\w+: the tar of layer sha256:\w+ holds another \(none\)/)
  })
})

describe('a plain layer', () => {
  const bytes = tar(entry('a', { data: 'a' }))
  const blob = gzipSync(bytes)
  const layer = { digest: digestOf(blob), size: blob.byteLength, diffId: digestOf(bytes), mediaType: MEDIA }

  test('is proven by its two digests', async () => {
    expect(await proveLayer({ ...layer, stream: pieces(blob) }))
      .toEqual({ blobBytes: blob.byteLength, tarBytes: bytes.byteLength, chunks: 0 })
    expect(await lineOf(proveLayer({ ...layer, diffId: layer.digest, stream: pieces(blob) }))).toMatch(/^DIFFID_MISMATCH/)
    expect(await lineOf(proveLayer({ ...layer, digest: layer.diffId, stream: pieces(blob) }))).toMatch(/^DIGEST_MISMATCH/)
  })
  test('that no pull could read is not proven by right digests', async () => {
    const odd = tar(entry('a', { type: '1', link: 'nowhere' }))
    const wrapped = gzipSync(odd)
    const claims = { digest: digestOf(wrapped), size: wrapped.byteLength, diffId: digestOf(odd), mediaType: MEDIA }

    expect(await lineOf(proveLayer({ ...claims, stream: pieces(wrapped) }))).toMatch(/^LAYER_INVALID/)
  })
})
