// What a publisher marked as needed first is on its way as soon as a layer is open, before anybody mounts it: until the
// pull has ended, the data plane serves the layer's chunks under a name of their own, which shares its cache with the
// mounts to come. Reads of what is in flight wait for it and ask for nothing twice. A failure here costs time only.
import { asSnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import type { DataPlane } from './data-plane.ts'
import { chunksWithin } from './layer-table.ts'
import { chunksOf, suppliedLayer, tableOf } from './supplied-layer.ts'
import type { Supplier } from './supply.ts'

const SUFFIX = '.early'

interface Parts {
  readonly dataPlane: DataPlane
  readonly supplier: Supplier
  readonly log: Log
}

export class EarlyFetch {
  readonly #parts: Parts
  /** By name; false when it was given up with its pull. */
  readonly #running = new Map<string, Promise<boolean>>()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  /** Removes what a killed daemon left. */
  async clear (): Promise<void> {
    const { dataPlane } = this.#parts
    for (const name of await dataPlane.list()) if (name.endsWith(SUFFIX)) await dataPlane.removeFile(name)
  }

  /** Never throws. `pulled` ends when mounts hold the cache, or when there will be none. Who pulls the same layer meanwhile takes over. */
  async fetch (layer: OpenedLayer, blocks: BlockService, pulled: Promise<unknown>): Promise<void> {
    const name = `${layer.key.slice(0, 32)}${SUFFIX}`
    for (let other = this.#running.get(name); other !== undefined; other = this.#running.get(name)) if (await other) return
    const fetching = this.#fetch(name, layer, blocks, pulled).finally(() => { this.#running.delete(name) })
    this.#running.set(name, fetching)
    await fetching
  }

  async #fetch (name: string, layer: OpenedLayer, blocks: BlockService, pulled: Promise<unknown>): Promise<boolean> {
    const { dataPlane, supplier, log } = this.#parts
    const { index, digest } = layer.record
    const runs = chunksWithin(chunksOf(layer), index.prefetchBytes)
    if (runs.length === 0) return true
    const stop = new AbortController()
    pulled.catch(() => { stop.abort() })
    try {
      supplier.add(suppliedLayer(name, layer, blocks))
      await dataPlane.addFile(name, layer.cacheFolder, tableOf(layer, new Uint8Array(0)))
      await Promise.all(runs.map(async ({ first, count }) => { await dataPlane.need(name, first, count, stop.signal) }))
      log.info({ layer: digest, bytes: index.prefetchBytes }, 'prefetched')
      await pulled
    } catch (error) {
      if (!stop.signal.aborted) log.warn({ layer: digest, error: asSnapshotterError(error).line }, 'prefetch ended early')
    } finally {
      supplier.remove(name)
      await dataPlane.removeFile(name).catch((error: unknown) => { log.warn({ name, error: asSnapshotterError(error).line }, 'data plane file not removed') })
    }
    return !stop.signal.aborted
  }
}
