// `status --debug`: what is waiting right now, since when, and on what. The oldest come first everywhere.
import { callsInProgress } from '../base/call-id.ts'
import { systemClock } from '../base/clock.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { ServiceActivity } from '../ipfs/blocks.ts'
import type { SourceActivity } from '../ipfs/source-traffic.ts'
import { inodePaths } from '../layer/inode-paths.ts'
import type { DataPlaneStatus } from '../mount/data-plane-status.ts'
import { chunksOf } from '../mount/supplied-layer.ts'
import type { BackgroundFetch } from './background-fetch.ts'
import type { LayerProofs } from './proof.ts'
import type { StatusParts } from './status.ts'

export interface WaitingRead {
  /** `read`: of a container; `need`: of prefetch or the background fetch. */
  readonly kind: 'read' | 'need'
  readonly layer: string | null
  /** Files that the missing chunks belong to, as far as is known. */
  readonly paths: readonly string[]
  readonly firstChunk: number
  readonly lastChunk: number
  readonly ms: number
}

export interface DebugReport {
  readonly calls: ReadonlyArray<{ readonly id: string, readonly what: string, readonly ms: number }>
  readonly waiting: readonly WaitingRead[]
  readonly supplies: { readonly bytes: number, readonly rejected: number }
  readonly sources: ReadonlyArray<{ readonly name: string } & SourceActivity>
  readonly gate: ServiceActivity['gate']
  readonly proofs: LayerProofs['state']
  readonly background: BackgroundFetch['state']
}

const PATHS_MAX = 8 // of one waiting read: it reads one file, mostly

export function debugHandler ({ dataPlane, mounts, proofs, sources, background }: StatusParts & { readonly background: Pick<BackgroundFetch, 'state'> }) {
  return async (): Promise<DebugReport> => {
    const { waiting } = await dataPlane.status()
    const layers = mounts.layers()
    const now = systemClock.monotonicMs()
    const digests = new Map([...layers.values()].map(({ key, record }) => [key, record.digest as string]))
    return {
      calls: callsInProgress().map(({ id, what, started }) => ({ id, what, ms: Math.round(now - started) })),
      waiting: waiting.map((one) => waitingRead(one, layers.get(one.name))),
      supplies: { bytes: dataPlane.unacknowledgedBytes, rejected: dataPlane.rejectedSupplies },
      ...sources.activity(),
      proofs: { ...proofs.state, running: proofs.state.running.map((key) => digests.get(key) ?? key) },
      background: background.state
    }
  }
}

function waitingRead ({ first, last, ms, read }: DataPlaneStatus['waiting'][number], layer: OpenedLayer | undefined): WaitingRead {
  return {
    kind: read ? 'read' : 'need',
    layer: layer?.record.digest ?? null,
    paths: layer === undefined ? [] : pathsOf(layer, first, last),
    firstChunk: first,
    lastChunk: last,
    ms
  }
}

function pathsOf (layer: OpenedLayer, first: number, last: number): string[] {
  const { index } = layer.record
  const positions = chunksOf(layer).slice(first, last + 1).map(({ position }) => position)
  const inodes = new Set<number>()
  for (const [at, { firstChunk, chunkCount }] of index.inodes.entries()) {
    if (inodes.size >= PATHS_MAX) break
    if (chunkCount > 0 && positions.some((position) => position >= firstChunk && position < firstChunk + chunkCount)) inodes.add(at)
  }
  return [...inodePaths(index, inodes).values()]
}
