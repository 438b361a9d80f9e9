// Holds the cache to `max_size`: bytes ask for room before they are written, and what was used longest ago makes it, first
// the data of layers that nobody serves, then single chunks of the others. Taking a chunk is safe at any moment: its hint
// goes first, and whoever reads it meanwhile has a miss. Sizes are what the disk says (st_blocks), so they survive restarts.
import { renameSync } from 'node:fs'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, systemCode } from '../base/errors.ts'
import { CACHE_EVICT_SHARE, CACHE_EVICTIONS_PER_CALL, CACHE_LOOK_MS, CACHE_YOUNG_MS, DISK_BLOCK_BYTES } from '../base/limits.ts'
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'

export interface ChunkRange { readonly first: number, readonly count: number }

/** The cache of a layer that the data plane serves. */
export interface ServedCache {
  /** One of the files that it is served as. */
  readonly name: string
  readonly folder: string
  /** By place; sizes in bytes. */
  readonly chunks: ReadonlyArray<{ readonly size: number }>
}

interface QuotaInit {
  /** Parent of the layers' folders. */
  readonly folder: string
  readonly maxBytes: number
  readonly served: () => readonly ServedCache[]
  readonly evict: (name: string, runs: readonly ChunkRange[]) => Promise<void>
  /** One bit per chunk, lowest first: read since the last call. */
  readonly used: (name: string) => Promise<Uint8Array>
  readonly log: Log
  readonly clock?: Clock
}

const DATA = ['data', 'present']
const PRESENT = 1

export class CacheQuota {
  readonly #init: QuotaInit
  readonly #clock: Clock
  readonly #one = new Semaphore(1)
  /** When a chunk was used last, in generations; by folder. */
  readonly #stamps = new Map<string, Uint32Array>()
  #generation = 1
  /** Bytes on the disk at the last look, and admitted since: written or not. */
  #measured: number | null = null
  #admitted = 0
  /** Admitted and perhaps not written yet. */
  #pending = 0
  #evictions = 0

  constructor (init: QuotaInit) {
    this.#init = init
    this.#clock = init.clock ?? systemClock
  }

  /** What is on the disk now, as far as is known without looking. */
  get bytes (): number {
    return (this.#measured ?? 0) + this.#admitted
  }

  get evictedChunks (): number {
    return this.#evictions
  }

  /** Nothing would have to go for a little more: background work stops before it drives out what was used. */
  hasRoom (): boolean {
    return this.#measured !== null && this.bytes < this.#init.maxBytes * (1 - 2 * CACHE_EVICT_SHARE)
  }

  /** Makes room for `bytes`; call the answer when they are written. Null: there is no room, and none can be made. */
  async admit (bytes: number): Promise<(() => void) | null> {
    const fits = this.#measured !== null && this.bytes + bytes <= this.#init.maxBytes
    if (!fits && !await this.#one.run(async () => await this.#makeRoom(bytes))) return null
    this.#admitted += bytes
    this.#pending += bytes
    return () => { this.#pending -= bytes }
  }

  /** Chunks that were just supplied are young. */
  supplied (folder: string, { first, count }: ChunkRange, chunks: number): void {
    this.#stampsOf(folder, chunks).fill(this.#generation, first, first + count)
  }

  /** Looks every now and then, so that records and files that nobody announced count too. Never throws. */
  async run (signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#one.run(async () => { await this.#makeRoom(0) }).catch((error: unknown) => {
        this.#init.log.warn({ error: messageOf(error) }, 'cache not looked after')
      })
      await sleep(CACHE_LOOK_MS, signal).catch(() => {})
    }
  }

  async #makeRoom (bytes: number): Promise<boolean> {
    const { maxBytes, log } = this.#init
    await this.#measure()
    if (this.bytes + bytes <= maxBytes) return true
    const before = this.bytes
    const goal = maxBytes * (1 - CACHE_EVICT_SHARE) - bytes
    for (const evict of [this.#dropUnserved.bind(this), this.#evictChunks.bind(this)]) {
      if (this.bytes > goal) await evict(this.bytes - goal)
      await this.#measure()
    }
    log.debug({ before, after: this.bytes, maxBytes, bytes }, 'cache evicted')
    return this.bytes + bytes <= maxBytes
  }

