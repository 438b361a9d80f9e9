// The media types we know, and what is said of those we refuse (image-spec media-types.md; Docker image manifest v2.2).
import { SnapshotterError } from '../base/errors.ts'

export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
export const DOCKER_SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+json'
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
export const OCI_LAYER_TAR = 'application/vnd.oci.image.layer.v1.tar'
export const OCI_LAYER_GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip'
export const OCI_LAYER_ZSTD = 'application/vnd.oci.image.layer.v1.tar+zstd'
export const DOCKER_INDEX = 'application/vnd.docker.distribution.manifest.list.v2+json'
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
export const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json'
export const DOCKER_LAYER_TAR = 'application/vnd.docker.image.rootfs.diff.tar'
export const DOCKER_LAYER_GZIP = 'application/vnd.docker.image.rootfs.diff.tar.gzip'
export const DOCKER_LAYER_ZSTD = 'application/vnd.docker.image.rootfs.diff.tar.zstd'

export type Compression = 'none' | 'gzip' | 'zstd'

const LAYERS: ReadonlyMap<string, Compression> = new Map([
  [OCI_LAYER_TAR, 'none'], [OCI_LAYER_GZIP, 'gzip'], [OCI_LAYER_ZSTD, 'zstd'],
  [DOCKER_LAYER_TAR, 'none'], [DOCKER_LAYER_GZIP, 'gzip'], [DOCKER_LAYER_ZSTD, 'zstd']
])

export function isIndexType (mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_INDEX
}

export function isManifestType (mediaType: string): boolean {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST
}

export function isConfigType (mediaType: string): boolean {
  return mediaType === OCI_CONFIG || mediaType === DOCKER_CONFIG
}

/** @throws MEDIA_TYPE_UNSUPPORTED saying why this kind of layer cannot be run. */
export function compressionOf (mediaType: string, what: string): Compression {
  const compression = LAYERS.get(mediaType)
  if (compression === undefined) throw new SnapshotterError('MEDIA_TYPE_UNSUPPORTED', `${what} ${whyNoLayer(mediaType)}`)
  return compression
}

/** @throws MEDIA_TYPE_UNSUPPORTED always: a document of this type is no manifest or index of ours. */
export function refuseType (mediaType: string, what: string): never {
  throw new SnapshotterError('MEDIA_TYPE_UNSUPPORTED', `${what} ${whyNoImage(mediaType)}`)
}

function whyNoImage (mediaType: string): string {
  const quoted = JSON.stringify(mediaType.slice(0, 120))
  if (/^application\/vnd\.docker\.distribution\.manifest\.v1\b/.test(mediaType)) {
    return `is a Docker schema 1 manifest (${quoted}), which names no diffIDs; push the image again with a current tool`
  }
  return `has the media type ${quoted}, which is no OCI or Docker schema 2 manifest or index`
}

function whyNoLayer (mediaType: string): string {
  const quoted = JSON.stringify(mediaType.slice(0, 120))
  if (/\.nondistributable\.|\.foreign\./.test(mediaType)) return `is a foreign layer (${quoted}): its bytes are kept outside the image`
  if (/\+encrypted$/.test(mediaType)) return `is encrypted (${quoted}), which is not supported`
  return `has the media type ${quoted}; supported are tar and tar+gzip layers of OCI and Docker`
}
