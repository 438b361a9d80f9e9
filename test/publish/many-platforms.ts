// An image for several platforms as buildx writes it: an index in index.json, a layer that all share, one of each, and an
// attestation for each that poses as an image of no platform.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type Blob, blob, blobsOf, descriptorOf, entryOf, makeImage, makeIndex, sha256, type TestImage } from '../fakes/test-image.ts'
import { entry, tar } from '../layer/tar-writer.ts'

export interface ManyPlatforms {
  /** OCI layout directory. */
  readonly layout: string
  /** In the order of the index. */
  readonly images: readonly TestImage[]
  readonly attestations: readonly Blob[]
  readonly index: Blob
  /** Takes a blob away. */
  readonly lose: (blob: Blob) => Promise<void>
}

/** Architectures, `arm/v7` with its variant. `flat`: index.json itself is the index. */
export async function writeManyPlatforms (folder: string, architectures: readonly string[], { flat = false } = {}): Promise<ManyPlatforms> {
  const shared = tar(entry('etc/', { type: '5' }), entry('etc/shared', { data: 'of all' }))
  const images = architectures.map((text) => imageFor(text, shared))
  const attestations = images.map(attestationOf)
  const index = makeIndex([
    ...images.map((image) => entryOf(image, { annotations: { 'org.example.of': String(image.platform['architecture']) } })),
    ...attestations.map(([manifest], at) => descriptorOf(manifest, {
      platform: { os: 'unknown', architecture: 'unknown' },
      annotations: { 'vnd.docker.reference.type': 'attestation-manifest', 'vnd.docker.reference.digest': images[at]?.manifest.digest }
    }))
  ])
  const layout = join(folder, 'layout')
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true })
  for (const { digest, bytes } of [...images.flatMap(blobsOf), ...attestations.flat(), index]) await writeFile(pathOf(layout, digest), bytes)
  const annotations = { 'io.containerd.image.name': 'many:latest', 'org.opencontainers.image.ref.name': 'latest' }
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(layout, 'index.json'), (flat ? index : makeIndex([descriptorOf(index, { annotations })])).bytes)
  return {
    layout, images, index,
    attestations: attestations.map(([manifest]) => manifest),
    lose: async ({ digest }) => { await rm(pathOf(layout, digest)) }
  }
}

function imageFor (text: string, shared: Uint8Array): TestImage {
  const [architecture = '', variant] = text.split('/')
  const own = tar(entry('etc/own', { data: `of ${text}` }))
  return makeImage({
    architecture, ...variant === undefined ? {} : { variant },
    layers: [gzipSync(shared), gzipSync(own)],
    config: { rootfs: { type: 'layers', diff_ids: [sha256(shared), sha256(own)] } }
  })
}

function attestationOf ({ manifest }: TestImage): [manifest: Blob, config: Blob, statement: Blob] {
  const statement = blob('application/vnd.in-toto+json', { subject: [{ digest: { sha256: manifest.digest.slice(7) } }] })
  const config = blob('application/vnd.oci.image.config.v1+json', {
    os: 'unknown', architecture: 'unknown', config: {}, rootfs: { type: 'layers', diff_ids: [statement.digest] }
  })
  const document = blob('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config: descriptorOf(config), layers: [descriptorOf(statement)]
  })
  return [document, config, statement]
}

function pathOf (layout: string, digest: string): string {
  return join(layout, 'blobs/sha256', digest.slice('sha256:'.length))
}
