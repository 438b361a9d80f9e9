// `status`: the JSON of design §5, put together from what the data plane, the sources and the mounts say of themselves. The
// status page shows the same.
import { systemClock } from '../base/clock.ts'
import type { RecentErrors } from '../base/recent-errors.ts'
import type { CacheQuota } from '../cache/quota.ts'
import type { Config } from '../config/load.ts'
import type { DataPlane } from '../mount/data-plane.ts'
import type { MountDriver } from '../mount/driver.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { DataPlaneStatus } from '../mount/data-plane-status.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import { imageStatuses, layerStatuses } from './layer-status.ts'
import type { PromisedContent } from './promised-content.ts'
import type { LayerProofs } from './proof.ts'
import type { Sources } from './sources.ts'
import type { Trust } from './trust.ts'

export interface StatusParts {
  readonly config: Config
  readonly driver: MountDriver
  readonly dataPlane: DataPlane
  readonly mounts: LayerMounts
  readonly proofs: LayerProofs
  readonly quota: CacheQuota
  readonly sources: Sources
  readonly snapshotters: Snapshotters
  readonly content: Pick<PromisedContent, 'images'>
  readonly trust: Pick<Trust, 'stopped'>
  readonly errors: Pick<RecentErrors, 'newestFirst'>
  /** Guardians that took another one's place since the start. */
  readonly guardianRestarts: () => number
}

export type Status = ReturnType<typeof statusOf>

const startedAt = systemClock.now()

export function statusHandler (parts: StatusParts) {
  return async (): Promise<Status> => statusOf(parts, await parts.dataPlane.status())
}

/** What is missing before this node can run an image of its own sources; empty when nothing is. */
export function problemsOf ({ sources }: Pick<Config, 'sources'>): string[] {
  return sources.length === 0 ? ['no source is configured: add a [[source]], or name a gateway with each pull'] : []
}

/** `plane`: what the worker says of itself now. */
export function statusOf (parts: StatusParts, plane: DataPlaneStatus) {
  const { config, driver, mounts, proofs, quota, sources, snapshotters, content, trust, errors, guardianRestarts } = parts
  const layers = layerStatuses(mounts.layers(), plane, (key) => proofs.isProven(key))
  const total = (pick: (layer: typeof layers[number]) => number): number => layers.reduce((sum, layer) => sum + pick(layer), 0)
  const gateways = sources.all().flatMap((service) => service.sources())
  const { proven, lied, waiting } = proofs.state
  return {
    /** Milliseconds since 1970. */
    startedAt,
    problems: problemsOf(config),
    driver: driver.name,
    root: config.root,
    state: config.state,
    snapshotters: snapshotters.names,
    images: imageStatuses(content.images(), layers),
    layers,
    totals: {
      layers: layers.length,
      size: total(({ size }) => size),
      fetchedBytes: total(({ fetchedBytes }) => fetchedBytes),
      cachedBytes: total(({ cachedBytes }) => cachedBytes),
      sharedBytes: total(({ sharedBytes }) => sharedBytes),
      readBytes: total(({ readBytes }) => readBytes),
      // As they came since the start, with TOCs, documents and what came twice.
      networkBytes: gateways.reduce((sum, { type, bytes }) => type === 'car' || type === 'store' ? sum : sum + bytes, 0)
    },
    /** On the disk, by what it says; evicted since the start. */
    cache: { bytes: quota.bytes, maxBytes: config.cacheMaxBytes, evictedChunks: quota.evictedChunks },
    gateways,
    worker: {
      pid: plane.pid,
      restarts: plane.restarts,
      waitingReads: plane.waitingReads,
      failedReads: plane.failedReads,
      violations: plane.violations,
      leafHashesChecked: plane.leafHashesChecked
    },
    guardian: { restarts: guardianRestarts() },
    /** Layers judged by one pass over the whole blob, or waiting for it. */
    proofs: { proven, lied, waiting },
    policy: { onFailure: config.onFailure, onViolation: config.onViolation, stopped: trust.stopped.total, containers: trust.stopped.newestFirst },
    errors: errors.newestFirst,
    bytesServed: plane.bytesServed,
    bytesServedUnverified: plane.bytesServedUnverified
  }
}
