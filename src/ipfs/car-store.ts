// CAR files as a block store. Opening scans the section heads only; each block is checked against its CID whenever it
// is read, because the disk is not trusted. A block that is damaged in one file is read from another that has it.
import { open } from 'node:fs/promises'
import { CID } from 'multiformats/cid'
import { isSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { CAR_FILES_MAX } from '../base/limits.ts'
import { CODE_IDENTITY, CODE_RAW, CODE_SHA2_256 } from '../verify/cid.ts'
import { type VerifiedBytes, verifyBlock } from '../verify/verified-bytes.ts'
import type { BlockStoreReadonly } from './block-store.ts'
import type { Waits } from './blocks.ts'
import { type BlockPlace, type CarIndex, CarIndexBuilder } from './car-index.ts'
import { type CarFile, scanCar } from './car-scan.ts'

const PLACES_TRIED = 4

export interface CarStore extends BlockStoreReadonly {
  /** Sections whose hash function nobody here can check; they are left out. */
  readonly skipped: number
}

/**
 * Opens and indexes CARv1 files. Blocks are found by multihash, as everywhere in IPFS: one block answers all its CIDs.
 * @throws NOT_FOUND, ENVIRONMENT (unreadable), CAR_INVALID, CAR_TRUNCATED, BLOCK_TOO_LARGE, LIMIT_EXCEEDED; nothing stays open then.
 */
export async function openCarStore (paths: readonly string[], waits: Waits = {}): Promise<CarStore> {
  if (paths.length > CAR_FILES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `${paths.length} CAR files, limit ${CAR_FILES_MAX}`)
  const files: CarFile[] = []
  const builder = new CarIndexBuilder()
  const roots = new Map<string, CID>()
  let skipped = 0
  try {
    for (const [number, path] of paths.entries()) {
      const file = await openCarFile(path)
      files.push(file)
      const named = await scanCar(file, ({ hashCode, digest, offset, length }) => {
        if (hashCode === CODE_SHA2_256 && digest.byteLength === 32) builder.add(digest, { file: number, offset, length })
        else if (hashCode !== CODE_IDENTITY) skipped++
      }, waits.signal)
      for (const root of named) roots.set(root.toString(), root)
    }
  } catch (error) {
    await closeAll(files)
    throw error
  }
  return new FilesOfBlocks(files, builder.build(), [...roots.values()], skipped)
}

class FilesOfBlocks implements CarStore {
  readonly #files: readonly CarFile[]
  readonly #index: CarIndex
  readonly roots: readonly CID[]
  readonly skipped: number

  constructor (files: readonly CarFile[], index: CarIndex, roots: readonly CID[], skipped: number) {
    this.#files = files
    this.#index = index
    this.roots = roots
    this.skipped = skipped
  }

  get blocks (): number {
    return this.#index.blocks
  }

  get ordinals (): number {
    return this.#index.sections
  }

  has (cid: CID): boolean {
    return cid.multihash.code === CODE_IDENTITY || this.ordinal(cid) !== null
  }

  ordinal (cid: CID): number | null {
    const { code, digest } = cid.multihash
    return code === CODE_SHA2_256 && digest.byteLength === 32 ? this.#index.find(digest) : null
  }

  async get (cid: CID, waits: Waits = {}): Promise<VerifiedBytes | null> {
    waits.signal?.throwIfAborted()
    // The codec says how to read a block, not what it is: hash and digest alone decide, for any codec.
    const key = CID.createV1(CODE_RAW, cid.multihash)
    if (cid.multihash.code === CODE_IDENTITY) return verifyBlock(key, cid.multihash.digest, 'its own CID')
    const rank = this.ordinal(cid)
    if (rank === null) return null

    let failure: unknown
    for (const place of this.#index.places(rank, PLACES_TRIED)) {
      try {
        return verifyBlock(key, ...await this.#read(place))
      } catch (error) {
        if (!isSnapshotterError(error)) throw error
        failure ??= error
      }
    }
    throw failure
  }

  async close (): Promise<void> {
    await closeAll(this.#files)
  }

  async #read ({ file, offset, length }: BlockPlace): Promise<[bytes: Uint8Array, origin: string]> {
    const source = this.#files[file]
    if (source === undefined) throw new SnapshotterError('INTERNAL', `CAR index names file ${file} of ${this.#files.length}`)
    const bytes = Buffer.allocUnsafe(length)
    let filled = 0
    while (filled < length) {
      const { bytesRead } = await readAt(source, bytes, filled, offset)
      if (bytesRead === 0) throw new SnapshotterError('CAR_TRUNCATED', `${source.path} now ends at byte ${offset + filled}, inside a block`)
      filled += bytesRead
    }
    return [bytes, `${source.path} at byte ${offset}`]
  }
}

async function readAt (file: CarFile, bytes: Uint8Array, filled: number, offset: number): Promise<{ bytesRead: number }> {
  try {
    return await file.handle.read(bytes, filled, bytes.byteLength - filled, offset + filled)
  } catch (cause) {
    throw new SnapshotterError('ENVIRONMENT', `cannot read ${file.path} at byte ${offset + filled}: ${reasonOf(cause)}`, {}, { cause })
  }
}

async function openCarFile (path: string): Promise<CarFile> {
  let handle
  try {
    handle = await open(path, 'r')
  } catch (cause) {
    const missing = reasonOf(cause) === 'ENOENT'
    throw new SnapshotterError(missing ? 'NOT_FOUND' : 'ENVIRONMENT',
      missing ? `CAR file ${path} does not exist` : `cannot open CAR file ${path}: ${reasonOf(cause)}`, {}, { cause })
  }
  const stats = await handle.stat()
  if (stats.isFile()) return { handle, path, size: stats.size }
  await handle.close()
  throw new SnapshotterError('CAR_INVALID', `${path} is not a regular file`)
}

/** System errors come from another realm than Jest's: they are no `instanceof Error` there. */
function reasonOf (error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error)
}

async function closeAll (files: readonly CarFile[]): Promise<void> {
  for (const file of files) await file.handle.close()
}
