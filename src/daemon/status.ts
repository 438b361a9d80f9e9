// `status`: the JSON of design §5, put together from what the data plane, the sources and the mounts say of themselves.
import type { CacheQuota } from '../cache/quota.ts'
import type { Config } from '../config/load.ts'
import type { DataPlane } from '../mount/data-plane.ts'
import type { MountDriver } from '../mount/driver.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import type { LayerProofs } from './proof.ts'
import type { Sources } from './sources.ts'

export interface StatusParts {
  readonly config: Config
  readonly driver: MountDriver
  readonly dataPlane: DataPlane
  readonly mounts: LayerMounts
  readonly proofs: LayerProofs
  readonly quota: CacheQuota
  readonly sources: Sources
  readonly snapshotters: Snapshotters
}

export function statusHandler ({ config, driver, dataPlane, mounts, proofs, quota, sources, snapshotters }: StatusParts) {
  return async (): Promise<object> => {
    const plane = await dataPlane.status()
    const served = new Map(plane.files.map((file) => [file.name, file]))
    const layers = [...mounts.layers()].map(([name, { key, record }]) => {
      const file = served.get(name)
      return {
        digest: record.digest,
        size: record.size,
        fetchedBytes: file?.suppliedBytes ?? 0,
        cachedBytes: file?.cachedBytes ?? 0,
        /** Of these, stored once for several layers, elsewhere than here. */
        sharedBytes: file?.sharedBytes ?? 0,
        readBytes: file?.readBytes ?? 0,
        /** Layer digest, diffID and TOC were held against each other in one pass over the whole blob. */
        proven: proofs.isProven(key),
        state: file === undefined ? 'missing' : file.cachedChunks === file.chunks ? 'complete' : 'lazy',
        /** Of the layer's file bytes, in the cache. */
        percent: file === undefined ? 0 : file.chunkBytes === 0 ? 100 : Math.floor(100 * file.cachedBytes / file.chunkBytes)
      }
    })
    const total = (pick: (layer: typeof layers[number]) => number): number => layers.reduce((sum, layer) => sum + pick(layer), 0)
    const gateways = sources.all().flatMap((service) => service.sources())
    return {
      driver: driver.name,
      root: config.root,
      state: config.state,
      snapshotters: snapshotters.names,
      layers,
      totals: {
        layers: layers.length,
        size: total(({ size }) => size),
        fetchedBytes: total(({ fetchedBytes }) => fetchedBytes),
        cachedBytes: total(({ cachedBytes }) => cachedBytes),
        sharedBytes: total(({ sharedBytes }) => sharedBytes),
        readBytes: total(({ readBytes }) => readBytes),
        // As they came, TOCs and documents included; `fetchedBytes` is what the worker was given of each blob, twice if it asked twice.
        networkBytes: gateways.reduce((sum, { type, bytes }) => type === 'car' || type === 'store' ? sum : sum + bytes, 0)
      },
      /** On the disk, by what it says; evicted since the start. */
      cache: { bytes: quota.bytes, maxBytes: config.cacheMaxBytes, evictedChunks: quota.evictedChunks },
      gateways,
      worker: {
        pid: plane.pid,
        restarts: plane.restarts,
        waitingReads: plane.waitingReads,
        violations: plane.violations,
        leafHashesChecked: plane.leafHashesChecked
      },
      bytesServed: plane.bytesServed,
      bytesServedUnverified: plane.bytesServedUnverified
    }
  }
}
