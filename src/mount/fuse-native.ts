// Loads fuse-native, the only binding to libfuse that the registry has, and mounts a table of operations with it. Its own
// bundled libfuse is loaded first, by path: no system library, install script or compiler is needed. Linux x64 only.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { messageOf, SnapshotterError } from '../base/errors.ts'
import { FUSE_BACKGROUND_MAX, FUSE_CACHE_SECONDS } from '../base/limits.ts'

/** 0, or minus an errno. */
export type Errno = number

/** fuse-native keeps numbers of 32 bits, but for sizes, and times in whole milliseconds since 1970. */
export interface FuseStat {
  readonly mode: number
  readonly ino: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  readonly size: number
  /** Of 512 bytes. */
  readonly blocks: number
  readonly blksize: number
  readonly mtime: number
  readonly atime: number
  readonly ctime: number
}

/** Each calls back exactly once. Paths are UTF-8; other bytes in them have become U+FFFD. */
export interface FuseOperations {
  readonly getattr: (path: string, answer: (error: Errno, stat?: FuseStat) => void) => void
  readonly readdir: (path: string, answer: (error: Errno, names?: readonly string[], stats?: readonly FuseStat[]) => void) => void
  readonly readlink: (path: string, answer: (error: Errno, target?: string) => void) => void
  /** Answers with a number that `read` gets, at least 1. */
  readonly open: (path: string, flags: number, answer: (error: Errno, handle?: number) => void) => void
  /** Fills `into` and answers with the bytes read, or an error: never fewer than there are. */
  readonly read: (path: string, handle: number, into: Buffer, length: number, offset: number, answer: (result: number) => void) => void
  readonly statfs: (path: string, answer: (error: Errno, numbers?: Readonly<Record<string, number>>) => void) => void
}

/** Extended attributes of a path, or an error. */
export type XattrsOf = (path: string) => ReadonlyMap<string, Uint8Array> | Errno

type Signal = (result: number, buffer: ArrayBufferLike) => void

interface NativeFuse {
  mount: (done: (error: Error | null) => void) => void
  unmount: (done: (error: Error | null) => void) => void
  _fuseOptions: () => string
  _op_getxattr: (signal: Signal, path: string, name: string, into: Buffer) => void
  _op_listxattr: (signal: Signal, path: string, into: Buffer) => void
}

interface NativeFuseClass {
  new (mountPoint: string, operations: object, options: object): NativeFuse
  unmount: (mountPoint: string, done: (error: Error | null) => void) => void
}

const ENODATA = -61
const ERANGE = -34
const NOW = 2
const NEVER_UNLOAD = 0x1000 // RTLD_NODELETE: it must outlive the failed attempt to load it as an addon

/** @throws ENVIRONMENT where the package has no build for this machine. */
export function loadFuseNative (): NativeFuseClass {
  const require = createRequire(import.meta.url)
  try {
    const builds = join(dirname(require.resolve('fuse-native/package.json')), 'prebuilds', `${process.platform}-${process.arch}`)
    try {
      process.dlopen({ exports: {} }, join(builds, 'libfuse.so'), NOW | NEVER_UNLOAD)
    } catch (error) {
      // A plain library is no addon, but it stays loaded, and the addon finds it by its name.
      if (!messageOf(error).includes('did not self-register')) throw error
    }
    const loaded = require('fuse-native') as NativeFuseClass
    loaded.unmount = (_, done) => { done(null) } // by our mount job instead of fusermount
    return loaded
  } catch (cause) {
    throw new SnapshotterError('ENVIRONMENT', `fuse-native does not load on ${process.platform}-${process.arch}: ${messageOf(cause)}`, {}, { cause })
  }
}

export class FuseMount {
  readonly #fuse: NativeFuse

  private constructor (fuse: NativeFuse) {
    this.#fuse = fuse
  }

  /** Read-only, for everybody, permissions checked by the kernel. Resolves when the kernel shook hands. @throws MOUNT_FAILED. */
  static async mount (library: NativeFuseClass, target: string, operations: FuseOperations, xattrsOf: XattrsOf): Promise<FuseMount> {
    const named = { ...operations, getxattr: unused, listxattr: unused } // so that the kernel is told of them
    const fuse = new library(target, named, { timeout: false })
    fuse._fuseOptions = () => OPTIONS
    // The package's own versions write past the reader's buffer.
    fuse._op_getxattr = (signal, path, name, into) => { signal(xattrInto(xattrsOf(path), name, into), into.buffer) }
    fuse._op_listxattr = (signal, path, into) => { signal(namesInto(xattrsOf(path), into), into.buffer) }
    await new Promise<void>((resolve, reject) => {
      fuse.mount((error) => {
        if (error === null) resolve()
        else reject(new SnapshotterError('MOUNT_FAILED', `fuse-native cannot mount ${target}: ${error.message}`, {}, { cause: error }))
      })
    })
    return new FuseMount(fuse)
  }

  /** After it was unmounted: lets the process end. What the package allocated for its threads stays. */
  forget (): void {
    this.#fuse.unmount(() => {})
  }
}

const OPTIONS = '-o' + [
  'ro', 'suid', 'dev', 'allow_other', 'default_permissions', 'use_ino', 'kernel_cache', `entry_timeout=${FUSE_CACHE_SECONDS}`,
  `attr_timeout=${FUSE_CACHE_SECONDS}`, `negative_timeout=${FUSE_CACHE_SECONDS}`, `max_background=${FUSE_BACKGROUND_MAX}`,
  'fsname=ipfs-snapshotter', 'subtype=ipfs-tree'
].join(',')

function unused (): void {}

/** An empty buffer asks for the size. */
function xattrInto (xattrs: ReadonlyMap<string, Uint8Array> | Errno, name: string, into: Buffer): number {
  if (typeof xattrs === 'number') return xattrs
  const value = xattrs.get(name)
  if (value === undefined) return ENODATA
  if (into.byteLength === 0) return value.byteLength
  if (into.byteLength < value.byteLength) return ERANGE
  into.set(value)
  return value.byteLength
}

function namesInto (xattrs: ReadonlyMap<string, Uint8Array> | Errno, into: Buffer): number {
  if (typeof xattrs === 'number') return xattrs
  const names = Buffer.from([...xattrs.keys()].map((name) => `${name}\0`).join(''))
  if (into.byteLength === 0) return names.byteLength
  if (into.byteLength < names.byteLength) return ERANGE
  into.set(names)
  return names.byteLength
}
