// Blocks on their way into the store: each is checked, written to a folder of this upload and synced; `commit` gives them all
// their names in the store. Whoever goes away before that leaves nothing.
import { randomUUID } from 'node:crypto'
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { asWriteFailure } from '../base/disk.ts'
import { SnapshotterError } from '../base/errors.ts'
import { UPLOAD_BLOCKS_MAX, UPLOAD_BYTES_MAX, UPLOAD_SYNCS_AT_ONCE } from '../base/limits.ts'
import { type VerifiedBytes, verifyBlock } from '../verify/verified-bytes.ts'
import { diskBytes, fileNameOf } from './block-folder.ts'

/** What an upload needs of its store. */
export interface UploadSpace {
  /** Whether the block is there, and right; a damaged one will be replaced. */
  readonly isWhole: (cid: CID) => Promise<boolean>
  /** @throws LIMIT_EXCEEDED when the store is full. */
  readonly reserve: (bytes: number) => Promise<void>
  readonly release: (bytes: number) => void
  /** Names files of `from` in the store, durably, and takes them off the list. */
  readonly take: (from: string, names: Map<string, number>) => Promise<void>
  readonly ended: () => void
}

export class BlockUpload {
  readonly #space: UploadSpace
  readonly #folder: string
  /** All blocks of it, also those that the store had: they are not to be removed now. */
  readonly #names = new Set<string>()
  /** Those that were written, and what they take on the disk. */
  readonly #written = new Map<string, number>()
  readonly #syncing = new Set<Promise<void>>()
  #failure: unknown = null
  #bytes = 0
  /** Blocks that came, repeats included, and their bytes. */
  readonly stats = { blocks: 0, bytes: 0 }

  constructor (incoming: string, space: UploadSpace) {
    this.#folder = join(incoming, randomUUID())
    this.#space = space
  }

  /** @throws RESOURCE_EXHAUSTED */
  async begin (): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 }).catch((cause: unknown) => { throw asWriteFailure('an upload', cause) })
  }

  holds (name: string): boolean {
    return this.#names.has(name)
  }

  /** @throws CID_UNSUPPORTED, BLOCK_TOO_LARGE, BLOCK_HASH_MISMATCH, LIMIT_EXCEEDED, RESOURCE_EXHAUSTED. `bytes` may be reused after it. */
  async put (cid: CID, bytes: Uint8Array, origin: string): Promise<void> {
    const block = verifyBlock(cid, bytes, origin)
    this.stats.blocks++
    this.stats.bytes += block.byteLength
    const name = fileNameOf(cid)
    if (name === null || this.#names.has(name)) return
    if (this.#names.size >= UPLOAD_BLOCKS_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `more than ${UPLOAD_BLOCKS_MAX} blocks in one upload`)
    this.#names.add(name) // before it is looked for: from now on nobody removes it
    if (await this.#space.isWhole(cid)) return
    const size = diskBytes(block.byteLength)
    if (this.#bytes + size > UPLOAD_BYTES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `more than ${UPLOAD_BYTES_MAX} bytes in one upload`)
    await this.#space.reserve(size)
    this.#bytes += size
    this.#written.set(name, size)
    await this.#write(name, block)
  }

  /** All blocks are in the store, durably, when it resolves. Until `close` none of them is removed. */
  async commit (): Promise<void> {
    await this.#settled()
    await this.#space.take(this.#folder, this.#written)
  }

  /** Needed in any case; what was not committed is gone. */
  async close (): Promise<void> {
    await this.#settled().catch(() => {})
    await rm(this.#folder, { recursive: true, force: true })
    for (const size of this.#written.values()) this.#space.release(size)
    this.#written.clear()
    this.#space.ended()
  }

  async #write (name: string, block: VerifiedBytes): Promise<void> {
    if (this.#failure !== null) throw this.#failure as Error
    // At most so many files are open beside the one that is written.
    while (this.#syncing.size >= UPLOAD_SYNCS_AT_ONCE) await Promise.race(this.#syncing)
    try {
      const file = await open(join(this.#folder, name), 'wx', 0o600)
      try {
        await file.writeFile(block)
      } catch (error) {
        await file.close()
        throw error
      }
      const synced = file.sync()
        .catch((cause: unknown) => { this.#failure ??= asWriteFailure(`block ${name}`, cause) })
        .finally(async () => { await file.close() })
        .finally(() => { this.#syncing.delete(synced) })
      this.#syncing.add(synced)
    } catch (cause) {
      throw asWriteFailure(`block ${name}`, cause)
    }
  }

  async #settled (): Promise<void> {
    await Promise.all(this.#syncing)
    if (this.#failure !== null) throw this.#failure as Error
  }
}
