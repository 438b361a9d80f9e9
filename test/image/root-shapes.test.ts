// The four shapes a root may have, and what is said of everything else that a CID may name.
import { describe, expect, test } from '@jest/globals'
import * as dagPb from '@ipld/dag-pb'
import type { CID } from 'multiformats/cid'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { resolveImage } from '../../src/image/resolver.ts'
import { ANNOTATION_CID } from '../../src/oci/annotations.ts'
import { DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from '../../src/oci/media-types.ts'
import { MANIFEST_BYTES_MAX } from '../../src/base/limits.ts'
import type { ImagePlan } from '../../src/image/plan.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { smallTar } from '../fakes/small-tar.ts'
import {
  type Blob, blob, blobsOf, descriptorOf, entryOf, type Json, makeImage, makeIndex, putImage, putIpdr, putLayout, sha256, type TestImage
} from '../fakes/test-image.ts'

const CHUNK = 64

interface Bench {
  readonly blocks: MemoryBlocks
  readonly image: TestImage
  readonly resolve: (root: CID | string) => Promise<ImagePlan>
  readonly lineOf: (root: CID | string) => Promise<string>
}

function setUp (): Bench {
  const blocks = new MemoryBlocks()
  const resolve = async (root: CID | string): Promise<ImagePlan> =>
    resolveImage(parseReference(root.toString()), { blocks, platform: 'linux/amd64' })
  return {
    blocks,
    image: makeImage({ layers: ['base', 'x'.repeat(1000)] }),
    resolve,
    lineOf: async (root) => resolve(root).then(() => 'resolved', (error: unknown) => {
      if (isSnapshotterError(error)) return error.line.replaceAll(root.toString(), 'ROOT')
      throw error
    })
  }
}

function expectPlan (plan: ImagePlan, image: TestImage): void {
  expect(plan.manifest.digest).toBe(image.manifest.digest)
  expect(plan.config.digest).toBe(image.config.digest)
  expect(plan.layers.map(({ digest, diffId }) => ({ digest, diffId })))
    .toEqual(image.layers.map(({ digest }, at) => ({ digest, diffId: image.diffIds[at] })))
}

/** Every blob as a file, and the CID of each by digest. */
function putBlobs (blocks: MemoryBlocks, blobs: readonly Blob[], chunk?: number): Map<string, CID> {
  return new Map(blobs.map(({ digest, bytes }) => [digest, blocks.putFile(bytes, chunk)]))
}

describe('(a) a layout directory', () => {
  test('with a platform in its index.json', async () => {
    const { blocks, image, resolve } = setUp()
    const plan = await resolve(putImage(blocks, image))

    expectPlan(plan, image)
    expect(plan.index?.mediaType).toBe(OCI_INDEX)
    expect(plan.index?.digest).toBe(sha256(makeIndex([entryOf(image)]).bytes))
  })

  test('without one: the config tells', async () => {
    const { blocks, image, resolve } = setUp()
    expectPlan(await resolve(putLayout(blocks, { blobs: blobsOf(image), index: makeIndex([descriptorOf(image.manifest)]) })), image)
  })

  test('whose blobs are of many blocks', async () => {
    const { blocks, image, resolve } = setUp()
    const plan = await resolve(putImage(blocks, image, CHUNK))

    expectPlan(plan, image)
    expect(plan.layers.map(({ cid }) => cid.code)).toEqual([0x55, 0x70])
  })

  test('of a Docker image', async () => {
    const { blocks, resolve } = setUp()
    const image = makeImage({ docker: true })
    const plan = await resolve(putImage(blocks, image))

    expectPlan(plan, image)
    expect(plan.manifest.mediaType).toBe(DOCKER_MANIFEST)
  })

  test('with the manifest embedded in its index', async () => {
    const { blocks, image, resolve } = setUp()
    const index = makeIndex([entryOf(image, { data: Buffer.from(image.manifest.bytes).toString('base64') })])
    expectPlan(await resolve(putLayout(blocks, { blobs: [image.config, ...image.layers], index })), image)
  })

  test('that leaves out blobs which its descriptors place elsewhere', async () => {
    const { blocks, resolve } = setUp()
    const elsewhere = new MemoryBlocks()
    const child = ({ bytes }: Blob): Json => ({ urls: [`ipfs://${elsewhere.putFile(bytes, CHUNK).toString()}`] })
    const image = makeImage({ layers: ['y'.repeat(1000)], child })
    const plan = await resolve(putLayout(blocks, { blobs: [image.manifest, image.config], index: makeIndex([entryOf(image)]) }))

    expect(plan.layers[0]?.cid.toString()).toBe(elsewhere.putFile(image.layers[0]?.bytes ?? '', CHUNK).toString())
  })

  test('is believed before urls and annotations: its blobs are in the DAG that was pinned', async () => {
    const { blocks, resolve } = setUp()
    const elsewhere = new MemoryBlocks()
    const child = ({ bytes }: Blob): Json => ({ urls: [`ipfs://${elsewhere.putFile(bytes, CHUNK).toString()}`] })
    const image = makeImage({ layers: ['y'.repeat(1000)], child })
    const plan = await resolve(putImage(blocks, image))

    expect(plan.layers[0]?.cid.toString()).toBe(blocks.putFile(image.layers[0]?.bytes ?? '').toString())
  })

  test('asks for each block once and for no layer', async () => {
    const { blocks, image, resolve } = setUp()
    const plan = await resolve(putImage(blocks, image))
    const layers = new Set(plan.layers.map(({ cid }) => cid.toString()))

    expect(blocks.asked.filter((cid) => layers.has(cid))).toEqual([])
    // root, index.json, blobs, sha256, manifest, config; what oci-layout says is told by its CID
    expect(new Set(blocks.asked).size).toBe(6)
  })
})

describe('(b) a JSON descriptor', () => {
  const linked = (blocks: MemoryBlocks, name: 'urls' | 'annotations') => (child: Blob) => {
    const cid = blocks.putFile(child.bytes, CHUNK).toString()
    return name === 'urls' ? { urls: [`ipfs://${cid}`] } : { annotations: { [ANNOTATION_CID]: cid } }
  }

  test.each(['urls', 'annotations'] as const)('of a manifest, with the CIDs in %s', async (name) => {
    const { blocks, resolve } = setUp()
    const link = linked(blocks, name)
    const image = makeImage({ layers: ['z'.repeat(1000)], child: link })
    const plan = await resolve(blocks.putFile(JSON.stringify(descriptorOf(image.manifest, link(image.manifest)))))

    expectPlan(plan, image)
    expect(plan.index).toBeNull()
    expect(plan.layers[0]?.cid.code).toBe(0x70)
  })

  test('whose tool rewrote the blobs and their urls, and copied our annotations of the old ones', async () => {
    const { blocks, resolve } = setUp()
    const stale = { [ANNOTATION_CID]: blocks.putFile('the manifest before', CHUNK).toString() }
    const child = (blob: Blob): Json => ({ ...linked(blocks, 'urls')(blob), annotations: stale })
    const image = makeImage({ layers: ['z'.repeat(1000)], child })
    expectPlan(await resolve(blocks.putFile(JSON.stringify(descriptorOf(image.manifest, child(image.manifest))))), image)
  })

  test.each(['urls', 'annotations'] as const)('with raw CIDs of other blobs in %s: those of its digests are tried', async (name) => {
    const { blocks, resolve } = setUp()
    const stale = blocks.putFile('the blob before').toString()
    const child = (): Json => name === 'urls' ? { urls: [`ipfs://${stale}`] } : { annotations: { [ANNOTATION_CID]: stale } }
    const image = makeImage({ layers: ['z'.repeat(1000)], child })
    putBlobs(blocks, blobsOf(image))
    expectPlan(await resolve(blocks.putFile(JSON.stringify(descriptorOf(image.manifest, child())))), image)
  })

  test('of an index', async () => {
    const { blocks, resolve } = setUp()
    const link = linked(blocks, 'urls')
    const image = makeImage({ child: link })
    const index = makeIndex([entryOf(image, link(image.manifest)), entryOf(makeImage({ architecture: 'arm64', child: link }))])
    const plan = await resolve(blocks.putFile(JSON.stringify(descriptorOf(index, link(index)))))

    expectPlan(plan, image)
    expect(plan.index?.digest).toBe(index.digest)
  })

  test.each<[string, (image: TestImage) => Record<string, unknown>, string]>([
    ['of a layer', (image) => descriptorOf(image.layers[0] as Blob),
      'MEDIA_TYPE_UNSUPPORTED: the document that ipfs://ROOT describes has the media type ' +
      '"application/vnd.oci.image.layer.v1.tar+gzip", which is no OCI or Docker schema 2 manifest or index'],
    ['whose digest is another document\'s', (image) => descriptorOf(image.config, { mediaType: OCI_MANIFEST, urls: [] }),
      'NOT_OCI: manifest DIGEST of ipfs://ROOT has schemaVersion = nothing; 2 was expected'],
    ['that could be a manifest too', (image) => ({ ...descriptorOf(image.manifest), layers: [] }),
      'NOT_OCI: ipfs://ROOT could be read as a descriptor and as a manifest']
  ])('%s is refused', async (_name, document, line) => {
    const { blocks, image, lineOf } = setUp()
    putBlobs(blocks, blobsOf(image))
    const got = await lineOf(blocks.putFile(JSON.stringify(document(image))))

    expect(got.replace(/sha256:[0-9a-f]{64}/, 'DIGEST')).toBe(line)
  })
})

describe('(c) a bare document', () => {
  test('manifest, its small blobs found by digest', async () => {
    const { blocks, image, resolve } = setUp()
    putBlobs(blocks, blobsOf(image))
    const plan = await resolve(blocks.putFile(image.manifest.bytes))

    expectPlan(plan, image)
    expect(plan.index).toBeNull()
  })

  test('manifest that is a file of many blocks', async () => {
    const { blocks, image, resolve } = setUp()
    putBlobs(blocks, blobsOf(image))
    expectPlan(await resolve(blocks.putFile(image.manifest.bytes, CHUNK)), image)
  })

  test('index', async () => {
    const { blocks, image, resolve } = setUp()
    putBlobs(blocks, blobsOf(image))
    const index = makeIndex([entryOf(image)])
    const plan = await resolve(blocks.putFile(index.bytes))

    expectPlan(plan, image)
    expect(plan.index?.digest).toBe(index.digest)
  })

  test('manifest with a layer of more than one block and no CID for it', async () => {
    const { blocks, lineOf } = setUp()
    const image = makeImage({ layers: [new Uint8Array(2 * 1024 * 1024 + 1)] })
    putBlobs(blocks, [image.config])

    expect(await lineOf(blocks.putFile(image.manifest.bytes))).toBe(
      `NOT_OCI: layer 0 (${image.layers[0]?.digest ?? ''}, 2097153 bytes) of ipfs://ROOT has no CID: ` +
      'its descriptor has neither "urls" nor an annotation; publish the image as an OCI layout directory')
  })
})

describe('(d) an IPDR directory', () => {
  test('with the manifest called latest', async () => {
    const { blocks, resolve } = setUp()
    const image = makeImage({ docker: true })
    expectPlan(await resolve(putIpdr(blocks, image, { latest: image.manifest, [image.manifest.digest]: image.manifest })), image)
  })

  test('with only one, whatever it is called', async () => {
    const { blocks, image, resolve } = setUp()
    expectPlan(await resolve(putIpdr(blocks, image, { v1: image.manifest, [image.manifest.digest]: image.manifest })), image)
  })

  test('with several, by the digest of the reference', async () => {
    const { blocks, image, resolve, lineOf } = setUp()
    const other = makeImage({ architecture: 'arm64' })
    const root = putIpdr(blocks, image, { v1: other.manifest, v2: image.manifest, [image.manifest.digest]: image.manifest })

    expectPlan(await resolve(`ipfs://${root.toString()}@${image.manifest.digest}`), image)
    expect(await lineOf(root)).toBe(
      `REF_INVALID: ipfs://ROOT has 3 manifests (${image.manifest.digest}, v1, v2) and none called latest; add @sha256:<manifest digest>`)
  })

  test('whose file names lie', async () => {
    const { blocks, image, lineOf } = setUp()
    const other = makeImage({ layers: ['other'] })
    const root = putIpdr(blocks, image, { [other.manifest.digest]: image.manifest, v1: other.manifest })

    expect(await lineOf(`ipfs://${root.toString()}@${other.manifest.digest}`)).toMatch(
      /^DIGEST_MISMATCH: manifests\/sha256:\w{64} of ipfs:\/\/\w+: want sha256:\w{64}, got sha256:\w{64}$/)
  })
})

describe('anything else is NOT_OCI, saying what was found', () => {
  const tarOf = async (names: readonly string[]): Promise<Uint8Array> =>
    smallTar(Object.fromEntries(names.map((name) => [name, 'content'])))
  const PUBLISH = 'publish it with `ipfs-snapshotter publish FILE` and use the CID that it prints'

  test.each<[string, () => Promise<Uint8Array | string> | Uint8Array | string, string]>([
    ['an HTML page', () => '\n<!DOCTYPE html><html><body>504</body></html>',
      'an HTML page (45 bytes); the CID names a web page, perhaps what a gateway showed, not the image'],
    ['an HTML page after a comment', () => '<!-- x --><HTML>',
      'an HTML page (16 bytes); the CID names a web page, perhaps what a gateway showed, not the image'],
    ['an OCI archive', () => tarOf(['blobs/sha256/aa', 'index.json', 'oci-layout']), `an OCI archive, one file of 4096 bytes; ${PUBLISH}`],
    ['a docker archive', () => tarOf([`${'0'.repeat(64)}.json`, 'manifest.json']), `a docker archive, one file of 3072 bytes; ${PUBLISH}`],
    ['some tar', () => tarOf(['etc/passwd']),
      `a tar archive of 2048 bytes that begins with "etc/passwd"; if it is an image archive, ${PUBLISH}`],
    ['a gzip file', () => Uint8Array.from([0x1f, 0x8b, 8, 0]),
      `a gzip file (4 bytes); if it is an image archive, ${PUBLISH}; if it is a layer, use the CID of its image`],
    ['a ZIP file', () => Uint8Array.from([0x50, 0x4b, 3, 4, 0, 0]), 'a ZIP archive (6 bytes)'],
    ['a CAR file', () => Buffer.concat([Buffer.from([0x3a, 0xa2, 0x65]), Buffer.from('roots')]),
      'a CAR file (8 bytes); import it (ipfs dag import) and use the root it names'],
    ['an empty file', () => '', 'an empty file'],
    ['text', () => 'hello world', 'a file of 11 bytes that begins with "hello world", not an OCI document'],
    ['bytes', () => Uint8Array.from([0, 1, 255]), 'a file of 3 bytes that begins with "\\u0000\\u0001ÿ", not an OCI document'],
    ['the manifest.json of a docker archive', () => '[{"Config":"x"}]',
      'a JSON list (16 bytes); if it is the manifest.json of a docker archive: publish the archive'],
    ['another JSON object', () => '{"a":1,"b":2}', 'a JSON object with the keys "a", "b", no manifest, index or descriptor'],
    ['an empty JSON object', () => '{}', 'an empty JSON object'],
    ['an oci-layout file', () => '{"imageLayoutVersion":"1.0.0"}',
      'the oci-layout file of a layout; use the CID of the directory that holds it'],
    ['a config', () => makeImage().config.bytes, 'an image config; use the CID of the layout, index or manifest that names it']
  ])('%s', async (_name, content, found) => {
    const { blocks, lineOf } = setUp()
    const made = await content()

    expect(await lineOf(blocks.putFile(made))).toBe(`NOT_OCI: ipfs://ROOT is ${found}`)
    if (made.length > CHUNK) expect(await lineOf(blocks.putFile(made, CHUNK))).toBe(`NOT_OCI: ipfs://ROOT is ${found}`)
  })

  test('broken JSON', async () => {
    const { blocks, lineOf } = setUp()
    expect(await lineOf(blocks.putFile('{"schemaVersion":2,')))
      .toBe('NOT_OCI: ipfs://ROOT: not strict JSON at character 19: a key was expected')
  })

  test('a document over the limit, without reading it', async () => {
    const { blocks, lineOf } = setUp()
    const bytes = Buffer.alloc(MANIFEST_BYTES_MAX + 1, ' ')
    bytes.write('{')
    expect(await lineOf(blocks.putFile(bytes))).toBe('LIMIT_EXCEEDED: ipfs://ROOT is a document of 4194305 bytes, limit 4194304')
    expect(blocks.asked.length).toBeLessThan(8)
  })

  test.each<[string, readonly string[], string]>([
    ['an empty directory', [], 'an empty directory, not an OCI image layout'],
    ['a web site', ['index.html', 'style.css'],
      'a directory with "index.html", "style.css", not an OCI image layout; it looks like a web site'],
    ['a layout without oci-layout', ['blobs', 'index.json'],
      'a directory with "blobs", "index.json", not an OCI image layout; it misses oci-layout'],
    ['an unpacked docker archive', ['manifest.json', 'repositories'],
      'a directory with "manifest.json", "repositories", not an OCI image layout; ' +
      'it looks like an unpacked docker archive: run `ipfs-snapshotter publish` on the archive'],
    ['many files', Array.from({ length: 12 }, (_, at) => `f${String(at).padStart(2, '0')}`),
      'a directory with "f00", "f01", "f02", "f03", "f04", "f05", "f06", "f07" and 4 more, not an OCI image layout']
  ])('%s', async (_name, names, found) => {
    const { blocks, lineOf } = setUp()
    expect(await lineOf(blocks.putDirectory(Object.fromEntries(names.map((name) => [name, blocks.putFile(name)])))))
      .toBe(`NOT_OCI: ipfs://ROOT is ${found}`)
  })

  test('a directory around the layout, naming the layout\'s CID', async () => {
    const { blocks, image, lineOf } = setUp()
    const layout = putImage(blocks, image)
    expect(await lineOf(blocks.putDirectory({ image: layout }))).toBe(
      'NOT_OCI: ipfs://ROOT is a directory with "image", not an OCI image layout; ' +
      `if the layout is inside it, use its own CID: ipfs://${layout.toString()}`)
  })

  test.each<[string, (blocks: MemoryBlocks, image: TestImage) => CID, string]>([
    ['a layout of another version', (blocks, image) => putLayout(blocks, {
      blobs: blobsOf(image), index: makeIndex([entryOf(image)]), files: { 'oci-layout': blocks.putFile('{"imageLayoutVersion":"2.0.0"}') }
    }), 'UNSUPPORTED: oci-layout of ipfs://ROOT states version "2.0.0"; 1.x is supported'],
    ['a layout without blobs/sha256', (blocks, image) => putLayout(blocks, {
      blobs: blobsOf(image), index: makeIndex([entryOf(image)]), files: { blobs: blocks.putDirectory({ sha512: blocks.putDirectory({}) }) }
    }), 'NOT_OCI: blobs/sha256 of ipfs://ROOT is missing'],
    ['a layout whose index.json is ambiguous', (blocks, image) => putLayout(blocks, {
      blobs: blobsOf(image), index: makeIndex([entryOf(image)], { layers: [] })
    }), 'NOT_OCI: index.json of ipfs://ROOT has both "manifests" and "layers": it could be read as an index and as a manifest'],
    ['a layout whose index.json is a manifest', (blocks, image) => putLayout(blocks, { blobs: blobsOf(image), index: image.manifest }),
      'MEDIA_TYPE_UNSUPPORTED: index.json of ipfs://ROOT has the media type "application/vnd.oci.image.manifest.v1+json", ' +
      'which is no OCI or Docker schema 2 manifest or index'],
    ['a layout whose index.json is a web page', (blocks, image) => putLayout(blocks, {
      blobs: blobsOf(image), index: blob(OCI_INDEX, '<html>')
    }), 'NOT_OCI: index.json of ipfs://ROOT: not strict JSON at character 0: a value was expected'],
    ['a dag-pb node that is no UnixFS', (blocks) => blocks.put(dagPb.encode({ Links: [] }), 0x70),
      'NOT_OCI: ipfs://ROOT is no UnixFS file or directory (ROOT: NotUnixFSError: no data in PBNode)']
  ])('%s', async (_name, put, line) => {
    const { blocks, image, lineOf } = setUp()
    expect(await lineOf(put(blocks, image))).toBe(line)
  })
})
