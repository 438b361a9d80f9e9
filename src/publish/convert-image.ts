// Images of a source as lazy ones: layers converted, each proven in the CAR while the next is made, then new documents from
// the inside out. One image stands in index.json itself; several, for as many platforms, in an index of their own, whose
// digest names them all.
import { SnapshotterError } from '../base/errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { OCI_INDEX, OCI_MANIFEST } from '../oci/media-types.ts'
import { type Digest, digestOf } from '../verify/digest.ts'
import type { CarFile } from './car-writer.ts'
import { convertLayer, type ConvertOptions, type PublishedLayer } from './convert-layer.ts'
import { rawCid } from './dag-pb.ts'
import { LAYOUT_FILE } from './docker-archive.ts'
import { configDocument, indexDocument, indexOfIndex, type ListedManifest, manifestDocument, nerdctlDescriptor } from './documents.ts'
import type { GraphImage } from './image-graph.ts'
import { type ImageSource, withBlob } from './image-source.ts'
import { Layout } from './layout.ts'
import type { MadeImages } from './made-images.ts'
import { proveInCar } from './prove.ts'
import { TrailingProof } from './trailing-proof.ts'

export interface ConvertImageOptions extends ConvertOptions {
  readonly leafBytes?: number | undefined
}

/** @throws as convertLayer, TOC_INVALID */
export async function convertImages (
  source: ImageSource, images: readonly GraphImage[], car: CarFile, options: ConvertImageOptions
): Promise<MadeImages> {
  const proofs = new TrailingProof(options.signal)
  const layout = new Layout(car, { ...options, signal: proofs.signal })
  let layers: ReadonlyMap<GraphImage, readonly PublishedLayer[]>
  try {
    layers = await convertLayers(source, images, car, layout, proofs, options)
    await proofs.finish()
  } finally {
    await proofs.close()
  }
  const listed: Array<ListedManifest & { readonly layers: readonly PublishedLayer[] }> = []
  for (const image of images) listed.push(await addDocuments(image, layers.get(image) ?? [], layout))

  const list = indexDocument(listed)
  const [only] = listed
  const several = listed.length === 1 ? null : await layout.addBytes(list)
  const index = several === null ? list : indexOfIndex(several, listed)
  const root = await layout.finish(LAYOUT_FILE, index)
  const descriptor = nerdctlDescriptor(several === null ? OCI_MANIFEST : OCI_INDEX, several ?? present(only).manifest)
  const nerdctl = rawCid(descriptor)
  await car.put(nerdctl, descriptor)
  return {
    root, nerdctl, indexDigest: several?.digest ?? digestOf(index),
    images: listed.map(({ manifest, platform, layers }) => ({ manifestDigest: manifest.digest, platform, layers }))
  }
}

async function addDocuments (image: GraphImage, layers: readonly PublishedLayer[], layout: Layout) {
  const config = await layout.addBytes(configDocument(image.configBytes, layers.map(({ diffId }) => diffId)))
  const manifest = await layout.addBytes(manifestDocument(image.manifestBytes, config, layers))
  return { manifest, platform: image.platform, source: image.descriptor, layers }
}

/** Each layer of each image; what several images share is converted once. */
async function convertLayers (
  source: ImageSource, images: readonly GraphImage[], car: CarFile, layout: Layout, proofs: TrailingProof, options: ConvertImageOptions
): Promise<ReadonlyMap<GraphImage, readonly PublishedLayer[]>> {
  const made = new Map(images.map((image): [GraphImage, PublishedLayer[]] => [image, []]))
  const known = new Map<string, PublishedLayer>()
  for (const { image, at, descriptor, diffId } of largestFirst(images)) {
    const { digest, mediaType, annotations } = descriptor
    const key = JSON.stringify([digest, diffId, mediaType, annotations])
    const layer = known.get(key) ?? await withBlob(source, digest, async (blob) =>
      await convertLayer(blob, descriptor, diffId, layout, { ...options, signal: proofs.signal }))
    const layers = made.get(image)
    if (layers !== undefined) layers[at] = layer
    if (known.has(key)) continue
    known.set(key, layer)
    await proofs.begin(async (signal) => {
      await proveInCar(car, layer, { ...options, signal, item: digest })
      const kind = layer.tocDigest === null ? 'plain' : 'lazy'
      options.report({ event: 'end', item: digest, text: `${kind}, ${(layer.blob.size / 1e6).toFixed(1)} MB` })
    })
  }
  return made
}

interface LayerToConvert { readonly image: GraphImage, readonly at: number, readonly descriptor: Descriptor, readonly diffId: Digest }

/** A long proof then has other layers to go on beside. */
function largestFirst (images: readonly GraphImage[]): LayerToConvert[] {
  return images.flatMap((image) => image.layers.map((descriptor, at) => {
    const diffId = image.config.diffIds[at]
    if (diffId === undefined) throw new SnapshotterError('NOT_OCI', `config of ${image.descriptor.digest} has no diffID for layer ${at}`)
    return { image, at, descriptor, diffId }
  })).sort((a, b) => b.descriptor.size - a.descriptor.size)
}

function present<Value> (value: Value | undefined): Value {
  if (value === undefined) throw new SnapshotterError('INTERNAL', 'no image was chosen')
  return value
}
