// What `status` says of mounted layers, and of the images that consist of them.
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { ResolvedImage } from '../content/promises.ts'
import type { DataPlaneStatus, FileStatus } from '../mount/data-plane-status.ts'

type LayerState = 'complete' | 'lazy' | 'missing'

export interface LayerStatus {
  readonly digest: string
  readonly size: number
  /** Of `size`, what brought the file bytes that are here, reckoned by their share: outlives worker and daemon, which a count would not. */
  readonly fetchedBytes: number
  readonly cachedBytes: number
  /** Of these, stored once for several layers, elsewhere than here. */
  readonly sharedBytes: number
  readonly readBytes: number
  /** Of the layer's files, unpacked: what `cachedBytes` grows to. */
  readonly fileBytes: number
  /** Layer digest, diffID and TOC were held against each other in one pass over the whole blob. */
  readonly proven: boolean
  readonly state: LayerState
  /** Of the layer's file bytes, in the cache. */
  readonly percent: number
}

/** The sums of its layers; `state` is that of the worst. */
export interface ImageStatus extends Omit<ResolvedImage, 'layers'>, Omit<LayerStatus, 'digest' | 'sharedBytes'> {
  readonly layers: readonly string[]
}

/** By the name of the file that serves it. */
export function layerStatuses (layers: ReadonlyMap<string, OpenedLayer>, { files }: DataPlaneStatus, isProven: (key: string) => boolean): LayerStatus[] {
  const served = new Map(files.map((file) => [file.name, file]))
  return [...layers].map(([name, { key, record: { digest, size } }]) => {
    const file = served.get(name)
    const [fileBytes, cachedBytes] = [file?.chunkBytes ?? 0, file?.cachedBytes ?? 0]
    return {
      digest,
      size,
      fetchedBytes: file === undefined ? 0 : fileBytes === 0 ? size : Math.round(size * cachedBytes / fileBytes),
      cachedBytes,
      sharedBytes: file?.sharedBytes ?? 0,
      readBytes: file?.readBytes ?? 0,
      fileBytes,
      proven: isProven(key),
      state: stateOf(file),
      percent: file === undefined ? 0 : percentOf(cachedBytes, fileBytes)
    }
  })
}

/** Those whose top layer is mounted: containerd has them, or another image that ends with the same layer. */
export function imageStatuses (images: readonly ResolvedImage[], layers: readonly LayerStatus[]): ImageStatus[] {
  const mounted = new Map(layers.map((layer) => [layer.digest, layer]))
  return images.filter((image) => mounted.has(image.layers.at(-1) ?? '')).map((image) => {
    const digests = new Set(image.layers)
    const parts = [...digests].flatMap((digest) => mounted.get(digest) ?? [])
    const total = (pick: (layer: LayerStatus) => number): number => parts.reduce((sum, layer) => sum + pick(layer), 0)
    const [cachedBytes, fileBytes] = [total((layer) => layer.cachedBytes), total((layer) => layer.fileBytes)]
    return {
      ...image,
      size: total(({ size }) => size),
      fetchedBytes: total((layer) => layer.fetchedBytes),
      cachedBytes,
      readBytes: total(({ readBytes }) => readBytes),
      fileBytes,
      proven: parts.length === digests.size && parts.every(({ proven }) => proven),
      state: parts.length < digests.size ? 'missing' : worstOf(parts.map(({ state }) => state)),
      percent: percentOf(cachedBytes, fileBytes)
    }
  })
}

/** Of one that the data plane may not serve. */
export function stateOf (file: FileStatus | undefined): LayerState {
  return file === undefined ? 'missing' : file.cachedChunks === file.chunks ? 'complete' : 'lazy'
}

function worstOf (states: readonly LayerState[]): LayerState {
  return (['missing', 'lazy'] as const).find((state) => states.includes(state)) ?? 'complete'
}

function percentOf (part: number, whole: number): number {
  return whole === 0 ? 100 : Math.floor(100 * part / whole)
}
