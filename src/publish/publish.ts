// The whole of publishing: source → layout → CAR, and what the person who publishes needs to know afterwards. Two
// formats: `keep` changes no byte of the image, `estargz` makes it lazy. On any failure no file is left, and no CID is
// named before every layer was proven.
import { resolve } from 'node:path'
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { tocDigestOf } from '../layer/estargz.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { compressionOf } from '../oci/media-types.ts'
import { formatPlatform, type Platform } from '../oci/platform.ts'
import { canonicalReference, type Spellings, spellings } from '../oci/spellings.ts'
import { type Digest, digestOf } from '../verify/digest.ts'
import { type CarFile, createCar } from './car-writer.ts'
import { convertLayer, type ConvertOptions, type PublishedLayer } from './convert-layer.ts'
import { rawCid } from './dag-pb.ts'
import { LAYOUT_FILE } from './docker-archive.ts'
import { configDocument, indexDocument, manifestDocument, nerdctlDescriptor } from './documents.ts'
import { chooseImage, type GraphImage, type ImageGraph, readGraph } from './image-graph.ts'
import { type ImageSource, type OpenBlob, openImageSource } from './image-source.ts'
import { Layout } from './layout.ts'
import { counted } from './layer-tar.ts'
import { proveInCar } from './prove.ts'
import { TrailingProof } from './trailing-proof.ts'

export interface PublishOptions extends Omit<ConvertOptions, 'spoolBeside'> {
  /** An OCI layout directory, an OCI archive or a docker archive. */
  readonly source: string
  /** The CAR file to write. */
  readonly car: string
  readonly format: 'estargz' | 'keep'
  /** Bytes of a UnixFS leaf; default that of profile unixfs-v1-2025. */
  readonly leafBytes?: number
  /** Null: the only one, else this machine's. */
  readonly platform: Platform | null
}

/** The JSON of `publish --json` (design §5): names are a contract. */
export interface Published {
  readonly cid: string
  /** Root that stock nerdctl reads; null with `keep`, whose descriptors carry no `urls`. */
  readonly nerdctlCid: string | null
  readonly reference: string
  readonly references: Spellings
  readonly manifestDigest: Digest
  readonly indexDigest: Digest
  readonly platform: string
  readonly layers: ReadonlyArray<{
    readonly digest: Digest
    readonly diffId: Digest
    readonly cid: string
    readonly mediaType: string
    readonly size: number
    readonly lazy: boolean
  }>
  readonly car: string
  readonly pins: readonly string[]
}

interface Image {
  readonly root: CID
  readonly nerdctl: CID | null
  readonly manifestDigest: Digest
  readonly indexDigest: Digest
  readonly layers: readonly PublishedLayer[]
}

/**
 * @throws NOT_FOUND, NOT_OCI, PLATFORM_MISSING, UNSUPPORTED, MEDIA_TYPE_UNSUPPORTED, DIGEST_MISMATCH, DIFFID_MISMATCH,
 * LAYER_INVALID, TOC_INVALID, LIMIT_EXCEEDED, ENVIRONMENT
 */
export async function publish (options: PublishOptions): Promise<Published> {
  if (resolve(options.source) === resolve(options.car)) {
    throw new SnapshotterError('INVALID_ARGUMENT', `${options.car} is the source; name another file for the CAR`)
  }
  const source = await openImageSource(options.source, options.car)
  try {
    const graph = await readGraph(source)
    const image = chooseImage(graph, options.platform, source.name)
    announce(source, graph, image, options)
    const car = await createCar(options.car, options.format === 'estargz' ? 2 : 1)
    try {
      const made = options.format === 'keep' ? await keep(source, graph, image, car, options) : await convert(source, image, car, options)
      await car.finish(made.nerdctl === null ? [made.root] : [made.root, made.nerdctl])
      return summary(made, image.platform, options.car)
    } finally {
      await car.discard()
    }
  } finally {
    await source.close()
  }
}

function announce (source: ImageSource, graph: ImageGraph, image: GraphImage, { report, format }: PublishOptions): void {
  const others = graph.images.length - 1
  const scope = others === 0 ? '' : format === 'keep' ? ` and ${others} other platforms` : `; ${others} other platforms are left out`
  report({ event: 'note', text: `${source.kind} ${source.name}: ${formatPlatform(image.platform)}${scope}` })
  if (format === 'keep' && graph.missing.length > 0) {
    report({ event: 'note', text: `${graph.missing.length} blobs of other platforms are not in the source` })
  }
}

