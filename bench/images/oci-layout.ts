// Tar files → an OCI image layout with gzip layers, digests and all; what a registry or `publish` reads. Knows nothing of us.
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

interface Blob { readonly digest: string, readonly size: number }
interface Layer extends Blob { readonly diffId: string, readonly tarBytes: number }

export interface WrittenLayout {
  /** Compressed bytes of all layers. */
  readonly imageBytes: number
  /** Bytes of all tars. */
  readonly tarBytes: number
  readonly layers: number
}

const AT_ONCE = 2

/** gzip level 6, as `docker push` and `gzip` have it. */
export async function writeLayout (layout: string, tars: readonly string[], program: readonly string[]): Promise<WrittenLayout> {
  await mkdir(join(layout, 'blobs', 'sha256'), { recursive: true })
  const layers: Layer[] = []
  for (let at = 0; at < tars.length; at += AT_ONCE) {
    layers.push(...await Promise.all(tars.slice(at, at + AT_ONCE).map(async (tar) => await addLayer(layout, tar))))
  }
  await finish(layout, layers, program)
  return {
    imageBytes: layers.reduce((sum, { size }) => sum + size, 0), tarBytes: layers.reduce((sum, { tarBytes }) => sum + tarBytes, 0), layers: layers.length
  }
}

async function addLayer (layout: string, tar: string): Promise<Layer> {
  const uncompressed = createHash('sha256')
  const compressed = createHash('sha256')
  const temporary = `${tar}.gz`
  const gzip = createGzip({ level: 6 })
  gzip.on('data', (data: Buffer) => compressed.update(data))
  await pipeline(createReadStream(tar, { highWaterMark: 1 << 20 }).on('data', (data) => uncompressed.update(data)), gzip, createWriteStream(temporary))
  const digest = compressed.digest('hex')
  const size = statSync(temporary).size
  await rename(temporary, join(layout, 'blobs', 'sha256', digest))
  return { digest: `sha256:${digest}`, diffId: `sha256:${uncompressed.digest('hex')}`, size, tarBytes: statSync(tar).size }
}

async function finish (layout: string, layers: readonly Layer[], program: readonly string[]): Promise<void> {
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64'
  const config = await addJson(layout, {
    architecture,
    os: 'linux',
    config: { Cmd: program, Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map((_, at) => ({ created_by: `bench layer ${at}` }))
  })
  const manifest = await addJson(layout, {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: layers.map(({ digest, size }) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size }))
  })
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(layout, 'index.json'), JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      ...manifest,
      platform: { architecture, os: 'linux' },
      annotations: { 'org.opencontainers.image.ref.name': 'latest' }
    }]
  }))
}

async function addJson (layout: string, document: object): Promise<Blob> {
  const bytes = Buffer.from(JSON.stringify(document))
  const digest = createHash('sha256').update(bytes).digest('hex')
  await writeFile(join(layout, 'blobs', 'sha256', digest), bytes)
  return { digest: `sha256:${digest}`, size: bytes.length }
}
