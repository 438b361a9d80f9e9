// Every metric that is read off the daemon when it is asked for: name, meaning, labels, and where in its figures it stands.
// Labels come from the config file and from closed lists, never from images or callers, so that their number is bounded.
import type { Priority } from '../base/semaphore.ts'
import type { SourceActivity } from '../ipfs/source-traffic.ts'

/** A histogram as the worker keeps it: `counts` has one more than there are bounds. */
export interface LatencyFigures {
  readonly sumUs: number
  readonly counts: readonly number[]
}

export interface Figures {
  /** Gateways that only references or pulls named are one, `reference`. */
  readonly sources: ReadonlyArray<{ readonly name: string } & SourceActivity>
  readonly gate: { readonly foreground: number, readonly held: number }
  /** Null while no worker answers. */
  readonly worker: {
    readonly restarts: number
    readonly waitingReads: number
    readonly failedReads: number
    readonly bytesServed: number
    readonly bytesServedUnverified: number
    readonly leafHashesChecked: number
    readonly violations: number
    readonly latency: { readonly boundsUs: readonly number[], readonly cached: LatencyFigures, readonly fetched: LatencyFigures }
  } | null
  readonly guardianRestarts: number
  readonly supplies: { readonly bytes: number, readonly rejected: number }
  readonly cache: { readonly bytes: number, readonly maxBytes: number, readonly evictedChunks: number }
  readonly layers: { readonly complete: number, readonly lazy: number, readonly missing: number }
  readonly proofs: { readonly proven: number, readonly lied: number, readonly waiting: number }
  readonly mounts: number
  readonly ready: boolean
}

export type Values = ReadonlyArray<readonly [labels: Readonly<Record<string, string>>, value: number]>

export interface MetricDefinition {
  /** After `ipfs_snapshotter_`. */
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly labels: readonly string[]
  readonly read: (figures: Figures) => Values
}

const PURPOSES: readonly Priority[] = ['foreground', 'background']
const WRONG_BYTES = ['BLOCK_HASH_MISMATCH', 'BLOCK_TOO_LARGE', 'CAR_INVALID'] as const

function one (value: number): Values {
  return [[{}, value]]
}

function ofWorker (pick: (worker: NonNullable<Figures['worker']>) => number): MetricDefinition['read'] {
  return ({ worker }) => worker === null ? [] : one(pick(worker))
}

function bySource (pick: (source: Figures['sources'][number], purpose: Priority) => number): MetricDefinition['read'] {
  return ({ sources }) => sources.flatMap((source) => PURPOSES.map((purpose) => [{ source: source.name, purpose }, pick(source, purpose)] as const))
}

function failures ({ sources }: Figures): Values {
  return sources.flatMap(({ name, failuresByCode }) => Object.entries(failuresByCode).map(([code, count]) => [{ source: name, code }, count] as const))
}

function verificationFailures ({ sources, worker, supplies, proofs }: Figures): Values {
  const blocks = sources.reduce((sum, { failuresByCode }) => sum + WRONG_BYTES.reduce((all, code) => all + (failuresByCode[code] ?? 0), 0), 0)
  return [[{ kind: 'block' }, blocks], [{ kind: 'chunk' }, supplies.rejected], [{ kind: 'cache' }, worker?.violations ?? 0], [{ kind: 'layer' }, proofs.lied]]
}

function byState (states: Readonly<Record<string, number>>): Values {
  return Object.entries(states).map(([state, count]) => [{ state }, count] as const)
}

const SOURCE = ['source', 'purpose'] as const

