// The daemon's figures for `/metrics`, put together when they are asked for. A worker that does not answer in time leaves
// its own ones out, not the others.
import { sleep } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { HTTP_PROBE_MS_MAX } from '../base/limits.ts'
import type { Figures } from '../http/metric-table.ts'
import type { DataPlaneStatus } from '../mount/data-plane-status.ts'
import { stateOf } from './layer-status.ts'
import type { StatusParts } from './status.ts'

export async function figuresOf (parts: StatusParts): Promise<Figures> {
  const { config, dataPlane, mounts, proofs, quota, sources, guardianRestarts } = parts
  const worker = await answerOf(dataPlane).catch(() => null)
  const { proven, lied, waiting } = proofs.state
  return {
    ...sources.activity(),
    worker,
    guardianRestarts: guardianRestarts(),
    supplies: { bytes: dataPlane.unacknowledgedBytes, rejected: dataPlane.rejectedSupplies },
    cache: { bytes: quota.bytes, maxBytes: config.cacheMaxBytes, evictedChunks: quota.evictedChunks },
    layers: layersByState(parts, worker),
    proofs: { proven, lied, waiting },
    mounts: mounts.all().size,
    ready: worker !== null && config.sources.length > 0
  }
}

/** @throws DATA_PLANE_DOWN when it does not answer within HTTP_PROBE_MS_MAX. */
export async function answerOf (dataPlane: StatusParts['dataPlane']): Promise<DataPlaneStatus> {
  const answered = new AbortController()
  const late = sleep(HTTP_PROBE_MS_MAX, answered.signal).then(() => {
    throw new SnapshotterError('DATA_PLANE_DOWN', `the data plane did not answer within ${HTTP_PROBE_MS_MAX} ms`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([dataPlane.status(), late])
  } finally {
    answered.abort()
  }
}

function layersByState ({ mounts }: StatusParts, worker: DataPlaneStatus | null): Figures['layers'] {
  const served = new Map(worker?.files.map((file) => [file.name, file]))
  const counts = { complete: 0, lazy: 0, missing: 0 }
  for (const name of mounts.layers().keys()) counts[stateOf(served.get(name))]++
  return counts
}
