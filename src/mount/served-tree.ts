// One mounted tree: answers libfuse's questions from a TreeView, and reads from the worker's file. Every operation answers
// exactly once; a read gives all bytes there are or an error, never fewer and never zeros for what did not come.
import { type FileHandle, open } from 'node:fs/promises'
import { type Errno, FuseMount, type FuseOperations, type loadFuseNative } from './fuse-native.ts'
import type { TreeView } from './tree-view.ts'

const ENOENT = -2
const EIO = -5
const ENOTDIR = -20
const EINVAL = -22
const BLOCK_BYTES = 4096
const NAME_BYTES_MAX = 255

export class ServedTree {
  readonly #fuse: FuseMount
  readonly #data: FileHandle

  private constructor (fuse: FuseMount, data: FileHandle) {
    this.#fuse = fuse
    this.#data = data
  }

  /** @throws MOUNT_FAILED when libfuse cannot mount; ENOENT when the worker serves no such file. */
  static async mount (library: ReturnType<typeof loadFuseNative>, target: string, view: TreeView, dataPath: string): Promise<ServedTree> {
    const data = await open(dataPath, 'r')
    try {
      const fuse = await FuseMount.mount(library, target, operations(view, data), (path) => {
        const position = view.find(path)
        return position === null ? ENOENT : view.xattrs(position)
      })
      return new ServedTree(fuse, data)
    } catch (error) {
      await data.close()
      throw error
    }
  }

  /** After it was unmounted. */
  async close (): Promise<void> {
    this.#fuse.forget()
    await this.#data.close()
  }
}

function operations (view: TreeView, data: FileHandle): FuseOperations {
  return {
    getattr: (path, answer) => {
      const position = view.find(path)
      if (position === null) answer(ENOENT)
      else answer(0, view.stat(position))
    },
    readdir: (path, answer) => {
      const position = view.find(path)
      if (position === null || view.kindOf(position) !== 'directory') return answer(position === null ? ENOENT : ENOTDIR)
      const listing = view.list(position)
      answer(0, listing.map(({ name }) => name), listing.map((entry) => view.stat(entry.position)))
    },
    readlink: (path, answer) => {
      const position = view.find(path)
      if (position === null || view.kindOf(position) !== 'symlink') return answer(position === null ? ENOENT : EINVAL)
      answer(0, view.target(position))
    },
    open: (path, _flags, answer) => {
      const position = view.find(path)
      if (position === null) answer(ENOENT)
      else answer(0, position + 1)
    },
    read: (_path, handle, into, length, offset, answer) => {
      readInto(view, data, { position: handle - 1, into, length, offset }).then(answer, (error: unknown) => { answer(errnoIn(error)) })
    },
    statfs: (_path, answer) => {
      const blocks = Math.min(view.dataBytes / BLOCK_BYTES, 0xffffffff)
      answer(0, { bsize: BLOCK_BYTES, frsize: BLOCK_BYTES, blocks, files: view.inodes, namemax: NAME_BYTES_MAX })
    }
  }
}

interface Wanted { readonly position: number, readonly into: Buffer, readonly length: number, readonly offset: number }

async function readInto (view: TreeView, data: FileHandle, { position, into, length, offset }: Wanted): Promise<number> {
  const { at, bytes } = view.extent(position, offset, length)
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await data.read(into, done, bytes - done, at + done)
    if (bytesRead === 0) return EIO
    done += bytesRead
  }
  return bytes
}

/** Node's system errors carry minus the errno. */
function errnoIn (error: unknown): Errno {
  const errno = typeof error === 'object' && error !== null && 'errno' in error ? error.errno : undefined
  return typeof errno === 'number' && errno < 0 ? errno : EIO
}
