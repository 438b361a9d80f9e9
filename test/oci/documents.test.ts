// A corpus of ambiguous, hostile and plain wrong documents, each with its exact error, beside good ones that differ by as
// little as possible.
import { describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { INDEX_MANIFESTS_MAX, LAYER_BYTES_MAX, LAYERS_MAX, MANIFEST_BYTES_MAX } from '../../src/base/limits.ts'
import { readConfig } from '../../src/oci/config-document.ts'
import { namedCids, readDescriptor } from '../../src/oci/descriptor.ts'
import { readIndex } from '../../src/oci/index-document.ts'
import { imageLayers, isArtifact, readManifest } from '../../src/oci/manifest-document.ts'
import * as types from '../../src/oci/media-types.ts'
import type { JsonValue } from '../../src/oci/strict-json.ts'
import { digestOfRawCid } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'

type Json = Record<string, unknown>

const HEX = 'ab'.repeat(32)
const HELLO = 'sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'
const DIGEST = `sha256:${HEX}`

function lineOf (work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (isSnapshotterError(error)) return error.line
    throw error
  }
  return 'accepted'
}

function bytesOf (document: Json | string): Buffer {
  return Buffer.from(typeof document === 'string' ? document : JSON.stringify(document))
}

function layer (change: Json = {}): Json {
  return { mediaType: types.OCI_LAYER_GZIP, digest: DIGEST, size: 5, ...change }
}

function manifest (change: Json = {}): Json {
  const config = { mediaType: types.OCI_CONFIG, digest: DIGEST, size: 2 }
  return { schemaVersion: 2, mediaType: types.OCI_MANIFEST, config, layers: [layer()], ...change }
}

function index (change: Json = {}): Json {
  const manifests = [{ mediaType: types.OCI_MANIFEST, digest: DIGEST, size: 3 }]
  return { schemaVersion: 2, mediaType: types.OCI_INDEX, manifests, ...change }
}

function config (change: Json = {}): Json {
  return { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [DIGEST] }, ...change }
}

function image (document: Json | string, mediaType: string | null = types.OCI_MANIFEST): string {
  return lineOf(() => imageLayers(readManifest(bytesOf(document), mediaType, 'manifest m'), 'manifest m'))
}

