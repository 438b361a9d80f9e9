// Sources that cannot be published: the exact error, and a folder that is as empty afterwards as before.
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readdirSync, writeSync } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import { openImageSource } from '../../src/publish/image-source.ts'
import type { PublishOptions } from '../../src/publish/publish.ts'
import { lineOf } from '../layer/errors.ts'
import { entry, tar } from '../layer/tar-writer.ts'
import { type DockerImage, writeDockerImage } from './docker-image.ts'
import { images, inFolder, namesIn, publishTo, sha256 } from './published.ts'

const layer = tar(entry('a', { data: 'A' }))

describe('a source that is no image', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['text', Buffer.from('hello, world'), /^NOT_OCI: SOURCE is a file of 12 bytes that begins with "hello, world"/],
    ['nothing', Buffer.alloc(0), /^NOT_OCI: SOURCE is an empty file/],
    ['a web page', Buffer.from('<!doctype html><html></html>'), /^NOT_OCI: SOURCE is an HTML page/],
    ['a CAR', Buffer.concat([Buffer.of(0x3a, 0xa2), Buffer.from('eroots'), Buffer.alloc(60)]),
      /^NOT_OCI: SOURCE is a CAR file \(68 bytes\); import it \(ipfs dag import\) and use the root it names/],
    ['a tar of something else', tar(entry('readme', { data: 'x' })),
      /^NOT_OCI: SOURCE is a tar archive with "readme"; an image archive holds oci-layout and index\.json, or manifest\.json$/],
    ['gzip that is cut', gzipSync(tar(entry('oci-layout', { data: '{}' }))).subarray(0, 40),
      /^NOT_OCI: SOURCE is not valid gzip: unexpected end of file$/],
    ['a gzipped text', gzipSync('hello'), /^NOT_OCI: SOURCE is a file of 5 bytes that begins with "hello"/],
    ['an archive that is cut', tar(entry('oci-layout', { data: '{}' }), entry('index.json', { data: 'x', size: 9_000 })).subarray(0, 1800),
      /^NOT_OCI: SOURCE is a damaged archive: SOURCE ends at byte 1800, inside "index\.json"$/],
    ['a layout of version 2', tar(entry('oci-layout', { data: '{"imageLayoutVersion":"2.0.0"}' }), entry('index.json', { data: '{}' })),
      /^UNSUPPORTED: SOURCE: oci-layout states version "2\.0\.0"/],
    ['an index that is no JSON', ociArchive('nonsense'), /^NOT_OCI: SOURCE: index\.json: not strict JSON/],
    ['an index with a key twice', ociArchive('{"schemaVersion":2,"manifests":[],"manifests":[]}'),
      /^NOT_OCI: SOURCE: index\.json: .*duplicate key "manifests"/],
    ['an index of nothing', ociArchive('{"schemaVersion":2,"manifests":[]}'), /^NOT_OCI: SOURCE holds no image$/],
    ['an index whose manifest is missing', ociArchive(JSON.stringify({ schemaVersion: 2, manifests: [{
      mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: sha256(layer), size: 5
    }] })), /^NOT_OCI: SOURCE holds no image \(1 blobs are missing\)$/]
  ])('%s', async (_what, bytes, line) => {
    await refuses(async (folder) => {
      await writeFile(join(folder, 'source'), bytes)
      return join(folder, 'source')
    }, line)
  })

  test('a directory without a layout', async () => refuses(async (folder) => {
    await mkdir(join(folder, 'source/sub'), { recursive: true })
    await writeFile(join(folder, 'source/file'), '')
    return join(folder, 'source')
  }, /^NOT_OCI: SOURCE is a directory with "file", "sub"; an OCI layout has oci-layout, index\.json and blobs$/))

  test('no file at all', async () => refuses(async (folder) => join(folder, 'source'), /^NOT_FOUND: SOURCE: no such file or directory$/))

  test('an image in a registry', async () => refuses(async () => 'docker://alpine', /^UNSUPPORTED: SOURCE: publish reads OCI layouts/))
})

