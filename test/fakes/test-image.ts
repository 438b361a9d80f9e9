// Small images for tests: documents and blobs by digest, put into memory as any of the root shapes. Layers are whatever bytes
// a test wants; digests are computed here, not by the code under test.
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST } from '../../src/oci/media-types.ts'
import type { MemoryBlocks } from './memory-blocks.ts'

export type Json = Record<string, unknown>

export interface Blob {
  readonly mediaType: string
  readonly digest: string
  readonly bytes: Uint8Array
}

export interface TestImage {
  readonly manifest: Blob
  readonly config: Blob
  readonly layers: readonly Blob[]
  readonly diffIds: readonly string[]
  readonly platform: Json
}

export function sha256 (bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export function blob (mediaType: string, content: Uint8Array | string | Json): Blob {
  const bytes = content instanceof Uint8Array ? content : Buffer.from(typeof content === 'string' ? content : JSON.stringify(content))
  return { mediaType, digest: sha256(bytes), bytes }
}

export function descriptorOf ({ mediaType, digest, bytes }: Blob, more: Json = {}): Json {
  return { mediaType, digest, size: bytes.byteLength, ...more }
}

export interface ImageRecipe {
  readonly architecture?: string
  readonly variant?: string
  readonly layers?: ReadonlyArray<Uint8Array | string>
  readonly docker?: boolean
  /** Changes to the documents after they are right. */
  readonly config?: Json
  readonly manifest?: Json
  /** More for each child's descriptor, by digest. */
  readonly child?: (blob: Blob) => Json
}

export function makeImage (recipe: ImageRecipe = {}): TestImage {
  const { architecture = 'amd64', variant, layers: contents = [`layer of ${architecture}`], docker = false, child = () => ({}) } = recipe
  const layers = contents.map((content) => blob(docker ? DOCKER_LAYER_GZIP : OCI_LAYER_GZIP, content))
  const diffIds = layers.map(({ digest }) => sha256(`tar of ${digest}`))
  const platform = { os: 'linux', architecture, ...(variant === undefined ? {} : { variant }) }
  const config = blob(docker ? DOCKER_CONFIG : OCI_CONFIG, { ...platform, rootfs: { type: 'layers', diff_ids: diffIds }, ...recipe.config })
  const mediaType = docker ? DOCKER_MANIFEST : OCI_MANIFEST
  const manifest = blob(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: descriptorOf(config, child(config)),
    layers: layers.map((layer) => descriptorOf(layer, child(layer))),
    ...recipe.manifest
  })
  return { manifest, config, layers, diffIds, platform }
}

export function blobsOf (image: TestImage): Blob[] {
  return [image.manifest, image.config, ...image.layers]
}

export function makeIndex (manifests: readonly Json[], change: Json = {}): Blob {
  return blob(OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests, ...change })
}

/** An entry as multi-platform builders write it. */
export function entryOf (image: TestImage, more: Json = {}): Json {
  return descriptorOf(image.manifest, { platform: image.platform, ...more })
}

export interface LayoutParts {
  readonly blobs: readonly Blob[]
  readonly index: Blob
  /** Files that replace or join the layout's own. */
  readonly files?: Readonly<Record<string, CID>>
}

/** Shape (a). */
export function putLayout (blocks: MemoryBlocks, { blobs, index, files = {} }: LayoutParts, chunk?: number): CID {
  const sha256 = blocks.putDirectory(Object.fromEntries(blobs.map(({ digest, bytes }) => [digest.slice(7), blocks.putFile(bytes, chunk)])))
  return blocks.putDirectory({
    blobs: blocks.putDirectory({ sha256 }), 'index.json': blocks.putFile(index.bytes), 'oci-layout': blocks.putFile('{"imageLayoutVersion":"1.0.0"}'), ...files
  })
}

/** A layout of one image whose index.json states the platform. */
export function putImage (blocks: MemoryBlocks, image: TestImage, chunk?: number): CID {
  return putLayout(blocks, { blobs: blobsOf(image), index: makeIndex([entryOf(image)]) }, chunk)
}

/** Shape (d). */
export function putIpdr (blocks: MemoryBlocks, image: TestImage, manifests: Readonly<Record<string, Blob>>): CID {
  const put = (files: Readonly<Record<string, Blob>>): CID =>
    blocks.putDirectory(Object.fromEntries(Object.entries(files).map(([name, { bytes }]) => [name, blocks.putFile(bytes)])))
  return blocks.putDirectory({
    manifests: put(manifests), blobs: put(Object.fromEntries([image.config, ...image.layers].map((blob) => [blob.digest, blob])))
  })
}
