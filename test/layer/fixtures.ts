// The images that other tools made (test/fixtures/images), opened: blobs by digest, layers with all that a layer needs.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { DataSink } from '../../src/layer/plain-layer.ts'
import type { RangeReader } from '../../src/layer/estargz.ts'
import { type Digest, digestOf, parseDigest } from '../../src/verify/digest.ts'
import type { VerifiedBytes } from '../../src/verify/verified-bytes.ts'

const root = join(import.meta.dirname, '..', 'fixtures')

export interface FixtureLayer {
  readonly digest: Digest
  readonly diffId: Digest
  readonly mediaType: string
  readonly annotations: Record<string, string>
  readonly blob: Uint8Array
}

export interface TruthEntry {
  readonly path: string
  readonly type: string
  readonly mode: string
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: string
  readonly size?: number
  readonly nlink?: number
  readonly sha256?: string
  readonly target?: string
  readonly rdev?: [number, number]
  readonly sameFileAs?: string
  readonly xattrs?: Record<string, string>
}

interface Descriptor { mediaType: string, digest: string, annotations?: Record<string, string> }
interface Manifest { config: Descriptor, layers: Descriptor[] }

export function truth (name: 'layer0' | 'merged'): TruthEntry[] {
  return JSON.parse(readFileSync(join(root, 'truth', `${name}.json`), 'utf8')) as TruthEntry[]
}

export function truthTar (name: 'base' | 'over'): Uint8Array {
  return gunzipSync(readFileSync(join(root, 'truth', `${name}.tar.gz`)))
}

export function imageLayers (file: string): FixtureLayer[] {
  const raw = readFileSync(join(root, 'images', file))
  const files = untar(file.endsWith('.gz') ? gunzipSync(raw) : raw)
  return file.startsWith('docker') ? dockerLayers(files) : ociLayers(files)
}

function ociLayers (files: ReadonlyMap<string, Uint8Array>): FixtureLayer[] {
  const blob = (digest: string): Uint8Array => need(files, `blobs/sha256/${digest.slice(7)}`)
  const json = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString())
  let descriptors = (json(need(files, 'index.json')) as { manifests: Descriptor[] }).manifests
  for (;;) {
    const image = descriptors.map(({ digest }) => json(blob(digest)) as Partial<Manifest> & { manifests?: Descriptor[] })
    const manifest = image.find((document) => document.layers !== undefined && document.config?.mediaType.includes('image.config'))
    if (manifest?.layers !== undefined && manifest.config !== undefined) {
      const { rootfs } = json(blob(manifest.config.digest)) as { rootfs: { diff_ids: string[] } }
      return manifest.layers.map((layer, i) => ({
        digest: parseDigest(layer.digest),
        diffId: parseDigest(rootfs.diff_ids[i] ?? ''),
        mediaType: layer.mediaType,
        annotations: layer.annotations ?? {},
        blob: blob(layer.digest)
      }))
    }
    descriptors = image.flatMap((document) => document.manifests ?? [])
    if (descriptors.length === 0) throw new Error('no manifest')
  }
}

function dockerLayers (files: ReadonlyMap<string, Uint8Array>): FixtureLayer[] {
  const [image] = JSON.parse(Buffer.from(need(files, 'manifest.json')).toString()) as Array<{ Layers: string[] }>
  return (image?.Layers ?? []).map((path) => {
    const blob = need(files, path)
    const plain = blob[0] === 0x1f ? gunzipSync(blob) : blob
    return { digest: digestOf(blob), diffId: digestOf(plain), mediaType: 'application/vnd.docker.image.rootfs.diff.tar', annotations: {},
      blob }
  })
}

function need (files: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const bytes = files.get(name)
  if (bytes === undefined) throw new Error(`fixture lacks ${name}`)
  return bytes
}

/** Plain ustar only, by hand: these archives hold short names and nothing odd. */
function untar (tar: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  const text = (from: number, to: number): string => Buffer.from(tar.subarray(from, to)).toString('latin1').replace(/\0.*$/, '')
  for (let at = 0; at + 512 <= tar.byteLength && tar[at] !== 0;) {
    const size = Number.parseInt(text(at + 124, at + 136), 8)
    files.set(text(at, at + 100).replace(/^\.\//, ''), tar.subarray(at + 512, at + 512 + size))
    at += 512 + Math.ceil(size / 512) * 512
  }
  return files
}

/** Tests may say that bytes are verified; the source cannot. */
export function verified (bytes: Uint8Array): VerifiedBytes {
  return bytes as VerifiedBytes
}

export function rangeReader (blob: Uint8Array): RangeReader & { readonly reads: Array<[number, number]> } {
  const reads: Array<[number, number]> = []
  return {
    reads,
    read: async (offset, length) => {
      reads.push([offset, length])
      return verified(blob.subarray(offset, offset + length))
    }
  }
}

export async function * pieces (blob: Uint8Array, size = 65_536): AsyncGenerator<VerifiedBytes> {
  for (let at = 0; at < blob.byteLength; at += size) yield verified(blob.subarray(at, at + size))
}

/** A data device in memory. */
export class MemorySink implements DataSink {
  data = Buffer.alloc(0)
  moves = 0

  async write (offset: number, bytes: Uint8Array): Promise<void> {
    this.#grow(offset + bytes.byteLength)
    this.data.set(bytes, offset)
  }

  async move (from: number, to: number, length: number): Promise<void> {
    this.#grow(from + length)
    this.moves++
    this.data.copyWithin(to, from, from + length)
  }

  #grow (size: number): void {
    if (size <= this.data.byteLength) return
    this.data = Buffer.concat([this.data, Buffer.alloc(Math.max(size, 2 * this.data.byteLength) - this.data.byteLength)])
  }
}

export function sha256Hex (bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
