// What the worker says about itself (docs/PROTOCOL.md, STATUS_IS).
export interface FileStatus {
  readonly name: string
  readonly size: number
  readonly chunks: number
  readonly chunkBytes: number
  readonly cachedChunks: number
  readonly cachedBytes: number
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
