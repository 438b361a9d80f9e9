// A docker archive (docker save: manifest.json beside a config and layers) as an OCI layout: config and layers keep their
// bytes, manifest and index are made, the same ones every time. Refuses archives of several images and layers that the
// config does not count (NOT_OCI).
import { SnapshotterError } from '../base/errors.ts'
import { MANIFEST_BYTES_MAX } from '../base/limits.ts'
import { isGzip } from '../layer/gzip-members.ts'
import { ANNOTATION_REF_NAME } from '../oci/annotations.ts'
import { readConfig } from '../oci/config-document.ts'
import { Fields } from '../oci/fields.ts'
import { OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_MANIFEST } from '../oci/media-types.ts'
import type { Platform } from '../oci/platform.ts'
import { parseStrictJson } from '../oci/strict-json.ts'
import { type Digest, digestOf, DigestStream } from '../verify/digest.ts'
import type { ArchiveIndex } from './archive-index.ts'
import { byteSource, type ByteSource } from './byte-source.ts'
import type { ImageSource, OpenBlob } from './image-source.ts'

/** What containerd's own importer calls the full name. */
const ANNOTATION_IMAGE_NAME = 'io.containerd.image.name'
const KEYS = ['Config', 'RepoTags', 'Layers'] as const

export const LAYOUT_FILE = Buffer.from('{"imageLayoutVersion":"1.0.0"}')

/** @throws NOT_OCI, LIMIT_EXCEEDED; takes `close` over. */
export async function dockerArchive (path: string, archive: ArchiveIndex, close: () => Promise<void>): Promise<ImageSource> {
  const what = `${path}: manifest.json`
  const list = parseStrictJson(await archive.small('manifest.json'), { what, code: 'NOT_OCI', bytesMax: MANIFEST_BYTES_MAX })
  if (!Array.isArray(list) || list.length === 0) throw new SnapshotterError('NOT_OCI', `${what} lists no image`)
  if (list.length > 1) throw new SnapshotterError('NOT_OCI', `${what} lists ${list.length} images; save and publish one at a time`)
  const fields = new Fields(list[0], what, KEYS)
  const names = fields.strings('Layers')
  const config = await archive.small(fields.string('Config'))
  const { diffIds, platform } = readConfig(config, names.length, `${path}: config`)

  const blobs = new Map<Digest, Buffer | ByteSource>([[digestOf(config), config]])
  const layers: object[] = []
  for (const [at, name] of names.entries()) {
    const source = archive.open(name, `${path}: layer ${at}`)
    const diffId = diffIds[at]
    if (source === null || diffId === undefined) {
      throw new SnapshotterError('NOT_OCI', `${what} names the layer ${JSON.stringify(name.slice(0, 120))}, which is not there`)
    }
    const gzip = source.size > 2 && isGzip(await source.read(0, 2))
    // Of an uncompressed layer digest and diffID are one; the conversion checks it against the bytes.
    const digest = gzip ? await digestOfSource(source) : diffId
    blobs.set(digest, source)
    layers.push({ mediaType: gzip ? OCI_LAYER_GZIP : OCI_LAYER_TAR, digest, size: source.size })
  }
  const manifest = json({
    schemaVersion: 2, mediaType: OCI_MANIFEST, config: { mediaType: OCI_CONFIG, digest: digestOf(config), size: config.byteLength }, layers
  })
  blobs.set(digestOf(manifest), manifest)
  const index = indexOf(manifest, platform, fields.strings('RepoTags')[0])
  const blob: ImageSource['blob'] = async (digest) => blobOf(blobs.get(digest), digest)
  return { kind: 'docker archive', name: path, layoutFile: LAYOUT_FILE, index, blob, close }
}

function indexOf (manifest: Buffer, { os, architecture, variant }: Platform, tag: string | undefined): Buffer {
  const annotations = tag === undefined ? undefined : nameAnnotations(tag)
  const platform = { architecture, os, ...variant === '' ? {} : { variant } }
  return json({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [{ mediaType: OCI_MANIFEST, digest: digestOf(manifest), size: manifest.byteLength, annotations, platform }]
  })
}

/** What an importer calls the image, for a name with a tag. */
export function nameAnnotations (name: string): Record<string, string> {
  return { [ANNOTATION_IMAGE_NAME]: name, [ANNOTATION_REF_NAME]: name.slice(name.lastIndexOf(':') + 1) }
}

function blobOf (blob: Buffer | ByteSource | undefined, digest: Digest): OpenBlob | null {
  if (blob === undefined) return null
  const close = async (): Promise<void> => {}
  if (!Buffer.isBuffer(blob)) return { ...blob, close }
  const fill: ByteSource['fill'] = async (target, offset) => { target.set(blob.subarray(offset, offset + target.byteLength)) }
  return { ...byteSource(`blob ${digest}`, blob.byteLength, fill), close }
}

async function digestOfSource (source: ByteSource): Promise<Digest> {
  const digest = new DigestStream()
  for await (const piece of source.stream()) digest.update(piece)
  return digest.digest()
}

function json (value: object): Buffer {
  return Buffer.from(JSON.stringify(value))
}
