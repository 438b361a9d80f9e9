// Which images of a source are published. Of these nothing may be missing; what is, is named, with what helps.
import { SnapshotterError } from '../base/errors.ts'
import { formatPlatform, hostPlatform, type Platform, samePlatform } from '../oci/platform.ts'
import type { GraphImage, ImageGraph } from './image-graph.ts'
import type { ImageSource } from './image-source.ts'

/** Every image, or one a platform; none named: the only image, else the one for this machine's processor. */
export type WantedPlatforms = 'all' | readonly Platform[]

type Named = Pick<ImageSource, 'name' | 'remedy'>

/**
 * In the order of the source, no platform twice.
 * @throws PLATFORM_MISSING with what there is; NOT_OCI when several match one platform, or parts are missing
 */
export function chooseImages (graph: ImageGraph, platforms: WantedPlatforms, source: Named): GraphImage[] {
  const { images, absent } = graph
  if (images.length === 0) {
    const missing = graph.missing.length > 0 ? ` (${graph.missing.length} blobs are missing)${remedyOf(source)}` : ''
    throw new SnapshotterError('NOT_OCI', `${source.name} holds no image${missing}`)
  }
  const [lost] = platforms === 'all' ? absent : []
  if (lost !== undefined) throw notWhole(`${source.name} has no manifest or config of ${lost.digest}${platformOf(lost.platform)}`, source)
  const chosen = platforms === 'all'
    ? [...images]
    : wantedOf(graph, platforms).map((wanted) => imageFor(graph, wanted, source))
  refuseTwins(chosen, source)
  for (const image of chosen) refuseUnlessWhole(graph, image, source)
  return images.filter((image) => chosen.includes(image))
}

function wantedOf ({ images }: ImageGraph, platforms: readonly Platform[]): readonly Platform[] {
  const [only] = images
  if (platforms.length > 0) return platforms
  return only !== undefined && images.length === 1 ? [only.platform] : [hostPlatform()]
}

function imageFor (graph: ImageGraph, wanted: Platform, source: Named): GraphImage {
  const matching = graph.images.filter(({ platform }) => samePlatform(platform, wanted))
  refuseTwins(matching, source)
  const [image] = matching
  if (image !== undefined) return image
  const absent = graph.absent.find(({ platform }) => platform !== null && samePlatform(platform, wanted))
  if (absent !== undefined) {
    throw notWhole(`${source.name} names an image for ${formatPlatform(wanted)} and lacks its manifest or config (${absent.digest})`, source)
  }
  const there = [...new Set(graph.images.map(({ platform }) => formatPlatform(platform)))].sort().join(', ')
  throw new SnapshotterError('PLATFORM_MISSING', `${source.name}: no image for ${formatPlatform(wanted)}; it has ${there}`)
}

function refuseTwins (images: readonly GraphImage[], { name }: Named): void {
  for (const [platform, twins] of Map.groupBy(new Set(images), (image) => formatPlatform(image.platform))) {
    if (twins.length < 2) continue
    throw new SnapshotterError('NOT_OCI', `${name} holds ${twins.length} images for ${platform} ` +
      `(${twins.slice(0, 4).map((image) => image.descriptor.digest).join(', ')}); publish one at a time`)
  }
}

function refuseUnlessWhole (graph: ImageGraph, { descriptor, layers, platform }: GraphImage, source: Named): void {
  const missing = new Set(graph.missing)
  const lost = layers.filter(({ digest }) => missing.has(digest))
  const [first] = lost
  if (first === undefined) return
  const more = lost.length > 1 ? `, nor ${lost.length - 1} more of its ${layers.length} layers` : ''
  const of = graph.images.length > 1 ? platformOf(platform) : ''
  throw notWhole(`${source.name} has no blob ${first.digest}, a layer of ${descriptor.digest}${of}${more}`, source)
}

function notWhole (what: string, source: Named): SnapshotterError {
  return new SnapshotterError('NOT_OCI', `${what}${remedyOf(source)}`)
}

function remedyOf ({ remedy }: Named): string {
  return remedy === undefined ? '' : `; ${remedy}`
}

function platformOf (platform: Platform | null): string {
  return platform === null ? '' : ` (${formatPlatform(platform)})`
}
