// The documents of a converted image: config with the new diffIDs, manifest and index whose descriptors all say where
// their blobs are on IPFS (`urls` for nerdctl, an annotation for every client), and the root descriptor that stock
// nerdctl reads (contracts notes §2.2). Everything that is not about the layers' bytes is kept.
import { ANNOTATION_CID } from '../oci/annotations.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { OCI_CONFIG, OCI_INDEX, OCI_MANIFEST } from '../oci/media-types.ts'
import type { Platform } from '../oci/platform.ts'
import type { Digest } from '../verify/digest.ts'
import type { PublishedLayer } from './convert-layer.ts'
import type { AddedBlob } from './layout.ts'

/** Keys that speak about the bytes before conversion: indexes and CIDs of the old layers. */
const STALE = [
  'containerd.io/snapshot/stargz/', 'containerd.io/snapshot/remote/', 'containerd.io/snapshot/ipfs-snapshotter/',
  'io.containers.estargz.', 'io.containers.zstd-chunked.', 'io.github.containers.zstd-chunked.', 'com.amazon.soci'
]

export function currentAnnotations (annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => !STALE.some((prefix) => key.startsWith(prefix))))
}

/** `config` was decoded strictly before; keys that we do not know stay. */
export function configDocument (config: Uint8Array, diffIds: readonly Digest[]): Buffer {
  const document = parse(config)
  return json({ ...document, rootfs: { ...document['rootfs'] as object, diff_ids: diffIds } })
}

export function manifestDocument (manifest: Uint8Array, config: AddedBlob, layers: readonly PublishedLayer[]): Buffer {
  // A subject names a manifest that refers to other layers, and an artifactType is no image's.
  const annotations = currentAnnotations(parse(manifest)['annotations'] as Record<string, string> | undefined ?? {})
  return json({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: descriptor(OCI_CONFIG, config, {}),
    layers: layers.map(({ mediaType, blob, annotations }) => descriptor(mediaType, blob, annotations)),
    ...Object.keys(annotations).length === 0 ? {} : { annotations }
  })
}

export interface ListedManifest {
  readonly manifest: AddedBlob
  readonly platform: Platform
  /** What named the image in the source. */
  readonly source: Descriptor
}

export function indexDocument (images: readonly ListedManifest[]): Buffer {
  return index(images.map(({ manifest, platform: { os, architecture, variant }, source }) => ({
    ...descriptor(OCI_MANIFEST, manifest, currentAnnotations(source.annotations)),
    platform: { architecture, os, ...variant === '' ? {} : { variant } }
  })))
}

/** index.json for an index: with what is said of all its images, their name before all. */
export function indexOfIndex (blob: AddedBlob, [first, ...others]: readonly ListedManifest[]): Buffer {
  const common = Object.entries(first?.source.annotations ?? {})
    .filter(([key, value]) => others.every(({ source }) => source.annotations[key] === value))
  return index([descriptor(OCI_INDEX, blob, currentAnnotations(Object.fromEntries(common)))])
}

export function nerdctlDescriptor (mediaType: string, blob: AddedBlob): Buffer {
  return json(descriptor(mediaType, blob, {}))
}

function index (manifests: readonly object[]): Buffer {
  return json({ schemaVersion: 2, mediaType: OCI_INDEX, manifests })
}

function descriptor (mediaType: string, { digest, size, file }: AddedBlob, annotations: Readonly<Record<string, string>>): object {
  const cid = file.cid.toString()
  return { mediaType, digest, size, urls: [`ipfs://${cid}`], annotations: { ...annotations, [ANNOTATION_CID]: cid } }
}

function parse (bytes: Uint8Array): Record<string, unknown> {
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>
}

function json (value: object): Buffer {
  return Buffer.from(JSON.stringify(value))
}