describe('a docker archive', () => {
  test.each<[string, DockerImage, RegExp]>([
    ['whose config has another diffID', { layers: [layer], diffIds: [sha256(Buffer.from('x'))] },
      /^DIGEST_MISMATCH: layer sha256:[0-9a-f]{64}: want/],
    ['whose config has too few diffIDs', { layers: [layer, layer], diffIds: [sha256(layer)] },
      /^NOT_OCI: SOURCE: config, rootfs has 1 diff_ids for 2 layers$/],
    ['of several images', { layers: [layer], manifest: [{}, {}] },
      /^NOT_OCI: SOURCE: manifest\.json lists 2 images; save and publish one at a time$/],
    ['of no image', { layers: [layer], manifest: [] }, /^NOT_OCI: SOURCE: manifest\.json lists no image$/],
    ['that names a layer it lacks', { layers: [layer], manifest: [{ Config: 'config.json', Layers: ['gone.tar'] }] },
      /^NOT_OCI: SOURCE: manifest\.json names the layer "gone\.tar", which is not there$/],
    ['that names a config it lacks', { layers: [layer], manifest: [{ Config: '../etc/passwd', Layers: [] }] },
      /^NOT_OCI: SOURCE has no member \.\.\/etc\/passwd$/],
    ['without layers', { layers: [] }, /^NOT_OCI: manifest sha256:[0-9a-f]{64} has no layers/]
  ])('%s', async (_what, image, line) => {
    await refuses(async (folder) => await writeDockerImage(folder, image), line)
  })

  test.each<[string, Uint8Array, RegExp]>([
    ['is no tar', Buffer.alloc(2048, 'x'), /^LAYER_INVALID: .*tar/],
    ['is cut inside a file', tar(entry('a', { data: 'A'.repeat(5000) })).subarray(0, 2048),
      /^LAYER_INVALID: .* ends at byte 2048, inside "a"$/],
    ['has a header with a wrong checksum', tar(Buffer.from(entry('a', { data: 'A' })).fill('b', 0, 1)),
      /^LAYER_INVALID: .*checksum does not match$/],
    ['has an entry that no filesystem holds', tar(entry('vol', { type: 'V' })), /^LAYER_INVALID: .*"vol" has the tar type "V"$/],
    ['has a hard link to nothing', tar(entry('l', { type: '1', link: 'gone' })),
      /^TOC_INVALID: .*hard link to "gone", which the layer does not hold$/],
    ['is gzip with a flipped bit', flipped(gzipSync(layer), 30), /^LAYER_INVALID: /]
  ])('whose layer %s', async (_what, bytes, line) => {
    const diffIds = bytes[0] === 0x1f ? { diffIds: [sha256(layer)] } : {}
    await refuses(async (folder) => await writeDockerImage(folder, { layers: [bytes], ...diffIds }), line)
  })

  test('whose gzip layer has another diffID, kept or converted', async () => {
    for (const format of ['keep', 'estargz'] as const) {
      await refuses(async (folder) => await writeDockerImage(folder, { layers: [gzipSync(layer)], diffIds: [sha256(Buffer.from('x'))] }),
        /^DIFFID_MISMATCH: layer sha256:/, { format })
    }
  })
})

