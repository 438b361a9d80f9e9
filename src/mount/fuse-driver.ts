// The driver `fuse`: the whole tree through fuse-native in a process beside the daemon, from the inode table that the
// EROFS builder gets, bytes from the worker's file. For kernels without EROFS, and to compare the other drivers with.
// When that process dies its mounts answer ENOTCONN until the next `serve` makes them anew. Times are cut to milliseconds,
// ACLs are shown and not enforced, names must be UTF-8.
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LAYER_ENTRIES_MAX } from '../base/limits.ts'
import { encodeIndex } from '../layer/index-codec.ts'
import type { LayerIndex } from '../layer/layer-index.ts'
import type { DataPlane } from './data-plane.ts'
import { type MountDriver, mountId, tableOf } from './driver.ts'
import type { NativeProgram } from './native-program.ts'
import { TreeClient } from './tree-client.ts'
import { unmountAll } from './unmount.ts'

interface Parts {
  readonly state: string
  readonly dataPlane: DataPlane
  readonly native: NativeProgram
}

export function fuseDriver ({ state, dataPlane, native }: Parts): MountDriver {
  const trees = new TreeClient(state)
  const fileName = (target: string): string => `${mountId(target)}.fuse`
  const unmount = async (target: string): Promise<void> => {
    await dataPlane.removeFile(fileName(target))
    await unmountAll(native, target)
    await trees.forget(target)
  }
  return {
    name: 'fuse',
    imageForm: null,
    fileName,
    mount: async (layer, target) => {
      const tree = join(state, 'meta', `${mountId(target)}.tree`) // ramfs: nobody but us writes there
      await dataPlane.addFile(fileName(target), layer.cacheFolder, tableOf(layer, new Uint8Array(0)))
      try {
        await writeFile(tree, encodeIndex(withoutChunks(layer.index)), { mode: 0o600 })
        await trees.mount({ target, tree, data: join(state, 'data', fileName(target)), firstInode: firstInode(layer.digest) })
      } catch (error) {
        await unmount(target)
        throw error
      } finally {
        await rm(tree, { force: true })
      }
    },
    unmount,
    serves: async (target) => (await trees.targets()).includes(target)
  }
}

/** Where chunks are is the worker's business. */
function withoutChunks (index: LayerIndex): LayerIndex {
  const { format, prefetchBytes } = index
  return { format, prefetchBytes, inodes: index.inodes.map((inode) => ({ ...inode, firstChunk: 0, chunkCount: 0 })), chunks: [] }
}

/**
 * Overlayfs cannot put a layer's number into FUSE's inode numbers as it does with EROFS's, and an overlay on such an overlay
 * would take two files for one: layers number their inodes from places of their own. With 32 bits to choose from, two layers
 * of 10,000 files overlap once in 200,000 pairs.
 */
function firstInode (digest: Uint8Array): number {
  return 1 + Buffer.from(digest).readUInt32LE() % (2 ** 32 - 1 - LAYER_ENTRIES_MAX)
}
