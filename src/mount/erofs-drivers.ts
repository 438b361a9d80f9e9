// Both EROFS drivers: the same inodes and data layout in two shapes. `erofs` (Linux ≥ 6.12): metadata in a ramfs file,
// data in a file of our FUSE mount. `erofs-loop` (≥ 5.16): both in one FUSE file with a loop device on it.
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DataPlane } from './data-plane.ts'
import { imageOf, type MountDriver, mountId, tableOf } from './driver.ts'
import type { NativeProgram } from './native-program.ts'
import { unmountAll } from './unmount.ts'

/**
 * KiB that the kernel may read ahead in one mount: one chunk of ours. Less splits chunks (twice the hashing in order); more makes
 * nothing faster in order, and each page fault hashes and copies as much around it (bench steady: p99 four times at 1024).
 */
const READAHEAD_KIB = 256

/** The kernel shows the tree; only reads need the data plane. */
const BY_KERNEL = async (): Promise<boolean> => true

interface Parts {
  readonly state: string
  readonly dataPlane: DataPlane
  readonly native: NativeProgram
}

export function erofsDriver ({ state, dataPlane, native }: Parts): MountDriver {
  const metadataOf = (target: string): string => join(state, 'meta', `${mountId(target)}.erofs`)
  const fileName = (target: string): string => `${mountId(target)}.data`
  return {
    name: 'erofs',
    imageForm: 'two-devices',
    fileName,
    mount: async (layer, target) => {
      const metadata = await imageOf(layer, 'two-devices')
      await dataPlane.addFile(fileName(target), layer.cacheFolder, tableOf(layer, new Uint8Array(0)))
      try {
        await writeFile(metadataOf(target), metadata, { mode: 0o600 })
        await native.job(['mount-erofs', metadataOf(target), target, '--device', join(state, 'data', fileName(target)),
          '--readahead-kb', String(READAHEAD_KIB)])
      } catch (error) {
        await dataPlane.removeFile(fileName(target))
        await rm(metadataOf(target), { force: true })
        throw error
      }
    },
    unmount: async (target) => {
      await dataPlane.removeFile(fileName(target))
      await unmountAll(native, target)
      await rm(metadataOf(target), { force: true })
    },
    serves: BY_KERNEL
  }
}

export function erofsLoopDriver ({ state, dataPlane, native }: Parts): MountDriver {
  const fileName = (target: string): string => `${mountId(target)}.img`
  return {
    name: 'erofs-loop',
    imageForm: 'one-file',
    fileName,
    mount: async (layer, target) => {
      const metadata = await imageOf(layer, 'one-file')
      await dataPlane.addFile(fileName(target), layer.cacheFolder, tableOf(layer, metadata))
      try {
        await native.job(['mount-loop', join(state, 'data', fileName(target)), target])
      } catch (error) {
        await dataPlane.removeFile(fileName(target))
        throw error
      }
    },
    unmount: async (target) => {
      await dataPlane.removeFile(fileName(target))
      await unmountAll(native, target)
    },
    serves: BY_KERNEL
  }
}
