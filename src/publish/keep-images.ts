// A source as it is: every blob under its own digest, no byte changed, also those of platforms that nobody asked for, since
// the index that names them stays. Each layer is proven in the CAR.
import { tocDigestOf } from '../layer/estargz.ts'
import { compressionOf } from '../oci/media-types.ts'
import { type Digest, digestOf } from '../verify/digest.ts'
import type { CarFile } from './car-writer.ts'
import type { PublishedLayer } from './convert-layer.ts'
import type { GraphImage, ImageGraph } from './image-graph.ts'
import { type ImageSource, withBlob } from './image-source.ts'
import { counted } from './layer-tar.ts'
import { Layout } from './layout.ts'
import type { MadeImages } from './made-images.ts'
import { proveInCar } from './prove.ts'
import type { Report } from './report.ts'

export interface KeepOptions {
  readonly leafBytes?: number | undefined
  readonly report: Report
  readonly signal?: AbortSignal | undefined
}

/** `images` are the ones that were chosen. @throws DIGEST_MISMATCH, DIFFID_MISMATCH, TOC_INVALID, LAYER_INVALID, LIMIT_EXCEEDED, MEDIA_TYPE_UNSUPPORTED */
export async function keepImages (
  source: ImageSource, graph: ImageGraph, images: readonly GraphImage[], car: CarFile, options: KeepOptions
): Promise<MadeImages> {
  const layout = new Layout(car, options)
  await copyBlobs(source, graph, layout, options)
  await proveLayers(graph, car, layout, options)
  const root = await layout.finish(source.layoutFile, source.index)
  const [first, ...others] = images
  const common = others.every(({ indexDigest }) => indexDigest === first?.indexDigest) ? first?.indexDigest : undefined
  return {
    root, nerdctl: null, indexDigest: common ?? digestOf(source.index),
    images: images.map((image) => ({ manifestDigest: image.descriptor.digest, platform: image.platform, layers: keptLayers(image, layout) }))
  }
}

async function copyBlobs (source: ImageSource, graph: ImageGraph, layout: Layout, { report }: KeepOptions): Promise<void> {
  const layers = new Set(graph.images.flatMap((one) => one.layers.map(({ digest }) => digest)))
  for (const { digest, size } of graph.blobs) {
    const isLayer = layers.has(digest)
    if (isLayer) report({ event: 'begin', item: digest, phase: 'copy', total: size })
    const advance = (bytes: number): void => { if (isLayer) report({ event: 'advance', item: digest, bytes }) }
    await withBlob(source, digest, async (blob) => await layout.addNamed(digest, counted(blob, advance), blob.name))
  }
}

async function proveLayers (graph: ImageGraph, car: CarFile, layout: Layout, options: KeepOptions): Promise<void> {
  const proven = new Set<string>()
  for (const one of graph.images) {
    for (const layer of keptLayers(one, layout)) {
      const key = `${layer.blob.digest} ${layer.diffId} ${layer.tocDigest ?? ''}`
      if (proven.has(key)) continue
      proven.add(key)
      const readable = compressionOf(layer.mediaType, layer.blob.digest) !== 'zstd'
      if (readable) await proveInCar(car, layer, options)
      else options.report({ event: 'note', text: zstdWarning(layer.blob.digest), warning: true })
      options.report({ event: 'end', item: layer.blob.digest, text: !readable ? 'kept unread' : layer.tocDigest === null ? 'kept' : 'kept, lazy' })
    }
  }
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
