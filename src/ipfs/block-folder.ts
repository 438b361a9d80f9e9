// A folder of blocks, one file each, `sha256/<hex>`, as a block store. The disk is not believed: a block is hashed whenever
// it is read. Nothing is remembered of what is there, so one process may write while others serve.
import { existsSync } from 'node:fs'
import { constants, type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { SnapshotterError, systemCode } from '../base/errors.ts'
import { BLOCK_BYTES_MAX, DISK_BLOCK_BYTES } from '../base/limits.ts'
import { CODE_IDENTITY, CODE_RAW, CODE_SHA2_256 } from '../verify/cid.ts'
import { type VerifiedBytes, verifyBlock } from '../verify/verified-bytes.ts'
import type { BlockStoreReadonly } from './block-store.ts'
import type { Waits } from './blocks.ts'
import { PinFolder } from './pin-folder.ts'

/** Nothing on this disk makes us wait: neither a FIFO, nor a link to one. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
const NAME = /^[0-9a-f]{64}$/

/** The file of a block: the hex of its sha256. Null for an identity CID, which is its own block, and for other hashes. */
export function fileNameOf ({ multihash: { code, digest } }: CID): string | null {
  return code === CODE_SHA2_256 && digest.byteLength === 32 ? Buffer.from(digest).toString('hex') : null
}

export class BlockFolder implements BlockStoreReadonly {
  readonly #folder: string
  readonly #ordinals = new Map<string, number>()
  /** What was pinned when the folder was opened. */
  readonly roots: readonly CID[]
  /** When the folder was opened. */
  readonly blocks: number

  /** @throws NOT_FOUND when it is no such folder. */
  static async open (folder: string): Promise<BlockFolder> {
    const names = await blockNames(folder)
    if (names === null) throw new SnapshotterError('NOT_FOUND', `${folder} is no store of blocks: it has no folder sha256`)
    return new BlockFolder(folder, await new PinFolder(folder).list(), names.length)
  }

  constructor (folder: string, roots: readonly CID[], blocks: number) {
    this.#folder = folder
    this.roots = roots
    this.blocks = blocks
  }

  /** Where the file of that name is, whether or not it is there. */
  path (name: string): string {
    return join(blocksBelow(this.#folder), name)
  }

  /** Asks the disk, whose directories are in memory. */
  has (cid: CID): boolean {
    const name = fileNameOf(cid)
    return name === null ? cid.multihash.code === CODE_IDENTITY : existsSync(this.path(name))
  }

  get ordinals (): number {
    return this.#ordinals.size
  }

  /** Numbers are given to blocks as they are asked for. */
  ordinal (cid: CID): number | null {
    const name = fileNameOf(cid)
    if (name === null) return null
    const known = this.#ordinals.get(name)
    if (known !== undefined || !existsSync(this.path(name))) return known ?? null
    const next = this.#ordinals.size
    this.#ordinals.set(name, next)
    return next
  }

  /** @throws BLOCK_HASH_MISMATCH, BLOCK_TOO_LARGE, BLOCK_INVALID when the disk holds something else; ENVIRONMENT when it cannot be read. */
  async get (cid: CID, waits: Waits = {}): Promise<VerifiedBytes | null> {
    waits.signal?.throwIfAborted()
    const key = CID.createV1(CODE_RAW, cid.multihash)
    if (cid.multihash.code === CODE_IDENTITY) return verifyBlock(key, cid.multihash.digest, 'its own CID')
    const name = fileNameOf(cid)
    if (name === null) return null
    const path = this.path(name)
    await using file = await openBlock(path)
    return file === null ? null : verifyBlock(key, await readBlock(file, path), path)
  }

  async close (): Promise<void> { /* nothing stays open */ }
}

/** What a block's file takes. */
export function diskBytes (size: number): number {
  return Math.ceil(size / DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES
}

export function blocksBelow (folder: string): string {
  return join(folder, 'sha256')
}

/** Of the files that are blocks; null when there is no folder of them. */
export async function blockNames (folder: string): Promise<string[] | null> {
  try {
    return (await readdir(blocksBelow(folder))).filter((name) => NAME.test(name))
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT' || systemCode(cause) === 'ENOTDIR') return null
    throw new SnapshotterError('ENVIRONMENT', `${folder} cannot be read (${systemCode(cause) ?? ''})`, {}, { cause })
  }
}

async function openBlock (path: string): Promise<FileHandle | null> {
  try {
    return await open(path, READ_FLAGS)
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null
    throw new SnapshotterError('ENVIRONMENT', `${path} cannot be read (${systemCode(cause) ?? ''})`, {}, { cause })
  }
}

/** As many bytes as the file says it has: too few of them have another hash. */
async function readBlock (file: FileHandle, path: string): Promise<Uint8Array> {
  const stats = await file.stat()
  if (!stats.isFile()) throw new SnapshotterError('BLOCK_INVALID', `${path} is no regular file`)
  if (stats.size > BLOCK_BYTES_MAX) throw new SnapshotterError('BLOCK_TOO_LARGE', `${path} has ${stats.size} bytes, limit ${BLOCK_BYTES_MAX}`)
  const bytes = Buffer.allocUnsafe(stats.size)
  let filled = 0
  while (filled < bytes.byteLength) {
    const { bytesRead } = await file.read(bytes, filled, bytes.byteLength - filled, filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return bytes.subarray(0, filled)
}
