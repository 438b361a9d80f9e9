// What a resolved image is: everything verified, everything needed to answer for its chain IDs.
import type { CID } from 'multiformats/cid'
import type { Reference } from '../oci/reference.ts'
import type { Digest } from '../verify/digest.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'

export interface ImagePlan {
  readonly reference: Reference
  readonly rootCid: CID
  /** `ipfs://<cid>@<manifest digest>`. */
  readonly canonical: string
  /** The index that was walked to the manifest, or null when the root named the manifest itself. */
  readonly index: VerifiedDocument | null
  /** The platform's manifest: its digest is the identity of the image. */
  readonly manifest: VerifiedDocument
  readonly config: VerifiedDocument
  readonly platform: string
  readonly layers: readonly PlannedLayer[]
}

export interface VerifiedDocument {
  readonly mediaType: string
  readonly digest: Digest
  readonly bytes: VerifiedBytes
}

export interface PlannedLayer {
  /** Of the blob as the manifest names it (compressed). */
  readonly digest: Digest
  readonly diffId: Digest
  readonly chainId: Digest
  readonly mediaType: string
  /** Bytes of the blob. */
  readonly size: number
  readonly annotations: Readonly<Record<string, string>>
  /** The UnixFS file or raw block that holds the blob. */
  readonly cid: CID
}