export const METRICS: readonly MetricDefinition[] = [
  {
    name: 'up_ready', type: 'gauge', labels: [],
    help: '1 when /readyz says ok',
    read: ({ ready }) => one(Number(ready))
  },
  {
    name: 'source_bytes_total', type: 'counter', labels: SOURCE,
    help: 'Body bytes received, by source and by whether somebody waited for them',
    read: bySource(({ traffic }, purpose) => traffic[purpose].bytes)
  },
  {
    name: 'source_blocks_total', type: 'counter', labels: SOURCE,
    help: 'Blocks received that matched their CIDs',
    read: bySource(({ traffic }, purpose) => traffic[purpose].blocks)
  },
  {
    name: 'source_requests_total', type: 'counter', labels: SOURCE,
    help: 'Requests sent',
    read: bySource(({ traffic }, purpose) => traffic[purpose].requests)
  },
  {
    name: 'source_requests_active', type: 'gauge', labels: SOURCE,
    help: 'Requests under way',
    read: bySource(({ active }, purpose) => active.filter((request) => request.purpose === purpose).length)
  },
  {
    name: 'source_requests_queued', type: 'gauge', labels: SOURCE,
    help: 'Requests that wait for their turn',
    read: bySource(({ queued }, purpose) => queued[purpose])
  },
  {
    name: 'source_failures_total', type: 'counter', labels: ['source', 'code'],
    help: 'Requests that failed, by error code (docs/ARCHITECTURE.md)',
    read: failures
  },
  {
    name: 'verification_failures_total', type: 'counter', labels: ['kind'],
    help: 'Bytes refused: blocks of sources, supplied chunks, chunks on the disk, layers that are not what their manifest says',
    read: verificationFailures
  },
  {
    name: 'bytes_served_total', type: 'counter', labels: [],
    help: 'Bytes given to the kernel since the worker started',
    read: ofWorker(({ bytesServed }) => bytesServed)
  },
  {
    name: 'bytes_served_unverified_total', type: 'counter', labels: [],
    help: 'Bytes given to the kernel unhashed: always 0',
    read: ofWorker(({ bytesServedUnverified }) => bytesServedUnverified)
  },
  {
    name: 'leaf_hashes_checked_total', type: 'counter', labels: [],
    help: 'Hashes compared before bytes were served, since the worker started',
    read: ofWorker(({ leafHashesChecked }) => leafHashesChecked)
  },
  {
    name: 'read_failures_total', type: 'counter', labels: [],
    help: 'Reads answered with an error after they waited, interrupted ones included',
    read: ofWorker(({ failedReads }) => failedReads)
  },
  {
    name: 'reads_waiting', type: 'gauge', labels: [],
    help: 'Reads that wait for the network',
    read: ofWorker(({ waitingReads }) => waitingReads)
  },
  {
    name: 'supplies_unacknowledged_bytes', type: 'gauge', labels: [],
    help: 'Bytes handed to the worker that it did not store yet',
    read: ({ supplies }) => one(supplies.bytes)
  },
  {
    name: 'background_requests_held', type: 'gauge', labels: [],
    help: 'Background requests that wait until no read waits',
    read: ({ gate }) => one(gate.held)
  },
  {
    name: 'cache_bytes', type: 'gauge', labels: [],
    help: 'Bytes of the cache on the disk',
    read: ({ cache }) => one(cache.bytes)
  },
  {
    name: 'cache_limit_bytes', type: 'gauge', labels: [],
    help: '[cache] max_size',
    read: ({ cache }) => one(cache.maxBytes)
  },
  {
    name: 'cache_evicted_chunks_total', type: 'counter', labels: [],
    help: 'Chunks taken out of the cache',
    read: ({ cache }) => one(cache.evictedChunks)
  },
  {
    name: 'layers', type: 'gauge', labels: ['state'],
    help: 'Mounted layers: complete in the cache, lazy, or not served',
    read: ({ layers }) => byState(layers)
  },
  {
    name: 'layer_proofs', type: 'gauge', labels: ['state'],
    help: 'Layers judged by one pass over the whole blob, or waiting for it',
    read: ({ proofs }) => byState(proofs)
  },
  {
    name: 'mounts', type: 'gauge', labels: [],
    help: 'Mount points of layers',
    read: ({ mounts }) => one(mounts)
  },
  {
    name: 'worker_restarts_total', type: 'counter', labels: [],
    help: 'Workers replaced since their guardian started',
    read: ofWorker(({ restarts }) => restarts)
  },
  {
    name: 'guardian_restarts_total', type: 'counter', labels: [],
    help: 'Guardians replaced since this daemon started',
    read: ({ guardianRestarts }) => one(guardianRestarts)
  }
]
