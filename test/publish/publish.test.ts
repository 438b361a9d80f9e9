// Every fixture in both formats: what stands in the CAR, what is printed, and that the new layers mean what the old did.
import { execFileSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import { openEstargz } from '../../src/layer/estargz.ts'
import { ANNOTATION_CID, ANNOTATION_TOC_DIGEST, ANNOTATION_UNCOMPRESSED_SIZE } from '../../src/oci/annotations.ts'
import type { Published } from '../../src/publish/publish.ts'
import { rawCidOf } from '../../src/verify/cid.ts'
import { parseDigest } from '../../src/verify/digest.ts'
import { rangeReader, truth, type TruthEntry } from '../layer/fixtures.ts'
import { type Flat, flatten, overlay, withoutMark } from '../layer/flatten.ts'
import { memberContents } from './member-contents.ts'
import { blobOf, images, inFolder, jsonOf, type Layout, namesIn, publishTo, readLayout, sha256 } from './published.ts'

interface Descriptor { mediaType: string, digest: string, size: number, urls?: string[], annotations?: Record<string, string>, platform?: object }
interface Manifest { mediaType: string, config: Descriptor, layers: Descriptor[] }

const PLAIN = ['umoci-gzip.oci.tar', 'docker-archive.tar.gz', 'soci-v1.oci.tar.gz', 'soci-v2.oci.tar.gz']
const ESTARGZ = ['estargz.oci.tar', 'estargz-64k.oci.tar', 'estargz-inner.oci.tar']
const ZSTD = ['zstd.oci.tar', 'zstdchunked.oci.tar', 'zstdchunked-skopeo.oci.tar']
const JSON_KEYS = ['cid', 'nerdctlCid', 'reference', 'references', 'manifestDigest', 'indexDigest', 'platform', 'layers', 'images', 'car', 'pins']
const LAYER_KEYS = ['digest', 'diffId', 'cid', 'mediaType', 'size', 'lazy']

describe.each([...PLAIN, ...ESTARGZ, ...ZSTD])('%s, kept', (file) => {
  test('changes no byte of index, manifest, config and layers', async () => inFolder(async (folder) => {
    const source = join(images, file)
    const car = join(folder, 'image.car')
    const published = await publishTo(car, source, { format: 'keep' })
    const layout = await readLayout(car)
    const members = membersOf(await readFile(source))

    expect(layout.roots).toEqual([published.cid])
    for (const [path, bytes] of layout.files) {
      if (path.startsWith('blobs/')) expect(sha256(bytes)).toBe(`sha256:${path.slice('blobs/sha256/'.length)}`)
      // A docker archive has no manifest, index or layout file of its own.
      if (!file.startsWith('docker')) expect(bytes.equals(members.get(path) ?? Buffer.alloc(0))).toBe(true)
    }
    const originals = file.startsWith('docker') ? dockerBlobs(members) : [...members.keys()].filter((name) => name.startsWith('blobs/'))
    expect([...layout.files.keys()]).toEqual(expect.arrayContaining(originals))
    expect(published.nerdctlCid).toBeNull()
    expect(published.layers.map(({ lazy }) => lazy)).toEqual(ESTARGZ.includes(file) ? [true, true] : [false, false])
    expectSummary(published, layout)
    expect(await namesIn(folder)).toEqual(['image.car'])
  }))
})

test.each([
  ['zstd.oci.tar', 2], ['umoci-gzip.oci.tar', 0]
])('says of kept %s how many layers no pull of ours reads: %d', async (file, count) => inFolder(async (folder) => {
  const warnings: string[] = []
  await publishTo(join(folder, 'image.car'), join(images, file), {
    format: 'keep', report: (event) => { if (event.event === 'note' && event.text.startsWith('WARNING: ')) warnings.push(event.text) }
  })

  expect(warnings).toHaveLength(count)
  for (const text of warnings) expect(text).toMatch(/^WARNING: layer sha256:[0-9a-f]{64} is compressed with zstd.* MEDIA_TYPE_UNSUPPORTED/)
}))

describe.each([...PLAIN, ...ESTARGZ])('%s, as estargz', (file) => {
  test('names on IPFS whatever a descriptor names, and its layers are what their digests say', async () => inFolder(async (folder) => {
    const car = join(folder, 'image.car')
    const published = await publishTo(car, join(images, file))
    const layout = await readLayout(car)
    const { manifest, entry } = documentsOf(layout)

    expect(layout.roots).toEqual([published.cid, published.nerdctlCid])
    expect(jsonOf(layout.second ?? Buffer.alloc(0))).toMatchObject({ mediaType: entry.mediaType, digest: entry.digest, size: entry.size, urls: entry.urls })
    for (const descriptor of [entry, manifest.config, ...manifest.layers]) {
      const blob = blobOf(layout, descriptor.digest)
      expect(blob.byteLength).toBe(descriptor.size)
      // All blobs here are of one block, whose CID has the digest's bytes.
      const cid = rawCidOf(parseDigest(descriptor.digest)).toString()
      expect(descriptor.urls).toEqual([`ipfs://${cid}`])
      expect(descriptor.annotations?.[ANNOTATION_CID]).toBe(cid)
    }
    const config = jsonOf(blobOf(layout, manifest.config.digest)) as { rootfs: { diff_ids: string[] }, history: unknown[], config: object }
    expect(config).toMatchObject({ architecture: 'amd64', os: 'linux', config: { Cmd: ['/usr/bin/suid'] } })
    expect(config.history).toHaveLength(3)
    for (const [at, layer] of manifest.layers.entries()) {
      const tar = await gunzipped(folder, blobOf(layout, layer.digest))
      expect(sha256(tar)).toBe(config.rootfs.diff_ids[at])
      expect(layer.annotations?.[ANNOTATION_UNCOMPRESSED_SIZE]).toBe(String(tar.byteLength))
      expect(execFileSync('tar', ['-tf', '-'], { input: tar, maxBuffer: 1e8 }).toString().split('\n').at(-2)).toBe('stargz.index.json')
    }
    expectSummary(published, layout)
    expect(published.layers.every(({ lazy }) => lazy)).toBe(true)
  }))

  test('shows the tree that containerd shows for the source', async () => inFolder(async (folder) => {
    const car = join(folder, 'image.car')
    await publishTo(car, join(images, file), { chunkBytes: 100_000 })
    const layout = await readLayout(car)
    const flats: Flat[] = []
    for (const { digest, annotations } of documentsOf(layout).manifest.layers) {
      const blob = blobOf(layout, digest)
      const index = await openEstargz(rangeReader(blob), blob.byteLength, parseDigest(annotations?.[ANNOTATION_TOC_DIGEST] ?? ''))
      flats.push(flatten(index, memberContents(index, blob)))
    }
    const [lower, upper] = flats as [Flat, Flat]
    const shown = overlay(lower, upper)

    expect(comparable([...shown.values()].map(withoutMark), file)).toEqual(comparable(truth('merged'), file))
  }))
})

test.each(ZSTD)('refuses to convert %s, naming the layer', async (file) => inFolder(async (folder) => {
  await expect(publishTo(join(folder, 'image.car'), join(images, file))).rejects.toMatchObject({
    code: 'UNSUPPORTED', message: expect.stringMatching(/^layer sha256:[0-9a-f]{64} is compressed with zstd, which is not supported yet/) as unknown
  })
  expect(await namesIn(folder)).toEqual([])
}))

test('says the same twice, whatever runs beside and wherever the file is', async () => inFolder(async (folder) => {
  const runs = []
  for (const concurrency of [1, 3, 16]) {
    const car = join(folder, `image-${concurrency}.car`)
    const { car: _name, ...published } = await publishTo(car, join(images, 'umoci-gzip.oci.tar'), { concurrency })
    runs.push({ published, bytes: sha256(await readFile(car)) })
  }
  expect(runs[1]).toEqual(runs[0])
  expect(runs[2]).toEqual(runs[0])
}))

test('reads a layout directory like the archive of it', async () => inFolder(async (folder) => {
  const layout = join(folder, 'layout')
  execFileSync('mkdir', [layout])
  execFileSync('tar', ['-C', layout, '-xf', join(images, 'umoci-gzip.oci.tar')])
  const fromArchive = await publishTo(join(folder, 'a.car'), join(images, 'umoci-gzip.oci.tar'), { format: 'keep' })
  const fromDirectory = await publishTo(join(folder, 'b.car'), layout, { format: 'keep' })

  expect(fromDirectory.cid).toBe(fromArchive.cid)
}))

test('makes the same layers of one image, however it was compressed', async () => inFolder(async (folder) => {
  const layers = []
  for (const file of PLAIN) layers.push((await publishTo(join(folder, 'image.car'), join(images, file))).layers)
  expect(layers.slice(1)).toEqual([layers[0], layers[0], layers[0]])
}))

test('takes the platform that is asked for, and keeps all of them when no byte may change', async () => inFolder(async (folder) => {
  const source = await twoPlatforms(folder)
  const arm = { os: 'linux', architecture: 'arm64', variant: '' }
  const notes: string[] = []
  const report = (event: { event: string, text?: string }): void => { if (event.event === 'note') notes.push(event.text ?? '') }
  const converted = await publishTo(join(folder, 'a.car'), source, { platforms: [arm], report })
  const kept = await publishTo(join(folder, 'b.car'), source, { format: 'keep', platforms: [arm] })

  expect(converted.platform).toBe('linux/arm64')
  expect(notes[0]).toContain('linux/arm64; 1 other platforms are left out')
  expect(documentsOf(await readLayout(join(folder, 'a.car'))).entry.platform).toEqual({ os: 'linux', architecture: 'arm64' })
  expect([...(await readLayout(join(folder, 'b.car'))).files.keys()].filter((path) => path.startsWith('blobs/'))).toHaveLength(6)
  expect(kept.platform).toBe('linux/arm64')
  await expect(publishTo(join(folder, 'c.car'), source, { platforms: [{ os: 'linux', architecture: 's390x', variant: '' }] }))
    .rejects.toMatchObject({ line: `PLATFORM_MISSING: ${source}: no image for linux/s390x; it has linux/amd64, linux/arm64` })
}))

function expectSummary (published: Published, layout: Layout): void {
  expect(Object.keys(published)).toEqual(JSON_KEYS)
  for (const layer of published.layers) {
    expect(Object.keys(layer)).toEqual(LAYER_KEYS)
    expect(blobOf(layout, layer.digest).byteLength).toBe(layer.size)
  }
  expect(published.reference).toBe(`ipfs://${published.cid}@${published.manifestDigest}`)
  expect(published.references.nerdctl).toBe(`ipfs://${published.nerdctlCid ?? published.cid}`)
  expect(published.references.ctr).toBe(`ipfs:0/${published.cid}@${published.manifestDigest}`)
  expect(published.platform).toBe('linux/amd64')
  expect(published.pins).toEqual([])
  blobOf(layout, published.manifestDigest)
  const index = layout.files.get('index.json') ?? Buffer.alloc(0)
  if (sha256(index) !== published.indexDigest) blobOf(layout, published.indexDigest)
}

function documentsOf (layout: Layout): { entry: Descriptor, manifest: Manifest } {
  const { manifests: [entry] } = jsonOf(layout.files.get('index.json') ?? Buffer.alloc(0)) as { manifests: Descriptor[] }
  if (entry === undefined) throw new Error('no manifest')
  return { entry, manifest: jsonOf(blobOf(layout, entry.digest)) as unknown as Manifest }
}

/** What `gzip` itself says of the blob. */
async function gunzipped (folder: string, blob: Buffer): Promise<Buffer> {
  const path = join(folder, 'layer.gz')
  await writeFile(path, blob)
  execFileSync('gzip', ['-t', path])
  return execFileSync('zcat', [path], { maxBuffer: 1e9 })
}

/** To the nanosecond, except where stargz had rounded the source already. */
function comparable (entries: readonly TruthEntry[], file: string): Map<string, TruthEntry> {
  return new Map(entries.map((entry) => {
    const ns = entry.path === '/' || entry.mtimeNs.startsWith('-') ? 0n : BigInt(entry.mtimeNs)
    const mtimeNs = String(ESTARGZ.includes(file) ? (ns + 500_000_000n) / 1_000_000_000n : ns)
    return [entry.path, { ...entry, mode: `0${entry.mode.replace(/^0*/, '').padStart(3, '0')}`, mtimeNs }]
  }))
}

/** The members of an archive of short names. */
function membersOf (archive: Buffer): Map<string, Buffer> {
  const tar = archive[0] === 0x1f ? gunzipSync(archive) : archive
  const members = new Map<string, Buffer>()
  for (let at = 0; at + 512 <= tar.byteLength && tar[at] !== 0;) {
    const size = Number.parseInt(tar.toString('latin1', at + 124, at + 135), 8)
    const name = tar.toString('latin1', at, at + 100).replace(/\0.*$/s, '').replace(/^\.\//, '')
    if (tar[at + 156] === 0x30) members.set(name, tar.subarray(at + 512, at + 512 + size))
    at += 512 + Math.ceil(size / 512) * 512
  }
  return members
}

function dockerBlobs (members: ReadonlyMap<string, Buffer>): string[] {
  const [image] = JSON.parse(members.get('manifest.json')?.toString() ?? '[]') as Array<{ Config: string, Layers: string[] }>
  return [image?.Config ?? '', ...image?.Layers ?? []].map((name) => `blobs/sha256/${sha256(members.get(name) ?? Buffer.alloc(0)).slice(7)}`)
}

/** An archive with the weird image's layers under a nested index: once for amd64, once for arm64. */
async function twoPlatforms (folder: string): Promise<string> {
  const members = membersOf(await readFile(join(images, 'umoci-gzip.oci.tar')))
  const layout = join(folder, 'two')
  execFileSync('mkdir', ['-p', join(layout, 'blobs/sha256')])
  const put = async (bytes: Buffer): Promise<{ digest: string, size: number }> => {
    await writeFile(join(layout, 'blobs/sha256', sha256(bytes).slice(7)), bytes)
    return { digest: sha256(bytes), size: bytes.byteLength }
  }
  const [entry] = (jsonOf(members.get('index.json') ?? Buffer.alloc(0)) as { manifests: Descriptor[] }).manifests
  const blob = (digest: string): Buffer => members.get(`blobs/sha256/${digest.slice(7)}`) ?? Buffer.alloc(0)
  const manifest = jsonOf(blob(entry?.digest ?? '')) as unknown as Manifest
  for (const layer of manifest.layers) await put(blob(layer.digest))
  const manifests: object[] = []
  for (const architecture of ['amd64', 'arm64']) {
    const config = await put(Buffer.from(JSON.stringify({ ...jsonOf(blob(manifest.config.digest)), architecture })))
    const document = { ...manifest, config: { ...manifest.config, ...config } }
    manifests.push({ mediaType: entry?.mediaType, ...await put(Buffer.from(JSON.stringify(document))), platform: { os: 'linux', architecture } })
  }
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  return layout
}