describe('an OCI layout', () => {
  test.each<[string, (layout: string) => Promise<void>, RegExp, Partial<PublishOptions>]>([
    ['with a layer of other bytes of that length', async (layout) => await damage(layout, LAYER), /^DIGEST_MISMATCH: /, { format: 'keep' }],
    ['with a layer of other bytes, converted', async (layout) => await damage(layout, LAYER), /^DIGEST_MISMATCH: /, {}],
    ['with a manifest of other bytes', async (layout) => await damage(layout, MANIFEST), /^DIGEST_MISMATCH: SOURCE: blob sha256:/, {}],
    ['with a config of other bytes', async (layout) => await damage(layout, CONFIG),
      /^DIGEST_MISMATCH: SOURCE: blob sha256:/, { format: 'keep' }],
    ['with a layer that is too short', async (layout) => await writeFile(blobPath(layout, LAYER), 'short'),
      /^DIGEST_MISMATCH: SOURCE: blob sha256:[0-9a-f]{64} has 5 bytes, its descriptor says 504787$/, {}],
    ['without a layer', async (layout) => { execFileSync('rm', [blobPath(layout, LAYER)]) },
      /^NOT_OCI: SOURCE has no blob sha256:05655ba5[0-9a-f]{56}, a layer of sha256:b90eb51f/, {}],
    ['without its manifest', async (layout) => { execFileSync('rm', [blobPath(layout, MANIFEST)]) },
      /^NOT_OCI: SOURCE holds no image \(1 blobs are missing\)$/, {}],
    ['for another platform', async () => {},
      /^PLATFORM_MISSING: SOURCE: no image for linux\/arm64; it has linux\/amd64$/, { platforms: [{ os: 'linux', architecture: 'arm64', variant: '' }] }]
  ])('%s', async (_what, change, line, more) => {
    await refuses(async (folder) => {
      const layout = join(folder, 'layout')
      await mkdir(layout)
      execFileSync('tar', ['-C', layout, '-xf', join(images, 'umoci-gzip.oci.tar')])
      await change(layout)
      return layout
    }, line, more)
  })
})

test('an eStargz layer whose table lies is refused when no byte may change', async () => {
  const archive = await readFile(join(images, 'estargz.oci.tar'))
  const toc = archive.indexOf(TOC)
  expect(toc).toBeGreaterThan(0)
  await refuses(async (folder) => {
    const layout = join(folder, 'layout')
    await mkdir(layout)
    execFileSync('tar', ['-C', layout, '-xf', join(images, 'estargz.oci.tar')])
    const index = join(layout, 'index.json')
    const manifest = blobPath(layout, '294e5d1a69d1ba37d8228669397b764327363922ccf1a7590db5ac851ab0a3a2')
    // The annotation names the other layer's table; everything that is hashed is right again.
    const lying = (await readFile(manifest, 'utf8')).replace(TOC, 'af2d6c9c16871ede0a8f614b84b0dcf4e8f70dcf7cd1970829cccebaed1db852')
    const digest = sha256(Buffer.from(lying)).slice(7)
    await writeFile(blobPath(layout, digest), lying)
    await writeFile(index, (await readFile(index, 'utf8')).replace('294e5d1a69d1ba37d8228669397b764327363922ccf1a7590db5ac851ab0a3a2', digest))
    return layout
  }, /^DIGEST_MISMATCH: TOC of layer with TOC sha256:af2d6c9c/, { format: 'keep' })
})

test('the source itself is no place for the CAR', async () => inFolder(async (folder) => {
  const path = join(folder, 'image.tar')
  await copyFile(join(images, 'umoci-gzip.oci.tar'), path)

  expect(await lineOf(publishTo(path, path))).toBe(`INVALID_ARGUMENT: ${path} is the source; name another file for the CAR`)
  expect((await readFile(path)).equals(await readFile(join(images, 'umoci-gzip.oci.tar')))).toBe(true)
}))

test('a folder that is not there gets no CAR', async () => inFolder(async (folder) => {
  expect(await lineOf(publishTo(join(folder, 'none/image.car'), join(images, 'umoci-gzip.oci.tar')))).toMatch(/^ENVIRONMENT: cannot write .*ENOENT/)
}))

test('stops at once when it is told to, and leaves nothing', async () => inFolder(async (folder) => {
  const stop = new AbortController()
  const report: PublishOptions['report'] = (event) => { if (event.event === 'begin' && event.phase === 'prove') stop.abort() }
  await expect(publishTo(join(folder, 'image.car'), join(images, 'umoci-gzip.oci.tar'), { report, signal: stop.signal })).rejects.toThrow('abort')
  expect(await namesIn(folder)).toEqual([])
}))

