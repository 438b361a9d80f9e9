// Blobs that are not here and can be had: those of resolved images. Who promises one says where it lies; whether that is
// true shows when it was fetched whole and hashed.
import type { Digest } from '../verify/digest.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'

export interface VirtualBlob {
  readonly size: number
  /** Nanoseconds since 1970: when it was promised. */
  readonly sinceNs: bigint
}

export interface VirtualBlobs {
  find: (digest: Digest) => VirtualBlob | null
  /** All bytes in order. @throws NOT_FOUND, and what the sources throw. */
  fetch: (digest: Digest, signal: AbortSignal) => AsyncIterable<VerifiedBytes>
  /** Its bytes were others than promised. */
  renounce: (digest: Digest) => void
}

export const NO_VIRTUAL_BLOBS: VirtualBlobs = {
  find: () => null,
  fetch: async function * () { /* find never promised one */ },
  renounce: () => {}
}
