// What stands in the CAR before its roots are named: the roots, and one entry an image, whichever way it was made.
import type { CID } from 'multiformats/cid'
import type { Platform } from '../oci/platform.ts'
import type { Digest } from '../verify/digest.ts'
import type { PublishedLayer } from './convert-layer.ts'

export interface MadeImages {
  readonly root: CID
  /** Root that stock nerdctl reads, or null. */
  readonly nerdctl: CID | null
  /** Of what lists the images: a blob, or index.json itself. */
  readonly indexDigest: Digest
  /** At least one, each for another platform. */
  readonly images: readonly MadeImage[]
}

export interface MadeImage {
  readonly manifestDigest: Digest
  readonly platform: Platform
  readonly layers: readonly PublishedLayer[]
}