test.each(['estargz', 'keep'] as const)('%s: a disk that gives other bytes back is noticed before any CID is', async (format) => inFolder(async (folder) => {
  const report: PublishOptions['report'] = (event) => {
    if (event.event !== 'begin' || event.phase !== 'prove') return
    const [temporary = ''] = readdirSync(folder)
    const file = openSync(join(folder, temporary), 'r+')
    writeSync(file, 'XX', 2000)
    closeSync(file)
  }
  const line = await lineOf(publishTo(join(folder, 'image.car'), join(images, 'umoci-gzip.oci.tar'), { format, report }))

  expect(line).toMatch(/^BLOCK_HASH_MISMATCH: /)
  expect(await namesIn(folder)).toEqual([])
}))

test('an older CAR under that name survives a failure', async () => inFolder(async (folder) => {
  await writeFile(join(folder, 'image.car'), 'older')
  expect(await lineOf(publishTo(join(folder, 'image.car'), join(images, 'zstd.oci.tar')))).toMatch(/^UNSUPPORTED/)
  expect(await readFile(join(folder, 'image.car'), 'utf8')).toBe('older')
}))

const TOC = 'b091b24b90a4ad1e4d2d4fc4105f5b964be5ab7a8c752e288c7c15ba5c12d8d9'
const LAYER = '05655ba5048b511de02521c0383028f845fc445bc80e0869c650bdd3b146a407'
const MANIFEST = 'b90eb51f7ae9ab92bebb74f7a0ed1495776e6db650c7050cdb8759d96861758e'
const CONFIG = '61b0b4a22fcf7ad3ff9372d023ae807dd207cf9c5bf15aee78c0f783863d62e8'

test('stops inflating an archive at the limit and leaves nothing of it', async () => inFolder(async (folder) => {
  const source = join(folder, 'image.tar.gz')
  const archive = tar(entry('oci-layout', { data: '{"imageLayoutVersion":"1.0.0"}' }), entry('big', { data: Buffer.alloc(100_000) }))
  await writeFile(source, gzipSync(archive))

  const spoolBeside = join(folder, 'image.car')
  expect(await lineOf(openImageSource(source, { spoolBeside, inflatedBytesMax: archive.byteLength - 1 })))
    .toMatch(/^LIMIT_EXCEEDED: .*image\.tar\.gz inflates to more than \d+ bytes$/)
  expect(await lineOf(openImageSource(source, { spoolBeside, inflatedBytesMax: archive.byteLength }))).toMatch(/^NOT_OCI: .* is a tar archive with /)
  expect(await namesIn(folder)).toEqual(['image.tar.gz'])
}))

async function refuses (prepare: (folder: string) => Promise<string>, line: RegExp, more: Partial<PublishOptions> = {}): Promise<void> {
  await inFolder(async (folder) => await inFolder(async (out) => {
    const source = await prepare(folder)
    const before = await namesIn(folder)
    const got = await lineOf(publishTo(join(out, 'image.car'), source, more))

    expect(got.replaceAll(source, 'SOURCE')).toMatch(line)
    expect(got).not.toContain('\n')
    expect(await namesIn(out)).toEqual([])
    expect(await namesIn(folder)).toEqual(before)
  }))
}

function ociArchive (index: string): Buffer {
  return tar(entry('oci-layout', { data: '{"imageLayoutVersion":"1.0.0"}' }), entry('index.json', { data: index }))
}

function blobPath (layout: string, hex: string): string {
  return join(layout, 'blobs/sha256', hex)
}

async function damage (layout: string, hex: string): Promise<void> {
  await writeFile(blobPath(layout, hex), flipped(await readFile(blobPath(layout, hex)), 40))
}

function flipped (bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at)
  return copy
}