  async #measure (): Promise<void> {
    const sizes = await Promise.all((await list(this.#init.folder)).map(async (name) => await diskBytes(join(this.#init.folder, name))))
    this.#measured = sizes.reduce((sum, size) => sum + size, 0)
    this.#admitted = this.#pending // what was written of it counts twice for a moment: rather early than late
  }

  /** Whole data files, oldest first. Their records stay: they say without the network what the layer is. */
  async #dropUnserved (bytes: number): Promise<void> {
    const { folder, log } = this.#init
    const isServed = (path: string): boolean => this.#init.served().some((cache) => cache.folder === path)
    const found = await Promise.all((await list(folder)).filter((name) => /^[0-9a-f]{64}$/.test(name)).map(async (name) => {
      const path = join(folder, name)
      const data = await stat(join(path, 'data')).catch(() => null)
      return data === null ? null : { path, at: Math.max(data.mtimeMs, data.atimeMs), size: data.blocks * 512 }
    }))
    const idle = found.filter((one) => one !== null && !isServed(one.path) && this.#clock.now() - one.at > CACHE_YOUNG_MS)
      .sort((a, b) => (a?.at ?? 0) - (b?.at ?? 0))
    let freed = 0
    for (const one of idle) {
      if (one === null || freed >= bytes) return
      // In one turn with the question: nobody can begin to serve the files that go.
      if (isServed(one.path)) continue
      const gone = DATA.flatMap((file) => renamed(join(one.path, file)))
      for (const path of gone) await rm(path, { force: true })
      freed += one.size
      log.info({ layer: one.path, bytes: one.size }, 'cache of an unused layer dropped')
    }
  }

  async #evictChunks (bytes: number): Promise<void> {
    const caches = this.#init.served()
    const folders = new Map(caches.map((cache) => [cache.folder, cache]))
    const present = new Map<string, Uint8Array>()
    this.#generation++
    for (const { folder, name, chunks } of folders.values()) {
      present.set(folder, await readFile(join(folder, 'present')).catch(() => new Uint8Array(0)))
      const bits = await this.#init.used(name)
      const stamps = this.#stampsOf(folder, chunks.length)
      for (let chunk = 0; chunk < Math.min(stamps.length, bits.length * 8); chunk++) {
        if (((bits[chunk >> 3] ?? 0) >> (chunk & 7) & 1) === 1) stamps[chunk] = this.#generation
      }
    }
    for (const folder of this.#stamps.keys()) if (!folders.has(folder)) this.#stamps.delete(folder)
    let left = bytes
    while (left > 0) {
      const oldest = this.#oldest(present)
      if (oldest === null) return
      for (const cache of folders.values()) if (left > 0) left -= await this.#evictFrom(cache, present.get(cache.folder), oldest, left)
    }
  }

  /** The generation of the chunks that were used longest ago. */
  #oldest (present: ReadonlyMap<string, Uint8Array>): number | null {
    let oldest = Infinity
    for (const [folder, marks] of present) {
      const stamps = this.#stamps.get(folder)
      for (let chunk = 0; stamps !== undefined && chunk < marks.length; chunk++) {
        if (marks[chunk] === PRESENT) oldest = Math.min(oldest, stamps[chunk] ?? 0)
      }
    }
    return oldest === Infinity ? null : oldest
  }

  async #evictFrom ({ name, folder, chunks }: ServedCache, marks: Uint8Array | undefined, oldest: number, bytes: number): Promise<number> {
    const stamps = this.#stamps.get(folder)
    const runs: Array<{ first: number, count: number }> = []
    let freed = 0
    let count = 0
    for (let chunk = 0; stamps !== undefined && marks !== undefined && chunk < marks.length; chunk++) {
      if (freed >= bytes || count >= CACHE_EVICTIONS_PER_CALL) break
      if (marks[chunk] !== PRESENT || (stamps[chunk] ?? 0) > oldest) continue
      marks[chunk] = 0
      freed += Math.ceil((chunks[chunk]?.size ?? 0) / DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES
      count++
      const last = runs.at(-1)
      if (last !== undefined && last.first + last.count === chunk) last.count++
      else runs.push({ first: chunk, count: 1 })
    }
    if (runs.length > 0) await this.#init.evict(name, runs)
    this.#evictions += count
    return freed
  }

  #stampsOf (folder: string, chunks: number): Uint32Array {
    const known = this.#stamps.get(folder) ?? new Uint32Array(chunks)
    this.#stamps.set(folder, known)
    return known
  }
}

async function list (folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  })
}

async function diskBytes (folder: string): Promise<number> {
  const files = await Promise.all((await list(folder).catch(() => [])).map(async (name) => await stat(join(folder, name)).catch(() => null)))
  return files.reduce((sum, file) => sum + (file?.blocks ?? 0) * 512, 0)
}

/** The new name, when there was such a file. */
function renamed (path: string): string[] {
  try {
    renameSync(path, `${path}.new-gone`)
    return [`${path}.new-gone`]
  } catch {
    return []
  }
}
