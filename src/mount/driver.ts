// The one interface in front of the ways to mount a layer. A driver turns an index with its layout into a read-only
// mount on `target`; the files that the data plane serves for it are named after the target, so that a restarted
// daemon finds both again.
import { createHash } from 'node:crypto'
import type { DataLayout, LayerIndex } from '../layer/layer-index.ts'
import type { PlacedChunk } from '../layer/placed-chunks.ts'
import { encodeTable } from '../layer/chunk-table.ts'
import { buildErofs, type ErofsOptions } from '../erofs/build-erofs.ts'

export type DriverName = 'erofs' | 'erofs-loop' | 'fuse'

export interface MountableLayer {
  /** With implied directories resolved. */
  readonly index: LayerIndex
  readonly layout: DataLayout
  readonly chunks: readonly PlacedChunk[]
  /** sha256 of the blob, 32 bytes: for logs and the filesystem's uuid. */
  readonly digest: Uint8Array
  /** Where the data plane keeps the layer's bytes. */
  readonly cacheFolder: string
  /** The same, made ahead or elsewhere. */
  readonly made?: {
    readonly table: (prefix: Uint8Array) => Uint8Array
    readonly image: (form: ImageForm) => Promise<Uint8Array>
  }
}

export type ImageForm = ErofsOptions['form']

export interface MountDriver {
  readonly name: DriverName
  /** Of the EROFS image that it mounts; null when it mounts none. */
  readonly imageForm: ImageForm | null
  /** Name of the file that the data plane serves for a target. */
  readonly fileName: (target: string) => string
  /** @throws MOUNT_FAILED, DATA_PLANE_DOWN; nothing is mounted or served then. */
  readonly mount: (layer: MountableLayer, target: string) => Promise<void>
  /** Also of a target that is not mounted. */
  readonly unmount: (target: string) => Promise<void>
  /** False when nobody answers below a mounted target, though the data plane has its file. */
  readonly serves: (target: string) => Promise<boolean>
}

/** 32 hex digits: stable over restarts, unique per target. */
export function mountId (target: string): string {
  return createHash('sha256').update(target).digest('hex').slice(0, 32)
}

/** `prefix`: metadata at the start of the file, in whole blocks. */
export function tableOf (layer: MountableLayer, prefix: Uint8Array): Uint8Array {
  if (layer.made !== undefined) return layer.made.table(prefix)
  return encodeTable({ layerDigest: layer.digest, dataSize: layer.layout.size, chunks: layer.chunks, prefix })
}

export async function imageOf (layer: MountableLayer, form: ImageForm): Promise<Uint8Array> {
  return layer.made === undefined ? buildErofs(layer.index, layer.layout, imageOptions(layer.digest, form)) : await layer.made.image(form)
}

/** `digest`: sha256 of the blob, 32 bytes. */
export function imageOptions (digest: Uint8Array, form: ImageForm): ErofsOptions {
  return { form, uuid: digest.subarray(0, 16) }
}
