// A local collection of blocks that nobody has to trust: what comes out matched its CID during that very call.
// CAR files are one (car-store.ts), a folder is another (block-folder.ts); the gateway serves any.
import type { CID } from 'multiformats/cid'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { Waits } from './blocks.ts'

export interface BlockStoreReadonly {
  /** Roots that the store's files name, in order, without repeats. A hint, never proof. */
  readonly roots: readonly CID[]
  /** Distinct blocks. */
  readonly blocks: number
  /** Answers at once. Identity CIDs carry their block and are always there. */
  readonly has: (cid: CID) => boolean
  /** Every ordinal that was given is below this; it may grow. */
  readonly ordinals: number
  /**
   * A number that stays with the block, or null when the store does not have it (or it is an identity
   * CID): a walk remembers what it has seen in one bit per block.
   */
  readonly ordinal: (cid: CID) => number | null
  /**
   * The block, or null when the store does not have it.
   * @throws BLOCK_HASH_MISMATCH, BLOCK_TOO_LARGE or CAR_TRUNCATED when what the disk holds is something else.
   */
  readonly get: (cid: CID, waits?: Waits) => Promise<VerifiedBytes | null>
  readonly close: () => Promise<void>
}