async function keep (source: ImageSource, graph: ImageGraph, image: GraphImage, car: CarFile, options: PublishOptions): Promise<Image> {
  const layout = new Layout(car, options)
  const layers = new Set(graph.images.flatMap((one) => one.layers.map(({ digest }) => digest)))
  for (const { digest, size } of graph.blobs) {
    const isLayer = layers.has(digest)
    if (isLayer) options.report({ event: 'begin', item: digest, phase: 'copy', total: size })
    const advance = (bytes: number): void => { if (isLayer) options.report({ event: 'advance', item: digest, bytes }) }
    await withBlob(source, digest, async (blob) => await layout.addNamed(digest, counted(blob, advance), blob.name))
  }
  const proven = new Set<string>()
  for (const one of graph.images) {
    for (const layer of keptLayers(one, layout)) {
      const key = `${layer.blob.digest} ${layer.diffId} ${layer.tocDigest ?? ''}`
      if (proven.has(key)) continue
      proven.add(key)
      const readable = compressionOf(layer.mediaType, layer.blob.digest) !== 'zstd'
      if (readable) await proveInCar(car, layer, options)
      else options.report({ event: 'note', text: zstdWarning(layer.blob.digest) })
      options.report({ event: 'end', item: layer.blob.digest, text: !readable ? 'kept unread' : layer.tocDigest === null ? 'kept' : 'kept, lazy' })
    }
  }
  const root = await layout.finish(source.layoutFile, source.index)
  return { root, nerdctl: null, manifestDigest: image.descriptor.digest, indexDigest: image.indexDigest, layers: keptLayers(image, layout) }
}

function zstdWarning (digest: Digest): string {
  return `WARNING: layer ${digest} is compressed with zstd: kept unread and unproven, and ipfs-snapshotter cannot run the image yet ` +
    '(pull answers MEDIA_TYPE_UNSUPPORTED); recompress it with gzip, or give it to clients that read zstd'
}

/** The image's layers that the source holds, as they are. */
function keptLayers (image: GraphImage, layout: Layout): PublishedLayer[] {
  return image.layers.flatMap(({ digest, mediaType, annotations }, at) => {
    const blob = layout.added(digest)
    const diffId = image.config.diffIds[at]
    if (blob === undefined || diffId === undefined) return []
    const tocDigest = compressionOf(mediaType, digest) === 'zstd' ? null : tocDigestOf({ digest, mediaType, annotations })
    return [{ mediaType, diffId, annotations, tocDigest, blob }]
  })
}

async function convert (source: ImageSource, image: GraphImage, car: CarFile, options: PublishOptions): Promise<Image> {
  const proofs = new TrailingProof(options.signal)
  const layout = new Layout(car, { ...options, signal: proofs.signal })
  const layers: PublishedLayer[] = []
  try {
    for (const { at, descriptor, diffId } of largestFirst(image)) {
      const layer = await withBlob(source, descriptor.digest, async (blob) =>
        await convertLayer(blob, descriptor, diffId, layout, { ...options, signal: proofs.signal, spoolBeside: options.car }))
      layers[at] = layer
      await proofs.begin(async (signal) => {
        await proveInCar(car, layer, { ...options, signal, item: descriptor.digest })
        const kind = layer.tocDigest === null ? 'plain' : 'lazy'
        options.report({ event: 'end', item: descriptor.digest, text: `${kind}, ${(layer.blob.size / 1e6).toFixed(1)} MB` })
      })
    }
    await proofs.finish()
  } finally {
    await proofs.close()
  }
  const config = await layout.addBytes(configDocument(image.configBytes, layers.map(({ diffId }) => diffId)))
  const manifest = await layout.addBytes(manifestDocument(image.manifestBytes, config, layers))
  const index = indexDocument(manifest, image.platform, image.descriptor)
  const root = await layout.finish(LAYOUT_FILE, index)
  const descriptor = nerdctlDescriptor(manifest)
  const nerdctl = rawCid(descriptor)
  await car.put(nerdctl, descriptor)
  return { root, nerdctl, manifestDigest: manifest.digest, indexDigest: digestOf(index), layers }
}

interface LayerToConvert { readonly at: number, readonly descriptor: Descriptor, readonly diffId: Digest }

/** A long proof then has other layers to go on beside. */
function largestFirst (image: GraphImage): LayerToConvert[] {
  return image.layers.map((descriptor, at) => {
    const diffId = image.config.diffIds[at]
    if (diffId === undefined) throw new SnapshotterError('NOT_OCI', `config of ${image.descriptor.digest} has no diffID for layer ${at}`)
    return { at, descriptor, diffId }
  }).sort((a, b) => b.descriptor.size - a.descriptor.size)
}

async function withBlob<Result> (source: ImageSource, digest: Digest, use: (blob: OpenBlob) => Promise<Result>): Promise<Result> {
  const blob = await source.blob(digest)
  if (blob === null) throw new SnapshotterError('NOT_OCI', `${source.name} has no blob ${digest}`)
  try {
    return await use(blob)
  } finally {
    await blob.close()
  }
}

function summary ({ root, nerdctl, manifestDigest, indexDigest, layers }: Image, platform: Platform, car: string): Published {
  return {
    cid: root.toString(),
    nerdctlCid: nerdctl?.toString() ?? null,
    reference: canonicalReference(root, manifestDigest),
    references: spellings(root, manifestDigest, nerdctl ?? root),
    manifestDigest,
    indexDigest,
    platform: formatPlatform(platform),
    layers: layers.map(({ blob, diffId, mediaType, tocDigest }) => ({
      digest: blob.digest, diffId, cid: blob.file.cid.toString(), mediaType, size: blob.size, lazy: tocDigest !== null
    })),
    car,
    pins: []
  }
}