describe('a manifest', () => {
  test.each([
    ['of OCI', manifest(), types.OCI_MANIFEST],
    ['of OCI without its own media type', manifest({ mediaType: undefined }), types.OCI_MANIFEST],
    ['of OCI that nobody describes', manifest({ mediaType: undefined }), null],
    ['of Docker schema 2', manifest({
      mediaType: types.DOCKER_MANIFEST, config: { mediaType: types.DOCKER_CONFIG, digest: DIGEST, size: 2 },
      layers: [layer({ mediaType: types.DOCKER_LAYER_GZIP })]
    }), types.DOCKER_MANIFEST],
    ['with unknown keys', manifest({ 'com.example': { layers: 1 } }), types.OCI_MANIFEST],
    ['with null annotations and urls', manifest({ annotations: null, layers: [layer({ annotations: null, urls: null })] }),
      types.OCI_MANIFEST],
    ['with all kinds of layers', manifest({
      layers: [types.OCI_LAYER_TAR, types.OCI_LAYER_GZIP, types.OCI_LAYER_ZSTD, types.DOCKER_LAYER_TAR, types.DOCKER_LAYER_GZIP,
        types.DOCKER_LAYER_ZSTD]
        .map((mediaType) => layer({ mediaType }))
    }), types.OCI_MANIFEST],
    [`with ${LAYERS_MAX} layers`, manifest({ layers: Array.from({ length: LAYERS_MAX }, () => layer()) }), types.OCI_MANIFEST],
    ['with a layer at the limit', manifest({ layers: [layer({ size: LAYER_BYTES_MAX }), layer({ size: LAYER_BYTES_MAX })] }),
      types.OCI_MANIFEST]
  ])('%s is read', (_name, document, mediaType) => {
    expect(image(document, mediaType)).toBe('accepted')
  })

  test.each<[string, Json | string, string]>([
    ['that is also an index', manifest({ manifests: [] }),
      'NOT_OCI: manifest m has both "layers" and "manifests": it could be read as a manifest and as something else'],
    ['that is also an index of null', manifest({ manifests: null }),
      'NOT_OCI: manifest m has both "layers" and "manifests": it could be read as a manifest and as something else'],
    ['that is also schema 1', manifest({ fsLayers: [] }),
      'NOT_OCI: manifest m has both "layers" and "fsLayers": it could be read as a manifest and as something else'],
    ['of schema 1', { schemaVersion: 1, fsLayers: [] },
      'MEDIA_TYPE_UNSUPPORTED: manifest m is a Docker schema 1 manifest ("application/vnd.docker.distribution.manifest.v1+json"), ' +
      'which names no diffIDs; push the image again with a current tool'],
    ['that calls itself an index', manifest({ mediaType: types.OCI_INDEX }),
      `NOT_OCI: manifest m calls itself "${types.OCI_INDEX}", its descriptor says "${types.OCI_MANIFEST}"`],
    ['that calls itself Docker\'s', manifest({ mediaType: types.DOCKER_MANIFEST }),
      `NOT_OCI: manifest m calls itself "${types.DOCKER_MANIFEST}", its descriptor says "${types.OCI_MANIFEST}"`],
    ['with two lists of layers', '{"schemaVersion":2,"layers":[],"layers":[]}',
      'NOT_OCI: manifest m: not strict JSON at character 39: duplicate key "layers"'],
    ['with "Layers" beside "layers"', manifest({ Layers: [] }),
      'NOT_OCI: manifest m has the key "Layers", which some readers take for "layers"'],
    ['with "layerſ" (long s)', manifest({ 'layer\u017f': [] }),
      'NOT_OCI: manifest m has the key "layer\u017f", which some readers take for "layers"'],
    ['with "Digest" in a layer', manifest({ layers: [layer({ Digest: DIGEST })] }),
      'NOT_OCI: manifest m, layer 0 has the key "Digest", which some readers take for "digest"'],
    ['with data after it', `${JSON.stringify(manifest())}{}`,
      `NOT_OCI: manifest m: not strict JSON at character ${JSON.stringify(manifest()).length}: data after the end`],
    ['without layers', manifest({ layers: [] }), 'NOT_OCI: manifest m has no layers; an image needs at least one'],
    ['without a list of layers', manifest({ layers: undefined }), 'NOT_OCI: manifest m has no layers; a list was expected'],
    ['with layers that are an object', manifest({ layers: {} }), 'NOT_OCI: manifest m has layers = {}; a list was expected'],
    ['without a config', manifest({ config: undefined }), 'NOT_OCI: manifest m, config is missing, not an object'],
    ['without a schemaVersion', manifest({ schemaVersion: undefined }), 'NOT_OCI: manifest m has schemaVersion = nothing; 2 was expected'],
    ['of schema "2"', manifest({ schemaVersion: '2' }), 'NOT_OCI: manifest m has schemaVersion = "2"; 2 was expected'],
    ['that is a list', '[]', 'NOT_OCI: manifest m is a list, not an object'],
    ['that is null', 'null', 'NOT_OCI: manifest m is null, not an object'],
    ['that is an artifact by type', manifest({ artifactType: 'application/vnd.example' }),
      'MEDIA_TYPE_UNSUPPORTED: manifest m is an artifact ("application/vnd.example"), not an image'],
    ['that is an artifact by config', manifest({ config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: DIGEST, size: 2 } }),
      'MEDIA_TYPE_UNSUPPORTED: manifest m is an artifact ("application/vnd.oci.empty.v1+json"), not an image'],
    ['with a foreign layer of Docker',
      manifest({ layers: [layer({ mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })] }),
      'MEDIA_TYPE_UNSUPPORTED: manifest m, layer 0 is a foreign layer ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"): ' +
      'its bytes are kept outside the image'],
    ['with a nondistributable layer',
      manifest({ layers: [layer(), layer({ mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' })] }),
      'MEDIA_TYPE_UNSUPPORTED: manifest m, layer 1 is a foreign layer ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"): ' +
      'its bytes are kept outside the image'],
    ['with an encrypted layer', manifest({ layers: [layer({ mediaType: `${types.OCI_LAYER_GZIP}+encrypted` })] }),
      `MEDIA_TYPE_UNSUPPORTED: manifest m, layer 0 is encrypted ("${types.OCI_LAYER_GZIP}+encrypted"), which is not supported`],
    ['with a native EROFS layer', manifest({ layers: [layer({ mediaType: 'application/vnd.erofs.layer.v1' })] }),
      'MEDIA_TYPE_UNSUPPORTED: manifest m, layer 0 has the media type "application/vnd.erofs.layer.v1"; ' +
      'supported are tar and tar+gzip layers of OCI and Docker'],
    ['with one layer too many', manifest({ layers: Array.from({ length: LAYERS_MAX + 1 }, () => layer()) }),
      'LIMIT_EXCEEDED: manifest m has 128 layers, limit 127'],
    ['with a layer one byte too long', manifest({ layers: [layer({ size: LAYER_BYTES_MAX + 1 })] }),
      'LIMIT_EXCEEDED: manifest m, layer 0: 10737418241 bytes, limit 10737418240'],
    ['with layers one byte too long together',
      manifest({ layers: [layer({ size: LAYER_BYTES_MAX }), layer({ size: LAYER_BYTES_MAX }), layer({ size: 1 })] }),
      'LIMIT_EXCEEDED: manifest m, all layers: 21474836481 bytes, limit 21474836480'],
    ['that nests too deep', manifest({ x: JSON.parse('['.repeat(65) + ']'.repeat(65)) as unknown }),
      'LIMIT_EXCEEDED: manifest m nests deeper than 64']
  ])('%s is refused', (_name, document, line) => {
    expect(image(document)).toBe(line)
  })

  test('of the limit is read, one byte more is refused', () => {
    const text = JSON.stringify(manifest())
    expect(image(text.padEnd(MANIFEST_BYTES_MAX))).toBe('accepted')
    expect(image(text.padEnd(MANIFEST_BYTES_MAX + 1))).toBe('LIMIT_EXCEEDED: manifest m has 4194305 bytes, limit 4194304')
  })

  test('knows artifacts from images', () => {
    expect(isArtifact(readManifest(bytesOf(manifest()), null, 'm'))).toBe(false)
    expect(isArtifact(readManifest(bytesOf(manifest({ artifactType: 'x' })), null, 'm'))).toBe(true)
  })

  test('takes its type from its config when nobody states it', () => {
    const docker = manifest({ mediaType: undefined, config: { mediaType: types.DOCKER_CONFIG, digest: DIGEST, size: 2 } })
    expect(readManifest(bytesOf(docker), null, 'm').mediaType).toBe(types.DOCKER_MANIFEST)
    expect(readManifest(bytesOf(manifest({ mediaType: undefined })), null, 'm').mediaType).toBe(types.OCI_MANIFEST)
  })
})

describe('an index', () => {
  const read = (document: Json | string, mediaType: string | null = types.OCI_INDEX): string =>
    lineOf(() => readIndex(bytesOf(document), mediaType, 'index i'))

  test.each([
    ['of OCI', index(), types.OCI_INDEX], ['of OCI without its type', index({ mediaType: undefined }), null],
    ['of Docker', index({ mediaType: types.DOCKER_INDEX }), types.DOCKER_INDEX], ['of nothing', index({ manifests: [] }), null]
  ])('%s is read', (_name, document, mediaType) => {
    expect(read(document, mediaType)).toBe('accepted')
  })

  test.each<[string, Json | string, string]>([
    ['that is also a manifest', index({ layers: [] }),
      'NOT_OCI: index i has both "manifests" and "layers": it could be read as an index and as a manifest'],
    ['with a config', index({ config: {} }),
      'NOT_OCI: index i has both "manifests" and "config": it could be read as an index and as a manifest'],
    ['that calls itself a manifest', index({ mediaType: types.OCI_MANIFEST }),
      `NOT_OCI: index i calls itself "${types.OCI_MANIFEST}", its descriptor says "${types.OCI_INDEX}"`],
    ['with "Manifests" beside "manifests"', index({ Manifests: [] }),
      'NOT_OCI: index i has the key "Manifests", which some readers take for "manifests"'],
    ['without manifests', index({ manifests: null }), 'NOT_OCI: index i has manifests = null; a list was expected'],
    ['with a bad platform', index({ manifests: [layer({ platform: { os: 'linux' } })] }),
      'NOT_OCI: index i, entry 0 platform has no architecture; a text was expected'],
    ['with one entry too many', index({ manifests: Array.from({ length: INDEX_MANIFESTS_MAX + 1 }, () => layer()) }),
      'LIMIT_EXCEEDED: index i lists 1025 manifests, limit 1024']
  ])('%s is refused', (_name, document, line) => {
    expect(read(document)).toBe(line)
  })

  test('that nobody describes must not call itself something else', () => {
    expect(read(index({ mediaType: 'text/plain' }), null))
      .toBe('MEDIA_TYPE_UNSUPPORTED: index i has the media type "text/plain", which is no OCI or Docker schema 2 manifest or index')
  })
})

describe('a descriptor', () => {
  const read = (change: Json): string => lineOf(() => readDescriptor(layer(change) as JsonValue, 'layer 0'))
  const embedded = (text: string): Json => ({
    digest: `sha256:${createHash('sha256').update(text).digest('hex')}`, size: text.length, data: Buffer.from(text).toString('base64')
  })

  test.each<[string, Json, string]>([
    ['without a digest', { digest: undefined }, 'NOT_OCI: layer 0 has no digest; a digest was expected'],
    ['with a sha512 digest', { digest: `sha512:${'0'.repeat(128)}` },
      `NOT_OCI: layer 0 has digest = "sha512:${'0'.repeat(73)}"; only sha256 digests in lower case are accepted`],
    ['with a digest in capitals', { digest: `sha256:${HEX.toUpperCase()}` },
      `NOT_OCI: layer 0 has digest = "sha256:${HEX.toUpperCase()}"; only sha256 digests in lower case are accepted`],
    ['with a path for a digest', { digest: 'sha256:../../x' },
      'NOT_OCI: layer 0 has digest = "sha256:../../x"; only sha256 digests in lower case are accepted'],
    ['without a size', { size: undefined }, 'NOT_OCI: layer 0 has no size; a number of bytes was expected'],
    ['of size -1', { size: -1 }, 'NOT_OCI: layer 0 has size = -1; a number of bytes was expected'],
    ['of size 1.5', { size: 1.5 }, 'NOT_OCI: layer 0 has size = 1.5; a number of bytes was expected'],
    ['of size "5"', { size: '5' }, 'NOT_OCI: layer 0 has size = "5"; a number of bytes was expected'],
    ['of size 2^53', { size: 2 ** 53 }, 'NOT_OCI: layer 0 has size = 9007199254740992; a number of bytes was expected'],
    ['without a media type', { mediaType: '' }, 'NOT_OCI: layer 0 has mediaType = ""; a text was expected'],
    ['with urls of numbers', { urls: [1] }, 'NOT_OCI: layer 0 has urls = [1]; a list of texts was expected'],
    ['with an annotation that is a number', { annotations: { a: 'x', b: 1 } },
      'NOT_OCI: layer 0 has annotations["b"] = 1; a text was expected'],
    ['with embedded data of another digest', { ...embedded('hello'), digest: DIGEST },
      `DIGEST_MISMATCH: layer 0, embedded data: want ${DIGEST}, got ${HELLO}`],
    ['with embedded data of another size', { ...embedded('hello'), size: 6 },
      'DIGEST_MISMATCH: layer 0 embeds 5 bytes of data, its size says 6'],
    ['with data that is no base64', { ...embedded('hello'), data: 'aGVsbG8' }, 'NOT_OCI: layer 0 has data that is not canonical base64']
  ])('%s is refused', (_name, change, line) => {
    expect(read(change)).toBe(line)
  })

  test('carries what it says', () => {
    const descriptor = readDescriptor(layer({
      ...embedded('hello'), urls: ['https://x'], annotations: { a: 'b', constructor: 'c' }, artifactType: 't',
      platform: { os: 'linux', architecture: 'arm64', variant: 'v8', 'os.version': '1' }
    }) as JsonValue, 'd')

    expect(descriptor).toMatchObject({
      size: 5, urls: ['https://x'], artifactType: 't', platform: { os: 'linux', architecture: 'arm64', variant: '' }
    })
    expect(Object.entries(descriptor.annotations)).toEqual([['a', 'b'], ['constructor', 'c']])
    expect(Buffer.from(descriptor.data ?? []).toString()).toBe('hello')
  })

  test('names CIDs by urls first, then by annotation; what is no CID, or one of another blob, is passed over', () => {
    const raw = 'bafkreih27ajrojltfvxnbaf7dizcbiwumkmm7kmdavc3izdgd57cij5n7q'
    const tree = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'
    const descriptor = {
      digest: digestOfRawCid(CID.parse(raw)) ?? digestOf(Buffer.from('')),
      urls: ['https://gw/ipfs/x', 'ipfs://nonsense', `ipfs://${tree}/path`, `ipfs://${tree}`],
      annotations: { 'containerd.io/snapshot/ipfs-snapshotter/cid': raw }
    }

    expect(namedCids(descriptor).map(String)).toEqual([tree, raw])
    expect(namedCids({ ...descriptor, digest: digestOf(Buffer.from('another blob')) }).map(String)).toEqual([tree])
  })
})

describe('a config', () => {
  const read = (document: Json | string, layers = 1): string => lineOf(() => readConfig(bytesOf(document), layers, 'config c'))

  test('is read with everything else that configs hold', () => {
    expect(read(config({ created: 'x', config: { Cmd: ['sh'] }, history: [{ empty_layer: true }], moby: 1, variant: '' }))).toBe('accepted')
  })

  test.each<[string, Json | string, string]>([
    ['with a diffID too few', config({ rootfs: { type: 'layers', diff_ids: [] } }),
      'NOT_OCI: config c, rootfs has 0 diff_ids for 1 layers'],
    ['with a diffID too many', config({ rootfs: { type: 'layers', diff_ids: [DIGEST, DIGEST] } }),
      'NOT_OCI: config c, rootfs has 2 diff_ids for 1 layers'],
    ['with a diffID that is no digest', config({ rootfs: { type: 'layers', diff_ids: ['sha256:00'] } }),
      'NOT_OCI: config c, rootfs has diff_ids[0] = "sha256:00"; only sha256 digests in lower case are accepted'],
    ['with a diffID that is a number', config({ rootfs: { type: 'layers', diff_ids: [1] } }),
      'NOT_OCI: config c, rootfs has diff_ids[0] = 1; a digest was expected'],
    ['without rootfs', config({ rootfs: undefined }), 'NOT_OCI: config c, rootfs is missing, not an object'],
    ['with another kind of rootfs', config({ rootfs: { type: 'layers+base', diff_ids: [] } }),
      'NOT_OCI: config c, rootfs has type = "layers+base"; "layers" was expected'],
    ['with "Rootfs" beside "rootfs"', config({ Rootfs: {} }),
      'NOT_OCI: config c has the key "Rootfs", which some readers take for "rootfs"'],
    ['with "DIFF_IDS" beside "diff_ids"', config({ rootfs: { type: 'layers', diff_ids: [DIGEST], DIFF_IDS: [] } }),
      'NOT_OCI: config c, rootfs has the key "DIFF_IDS", which some readers take for "diff_ids"'],
    ['without an architecture', config({ architecture: '' }), 'NOT_OCI: config c has architecture = ""; a text was expected'],
    ['with an os that is a number', config({ os: 1 }), 'NOT_OCI: config c has os = 1; a text was expected'],
    ['with two os keys', '{"os":"linux","os":"windows"}', 'NOT_OCI: config c: not strict JSON at character 18: duplicate key "os"']
  ])('%s is refused', (_name, document, line) => {
    expect(read(document)).toBe(line)
  })
})
