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
}
