// What the worker says about itself (docs/PROTOCOL.md, STATUS_IS).
import { SnapshotterError } from '../base/errors.ts'

export interface FileStatus {
  readonly name: string
  readonly size: number
  readonly chunks: number
  readonly chunkBytes: number
  readonly cachedChunks: number
  readonly cachedBytes: number
  /** Of these, of chunks that another layer's cache has, or another place of this one. */
  readonly sharedBytes: number
  readonly suppliedBytes: number
  readonly readBytes: number
}

export interface DataPlaneStatus {
  readonly pid: number
  readonly restarts: number
  readonly files: readonly FileStatus[]
  readonly waitingReads: number
  readonly bytesServed: number
  readonly bytesServedUnverified: 0
  readonly leafHashesChecked: number
  /** Chunks on the disk that claimed to be there and did not match. */
  readonly violations: number
  /** Reads that waited and were answered with an errno. */
  readonly failedReads: number
  readonly latency: { readonly boundsUs: readonly number[], readonly cached: ReadLatency, readonly fetched: ReadLatency }
  /** Who waits for which span of chunks, the longest first; at most 100. `read`: false of a NEED. */
  readonly waiting: ReadonlyArray<{ readonly name: string, readonly first: number, readonly last: number, readonly ms: number, readonly read: boolean }>
}

/** One count per bound, not cumulated, and one for what is above. */
export interface ReadLatency {
  readonly sumUs: number
  readonly counts: readonly number[]
}

/** Its fields are the worker's to get right. @throws DATA_PLANE_DOWN for what is no JSON object with files and latencies. */
export function readStatus (body: Uint8Array): DataPlaneStatus {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'))
  } catch { /* said below */ }
  const isStatus = typeof value === 'object' && value !== null && 'files' in value && Array.isArray(value.files) && 'latency' in value
  if (!isStatus) throw new SnapshotterError('DATA_PLANE_DOWN', 'the data plane broke its protocol: a status that is none')
  return value as DataPlaneStatus
}
