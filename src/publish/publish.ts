// The whole of publishing: source → layout → CAR, and what the person who publishes needs to know afterwards. Two
// formats: `keep` changes no byte of the image, `estargz` makes it lazy. On any failure no file is left, and no CID is
// named before every layer was proven.
import { resolve } from 'node:path'
import { asWriteFailure } from '../base/disk.ts'
import { SnapshotterError } from '../base/errors.ts'
import { formatPlatform } from '../oci/platform.ts'
import { canonicalReference, type Spellings, spellings } from '../oci/spellings.ts'
import type { Digest } from '../verify/digest.ts'
import { createCar } from './car-writer.ts'
import { chooseImages, type WantedPlatforms } from './choose-images.ts'
import { convertImages } from './convert-image.ts'
import type { ConvertOptions } from './convert-layer.ts'
import { type GraphImage, type ImageGraph, readGraph } from './image-graph.ts'
import { type ImageSource, openImageSource } from './image-source.ts'
import { keepImages } from './keep-images.ts'
import type { MadeImage, MadeImages } from './made-images.ts'

export interface PublishOptions extends Omit<ConvertOptions, 'spoolBeside'> {
  /** Path of an OCI layout directory, an OCI archive or a docker archive; or a source that is open, and closed afterwards. */
  readonly source: string | ImageSource
  /** The CAR file to write. */
  readonly car: string
  readonly format: 'estargz' | 'keep'
  /** Bytes of a UnixFS leaf; default that of profile unixfs-v1-2025. */
  readonly leafBytes?: number
  readonly platforms: WantedPlatforms
}

/** The JSON of `publish --json` (design §5): names are a contract. Of several images the first is told of like an only one. */
export interface Published {
  readonly cid: string
  /** Root that stock nerdctl reads; null with `keep`, whose descriptors carry no `urls`. */
  readonly nerdctlCid: string | null
  /** With the digest of the manifest, or of the index that lists several. */
  readonly reference: string
  readonly references: Spellings
  readonly manifestDigest: Digest
  readonly indexDigest: Digest
  readonly platform: string
  readonly layers: readonly PublishedLayerFacts[]
  readonly images: readonly PublishedImage[]
  readonly car: string
  readonly pins: readonly string[]
}

export interface PublishedImage {
  readonly platform: string
  readonly manifestDigest: Digest
  readonly layers: readonly PublishedLayerFacts[]
}

export interface PublishedLayerFacts {
  readonly digest: Digest
  readonly diffId: Digest
  readonly cid: string
  readonly mediaType: string
  readonly size: number
  readonly lazy: boolean
}

/**
 * @throws NOT_FOUND, NOT_OCI, PLATFORM_MISSING, UNSUPPORTED, MEDIA_TYPE_UNSUPPORTED, DIGEST_MISMATCH, DIFFID_MISMATCH,
 * LAYER_INVALID, TOC_INVALID, LIMIT_EXCEEDED, ENVIRONMENT
 */
export async function publish (options: PublishOptions): Promise<Published> {
  const { source: named, car: path, format, platforms } = options
  if (typeof named === 'string' && resolve(named) === resolve(path)) {
    throw new SnapshotterError('INVALID_ARGUMENT', `${path} is the source; name another file for the CAR`)
  }
  const source = typeof named === 'string' ? await openImageSource(named, { ...options, spoolBeside: path }) : named
  try {
    const graph = await readGraph(source)
    const images = chooseImages(graph, platforms, source)
    announce(source, graph, images, options)
    const car = await createCar(path, format === 'estargz' ? 2 : 1)
    try {
      const made = format === 'keep'
        ? await keepImages(source, graph, images, car, options)
        : await convertImages(source, images, car, { ...options, spoolBeside: path })
      options.signal?.throwIfAborted()
      options.report({ event: 'begin', item: path, phase: 'save', total: 0 })
      await car.finish(made.nerdctl === null ? [made.root] : [made.root, made.nerdctl])
      options.report({ event: 'end', item: path, text: 'saved' })
      return summary(made, path)
    } catch (error) {
      throw asWriteFailure(`${path}, or a layer that is unpacked beside it,`, error)
    } finally {
      await car.discard()
    }
  } finally {
    await source.close()
  }
}

function announce (source: ImageSource, graph: ImageGraph, images: readonly GraphImage[], { report, format }: PublishOptions): void {
  const others = graph.images.length - images.length
  const scope = others === 0 ? '' : format === 'keep' ? ` and ${others} other platforms` : `; ${others} other platforms are left out`
  report({ event: 'note', text: `${source.kind} ${source.name}: ${images.map(({ platform }) => formatPlatform(platform)).join(', ')}${scope}` })
  if (format === 'keep' && graph.missing.length > 0) {
    report({ event: 'note', text: `${graph.missing.length} blobs of other platforms are not in the source` })
  }
  if (format === 'estargz' && graph.attestations > 0) {
    report({ event: 'note', text: `${graph.attestations} attestations are left out: they speak of the manifests before the conversion` })
  }
}

function summary ({ root, nerdctl, indexDigest, images }: MadeImages, car: string): Published {
  const all = images.map(describeImage)
  const [first] = all
  if (first === undefined) throw new SnapshotterError('INTERNAL', 'nothing was published')
  const digest = all.length === 1 ? first.manifestDigest : indexDigest
  return {
    cid: root.toString(),
    nerdctlCid: nerdctl?.toString() ?? null,
    reference: canonicalReference(root, digest),
    references: spellings(root, digest, nerdctl ?? root),
    manifestDigest: first.manifestDigest,
    indexDigest,
    platform: first.platform,
    layers: first.layers,
    images: all,
    car,
    pins: []
  }
}

function describeImage ({ manifestDigest, platform, layers }: MadeImage): PublishedImage {
  return {
    platform: formatPlatform(platform),
    manifestDigest,
    layers: layers.map(({ blob, diffId, mediaType, tocDigest }) => ({
      digest: blob.digest, diffId, cid: blob.file.cid.toString(), mediaType, size: blob.size, lazy: tocDigest !== null
    }))
  }
}
