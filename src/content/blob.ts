// The vocabulary of containerd's content stores: a blob is bytes under their digest, an ingest is a blob that is still
// being written, under a ref. Fields and meanings: containerd core/content/content.go.
import { labelAt } from '../base/filters.ts'
import type { Labels } from '../base/labels.ts'
import type { Digest } from '../verify/digest.ts'

export interface BlobInfo {
  readonly digest: Digest
  readonly size: number
  /** Nanoseconds since 1970. */
  readonly createdNs: bigint
  readonly updatedNs: bigint
  readonly labels: Labels
}

export interface IngestStatus {
  readonly ref: string
  /** Bytes written so far. */
  readonly offset: number
  /** Bytes announced, 0 for unknown. */
  readonly total: number
  /** Digest announced, empty for unknown. */
  readonly expected: string
  readonly startedNs: bigint
  readonly updatedNs: bigint
}

/** For filters; null when absent (containerd core/content/adaptor.go). */
export function blobField ({ digest, labels }: BlobInfo, path: readonly string[]): string | null {
  switch (path[0]) {
    case 'digest': return digest
    case 'labels': return labelAt(labels, path)
    default: return null
  }
}

export function ingestField ({ ref }: IngestStatus, path: readonly string[]): string | null {
  return path[0] === 'ref' ? ref : null
}
