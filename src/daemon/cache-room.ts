// Ties the cache's quota to who fills it: what the data plane is supplied with, and passes over plain layers.
import { join } from 'node:path'
import { DISK_BLOCK_BYTES } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { CacheQuota, type ServedCache } from '../cache/quota.ts'
import type { Config } from '../config/load.ts'
import { evictChunks, usedChunks } from '../mount/cache-control.ts'
import type { DataPlane } from '../mount/data-plane.ts'
import type { Supplier } from '../mount/supply.ts'

export class CacheRoom {
  readonly quota: CacheQuota
  readonly #served: () => readonly ServedCache[]
  readonly #closing = new AbortController()

  constructor ({ config, dataPlane, supplier, log }: { config: Config, dataPlane: DataPlane, supplier: () => Supplier, log: Log }) {
    this.#served = () => supplier().files().map(({ name, cacheFolder, chunks }) => ({ name, folder: cacheFolder, chunks }))
    this.quota = new CacheQuota({
      folder: join(config.root, 'layers'),
      maxBytes: config.cacheMaxBytes,
      served: this.#served,
      evict: async (name, runs) => { await evictChunks(dataPlane, name, runs) },
      used: async (name) => await usedChunks(dataPlane, name),
      log
    })
  }

  /** Room for chunks of a served file. When none can be made, they are stored all the same: a read waits for them. */
  async admit (name: string, first: number, count: number): Promise<() => void> {
    const cache = this.#served().find((one) => one.name === name)
    if (cache === undefined) return () => {}
    let bytes = DISK_BLOCK_BYTES
    for (let chunk = first; chunk < first + count; chunk++) bytes += cache.chunks[chunk]?.size ?? 0
    const settled = await this.quota.admit(bytes).catch(() => null) // a disk that cannot be looked at must not fail a read
    this.quota.supplied(cache.folder, { first, count }, cache.chunks.length)
    return settled ?? (() => {})
  }

  start (): void {
    void this.quota.run(this.#closing.signal)
  }

  close (): void {
    this.#closing.abort()
  }
}
