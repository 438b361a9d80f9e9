// What an image source holds: every blob that its index.json leads to, and the images among them. Documents are verified
// and decoded strictly (oci/). Blobs may be missing: a saved image often has only one platform of its index.
import { SnapshotterError } from '../base/errors.ts'
import { CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX } from '../base/limits.ts'
import { type ConfigDocument, readConfig } from '../oci/config-document.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { readIndex } from '../oci/index-document.ts'
import { imageLayers, isArtifact, type ManifestDocument, readManifest } from '../oci/manifest-document.ts'
import { isIndexType, isManifestType } from '../oci/media-types.ts'
import type { Platform } from '../oci/platform.ts'
import { type Digest, digestOf } from '../verify/digest.ts'
import { type VerifiedBytes, verifyDigest } from '../verify/verified-bytes.ts'
import type { ImageSource } from './image-source.ts'

export interface GraphImage {
  /** The entry that names the manifest, with the annotations of the entry in index.json that led to it. */
  readonly descriptor: Descriptor
  readonly manifest: ManifestDocument
  readonly manifestBytes: VerifiedBytes
  readonly config: ConfigDocument
  readonly configBytes: VerifiedBytes
  readonly layers: readonly Descriptor[]
  readonly platform: Platform
  /** Of the index blob that names the manifest; of index.json itself when no index is between. */
  readonly indexDigest: Digest
}

export interface ImageGraph {
  readonly images: readonly GraphImage[]
  /** Every blob that is there, each once: parents before children, in the order of the documents. */
  readonly blobs: readonly Descriptor[]
  /** Blobs that documents name and the source lacks. */
  readonly missing: readonly Digest[]
  /** Images whose manifest or config is among them. */
  readonly absent: readonly Descriptor[]
  /** What builders say about images, as images of no platform. */
  readonly attestations: number
}

// index.json itself, an index, and no more: our resolver reads no deeper.
const NESTING_MAX = 1

/** @throws NOT_OCI, DIGEST_MISMATCH, MEDIA_TYPE_UNSUPPORTED, LIMIT_EXCEEDED */
export async function readGraph (source: ImageSource): Promise<ImageGraph> {
  const walk = new Walk(source)
  await walk.index(source.index, null, digestOf(source.index), 0, {})
  const { images, absent, attestations } = walk
  return { images, blobs: [...walk.blobs.values()], missing: [...walk.missing], absent, attestations }
}

class Walk {
  readonly images: GraphImage[] = []
  readonly absent: Descriptor[] = []
  attestations = 0
  readonly blobs = new Map<Digest, Descriptor>()
  readonly missing = new Set<Digest>()
  readonly #source: ImageSource

  constructor (source: ImageSource) {
    this.#source = source
  }

  async index (
    bytes: Uint8Array, mediaType: string | null, digest: Digest, depth: number, annotations: Descriptor['annotations']
  ): Promise<void> {
    const what = depth === 0 ? `${this.#source.name}: index.json` : `index ${digest}`
    if (depth > NESTING_MAX) throw new SnapshotterError('NOT_OCI', `${what} stands in an index of an index; indexes may be nested once`)
    for (const entry of readIndex(bytes, mediaType, what).manifests) {
      const descriptor = { ...entry, annotations: { ...annotations, ...entry.annotations } }
      if (isIndexType(entry.mediaType)) await this.#nested(descriptor, depth)
      else if (isManifestType(entry.mediaType)) await this.#manifest(descriptor, digest)
      else await this.#opaque(entry)
    }
  }

  async #nested (descriptor: Descriptor, depth: number): Promise<void> {
    const bytes = await this.#document(descriptor, MANIFEST_BYTES_MAX)
    if (bytes !== null) await this.index(bytes, descriptor.mediaType, descriptor.digest, depth + 1, descriptor.annotations)
  }

  async #manifest (descriptor: Descriptor, indexDigest: Digest): Promise<void> {
    if (this.blobs.has(descriptor.digest)) return
    const what = `manifest ${descriptor.digest}`
    const isAttestation = descriptor.platform?.os === 'unknown'
    const manifestBytes = await this.#document(descriptor, MANIFEST_BYTES_MAX)
    if (manifestBytes === null) {
      if (!isAttestation) this.absent.push(descriptor)
      return
    }
    const manifest = readManifest(manifestBytes, descriptor.mediaType, what)
    const configBytes = isArtifact(manifest) ? null : await this.#document(manifest.config, CONFIG_BYTES_MAX)
    if (configBytes === null) await this.#opaque(manifest.config)
    for (const layer of manifest.layers) await this.#opaque(layer)
    if (isAttestation) {
      this.attestations++
      return
    }
    if (configBytes === null) {
      if (!isArtifact(manifest)) this.absent.push(descriptor)
      return
    }
    const config = readConfig(configBytes, manifest.layers.length, `config of ${what}`)
    const platform = descriptor.platform ?? config.platform
    const layers = imageLayers(manifest, what)
    this.images.push({ descriptor, manifest, manifestBytes, config, configBytes, layers, platform, indexDigest })
  }

  async #document (descriptor: Descriptor, bytesMax: number): Promise<VerifiedBytes | null> {
    if (descriptor.size > bytesMax) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `document ${descriptor.digest} has ${descriptor.size} bytes, limit ${bytesMax}`)
    }
    const blob = await this.#opaque(descriptor)
    if (!blob) return null
    const open = await this.#source.blob(descriptor.digest)
    if (open === null) return null
    try {
      return verifyDigest(descriptor.digest, await open.read(0, open.size), open.name)
    } finally {
      await open.close()
    }
  }

  /** Notes the blob as there or as missing. */
  async #opaque (descriptor: Descriptor): Promise<boolean> {
    if (this.blobs.has(descriptor.digest)) return true
    const blob = await this.#source.blob(descriptor.digest)
    await blob?.close()
    if (blob === null) {
      this.missing.add(descriptor.digest)
      return false
    }
    if (blob.size !== descriptor.size) {
      throw new SnapshotterError('DIGEST_MISMATCH', `${blob.name} has ${blob.size} bytes, its descriptor says ${descriptor.size}`)
    }
    this.blobs.set(descriptor.digest, descriptor)
    return true
  }
}
