// Which layer media types can be read. The type says "a tar, perhaps compressed"; the first bytes say which compression,
// as for containerd, and the diffID leaves only one right answer. zstd is recognised and refused.
import { SnapshotterError } from '../base/errors.ts'
import { isGzip } from './gzip-members.ts'

const READABLE = new Set([
  'application/vnd.oci.image.layer.v1.tar',
  'application/vnd.oci.image.layer.v1.tar+gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  'application/vnd.docker.image.rootfs.diff.tar',
  'application/vnd.docker.image.rootfs.diff.tar.gzip',
  'application/vnd.docker.image.rootfs.foreign.diff.tar',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'
])

/** @throws MEDIA_TYPE_UNSUPPORTED naming the type; zstd layers are told apart. */
export function checkLayerMediaType (mediaType: string, what: string): void {
  if (READABLE.has(mediaType)) return
  const hint = mediaType.includes('zstd') ? '; zstd layers are not supported yet, recompress the image with gzip' : ''
  throw new SnapshotterError('MEDIA_TYPE_UNSUPPORTED', `${what} has the media type ${JSON.stringify(mediaType.slice(0, 120))}${hint}`)
}

/** @throws MEDIA_TYPE_UNSUPPORTED for zstd, whatever the manifest calls it. */
export function compressionOf (start: Uint8Array, what: string): 'gzip' | 'none' {
  if (isGzip(start)) return 'gzip'
  const [a, b, c, d] = start
  const isZstd = b === 0xb5 && c === 0x2f && d === 0xfd && a === 0x28
  const isSkippable = b === 0x2a && c === 0x4d && d === 0x18 && a !== undefined && a >> 4 === 5
  if (!isZstd && !isSkippable) return 'none'
  throw new SnapshotterError('MEDIA_TYPE_UNSUPPORTED',
    `${what} is compressed with zstd; zstd layers are not supported yet, recompress the image with gzip`)
}
