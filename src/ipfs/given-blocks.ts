// The blocks that were given to this node: what clients put, add and import. A pin holds a DAG; what no pin holds may go, at
// once when its last pin went, else after a while. Below one folder: `sha256/` the blocks, `pins/`, `incoming/` what is on its
// way. One process writes; others may read (block-folder.ts).
import { mkdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { type Clock, systemClock } from '../base/clock.ts'
import { asWriteFailure, syncFolder } from '../base/disk.ts'
import { drain } from '../base/drain.ts'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { DISK_USAGE_CONCURRENCY, STORE_LOOSE_MS, UPLOADS_AT_ONCE } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'
import { BlockFolder, blockNames, blocksBelow, diskBytes, fileNameOf } from './block-folder.ts'
import { BlockUpload } from './block-upload.ts'
import { walkDag } from './dag-walk.ts'
import { PinFolder } from './pin-folder.ts'

interface Init {
  readonly folder: string
  /** Of all blocks, on the disk. */
  readonly maxBytes: number
  readonly log: Log
  readonly clock?: Clock
}

export class GivenBlocks {
  readonly #init: Init
  readonly #clock: Clock
  readonly #incoming: string
  readonly #pins: PinFolder
  readonly #uploads = new Set<BlockUpload>()
  /** Whoever names, pins or removes does it alone. */
  readonly #turn = new Semaphore(1)
  /** The block that is being removed. */
  #leaving: string | null = null
  #bytes = 0
  readonly blocks: BlockFolder
  /** Behind everything that needs no more than reading: a look at every file takes a second for 20 GiB. */
  readonly measured: Promise<void>

  /** What an earlier run left unfinished is removed. */
  static async open (init: Init): Promise<GivenBlocks> {
    const { folder } = init
    await rm(join(folder, 'incoming'), { recursive: true, force: true })
    await mkdir(blocksBelow(folder), { recursive: true, mode: 0o700 })
    await syncFolder(folder)
    return new GivenBlocks(init, await BlockFolder.open(folder))
  }

  private constructor (init: Init, blocks: BlockFolder) {
    this.#init = init
    this.#clock = init.clock ?? systemClock
    this.#incoming = join(init.folder, 'incoming')
    this.#pins = new PinFolder(init.folder)
    this.blocks = blocks
    this.measured = this.#measure()
    this.measured.catch(() => {}) // whoever needs it hears of it
  }

  async #measure (): Promise<void> {
    const names = await blockNames(this.#init.folder) ?? []
    for (let at = 0; at < names.length; at += DISK_USAGE_CONCURRENCY) {
      const some = names.slice(at, at + DISK_USAGE_CONCURRENCY)
      // Whatever else somebody did to a file, it must not stop uploads until the next start.
      const sizes = await Promise.all(some.map(async (name) => await stat(this.blocks.path(name)).then(({ size }) => size, () => 0)))
      for (const size of sizes) this.#bytes += diskBytes(size)
    }
  }

  /** On the disk, with what is on its way; once it is measured. */
  get bytes (): number {
    return this.#bytes
  }

  /** Must be closed. @throws UNAVAILABLE when too many are under way, RESOURCE_EXHAUSTED */
  async begin (): Promise<BlockUpload> {
    const upload = new BlockUpload(this.#incoming, {
      isWhole: async (cid) => await this.#isWhole(cid),
      reserve: async (bytes) => { await this.#reserve(bytes) },
      release: (bytes) => { this.#bytes -= bytes },
      take: async (from, names) => { await this.#turn.run(async () => { await this.#take(from, names) }) },
      ended: () => { this.#uploads.delete(upload) }
    })
    if (this.#uploads.size >= UPLOADS_AT_ONCE) throw new SnapshotterError('UNAVAILABLE', `${this.#uploads.size} uploads are under way; try again`)
    this.#uploads.add(upload)
    try {
      await upload.begin()
      return upload
    } catch (error) {
      await upload.close()
      throw error
    }
  }

  async pins (): Promise<CID[]> {
    return await this.#pins.list()
  }

  /** Everything that pins hold, the pins first, each block once, with the pin that holds it; null for a pin itself. @throws as `pin` */
  async held (): Promise<Array<{ readonly cid: CID, readonly via: CID | null }>> {
    return await this.#turn.run(async () => {
      const pins = await this.#pins.list()
      const seen = new Set<string>()
      const found: Array<{ cid: CID, via: CID | null }> = pins.map((cid) => ({ cid, via: null }))
      const roots = new Set(pins.map((pin) => pin.toV1().toString()))
      for (const pin of pins) {
        for await (const cid of walkDag(this.blocks, pin, seen)) if (!roots.has(cid.toV1().toString())) found.push({ cid, via: pin })
      }
      return found
    })
  }

  /** Holds the DAG, all of which must be here. @throws NOT_FOUND naming what is not; LIMIT_EXCEEDED, RESOURCE_EXHAUSTED, BLOCK_*. */
  async pin (root: CID): Promise<void> {
    await this.#turn.run(async () => {
      await drain(walkDag(this.blocks, root))
      await this.#pins.add(root)
    })
  }

  /** What no other pin holds is removed. @throws FAILED_PRECONDITION when it is not pinned */
  async unpin (root: CID): Promise<void> {
    await this.#turn.run(async () => {
      const pin = await this.#pins.find(root)
      if (pin === null) throw new SnapshotterError('FAILED_PRECONDITION', `${root.toString()} is not pinned`)
      const held = new Set<string>()
      // A damaged DAG is let go as far as it can be read; the rest of it goes with what is old.
      await this.#mark(pin, held, new Set()).catch(() => {})
      await this.#pins.remove(pin)
      await this.#sweep(held)
    })
  }

  async #isWhole (cid: CID): Promise<boolean> {
    const name = fileNameOf(cid)
    if (name === null || name === this.#leaving || !this.blocks.has(cid)) return false
    try {
      if (await this.blocks.get(cid) === null) return false
      const now = this.#clock.now() / 1000
      await utimes(this.blocks.path(name), now, now)
      return true
    } catch (error) {
      this.#init.log.warn({ block: cid.toString(), error: asSnapshotterError(error).line }, 'a damaged block of the store is replaced')
      return false
    }
  }

  async #reserve (bytes: number): Promise<void> {
    const { maxBytes } = this.#init
    await this.measured
    if (this.#bytes + bytes > maxBytes) await this.#turn.run(async () => { await this.#sweep() })
    if (this.#bytes + bytes > maxBytes) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `the store of blocks is full: ${this.#bytes} bytes with what is on its way, limit ${maxBytes} ` +
        '([store] max_size); remove pins, or raise it')
    }
    this.#bytes += bytes
  }

  /** Empties `names`. Bytes that were reserved are the store's from now on; a block that it had counts once. */
  async #take (from: string, names: Map<string, number>): Promise<void> {
    try {
      for (const [name, size] of names) {
        const to = this.blocks.path(name)
        const replaced = await stat(to).then((stats) => diskBytes(stats.size), () => 0)
        await rename(join(from, name), to)
        names.delete(name)
        this.#bytes -= Math.min(replaced, size)
      }
      await syncFolder(blocksBelow(this.#init.folder))
    } catch (cause) {
      throw asWriteFailure('the store of blocks', cause)
    }
  }

  async #mark (root: CID, held: Set<string>, seen: Set<string>): Promise<void> {
    for await (const cid of walkDag(this.blocks, root, seen)) {
      const name = fileNameOf(cid)
      if (name !== null) held.add(name)
    }
  }

  /** Removes what neither pins nor uploads hold and is `doomed` or old. A pin that cannot be walked holds everything. */
  async #sweep (doomed: ReadonlySet<string> = new Set()): Promise<void> {
    const { log, folder } = this.#init
    await this.measured
    const held = new Set<string>()
    const seen = new Set<string>()
    try {
      for (const pin of await this.#pins.list()) await this.#mark(pin, held, seen)
    } catch (error) {
      log.warn({ error: asSnapshotterError(error).line }, 'a pinned DAG is damaged: nothing is removed from the store')
      return
    }
    let removed = 0
    for (const name of await blockNames(folder) ?? []) {
      if (held.has(name)) continue
      const stats = await stat(this.blocks.path(name))
      if (!doomed.has(name) && stats.mtimeMs > this.#clock.now() - STORE_LOOSE_MS) continue
      if ([...this.#uploads].some((upload) => upload.holds(name))) continue
      this.#leaving = name // an upload that looks for it from now on writes it again
      await rm(this.blocks.path(name), { force: true }).finally(() => { this.#leaving = null })
      this.#bytes -= diskBytes(stats.size)
      removed++
    }
    await syncFolder(blocksBelow(folder))
    if (removed > 0) log.info({ removed, bytes: this.#bytes }, 'blocks without a pin were removed from the store')
  }
}
