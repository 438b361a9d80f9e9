// What one source of blocks looks like to the rest of this room, and what it is asked for: a list of wanted blocks that
// shrinks as they arrive and grows when an arrived node shows what else the reader needs.
import type { CID } from 'multiformats/cid'
import type { Priority } from '../base/semaphore.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { Attempt } from './attempts.ts'
import type { BlockKey } from './block-key.ts'
import type { SourceStatus } from './blocks.ts'
import type { SourceActivity } from './source-traffic.ts'

/** A block, where it stands in the file ([base, base + size)) and which bytes [from, to) of the file it is needed for. */
export interface Need {
  readonly cid: CID
  readonly base: number
  readonly size: number
  readonly from: number
  readonly to: number
  /** It has children for sure, which will be needed too: worth one CAR instead of one request a level. */
  readonly deep: boolean
}

/**
 * How one CAR request can bring all of a list: from which root, along which names, and what there: its first block, all
 * blocks of the file or directory itself, or those of the byte range that is missing.
 */
export interface CarTarget {
  readonly root: CID
  readonly names: readonly string[]
  readonly scope: 'block' | 'entity' | 'range'
}

export interface WantList {
  readonly target: CarTarget | null
  readonly size: number
  /** Blocks that arrived so far. */
  readonly delivered: number
  /** For messages: what is missing, of what. */
  readonly what: string
  /** In order; an iteration under way passes over what arrives and comes to what is added. */
  readonly pending: () => Iterable<readonly [BlockKey, Need]>
  readonly wanted: (key: BlockKey) => CID | undefined
  readonly accept: (key: BlockKey, bytes: VerifiedBytes) => void
  /** The first request is about to be sent. */
  readonly begin: () => void
}

export interface FetchWaits {
  readonly signal: AbortSignal
  readonly priority: Priority
  /** Called at every sign of life of the source. */
  readonly alive?: (() => void) | undefined
}

export interface BlockSource {
  readonly name: string
  /** Monotonic milliseconds before which it must not be asked, or 0. */
  readonly availableAt: number
  /** Others go first for now. */
  readonly suspect: boolean
  /** Silence of this many milliseconds is out of the ordinary. */
  readonly unusualMs: number
  /** It kept silent while another source delivered. */
  readonly beaten: () => void
  /**
   * Delivers what it can and records each failure in `attempts`.
   * @throws only the signal's reason.
   */
  readonly fetch: (wants: WantList, attempts: Attempt[], waits: FetchWaits) => Promise<void>
  readonly status: () => SourceStatus
  readonly activity: () => SourceActivity
  readonly close: () => Promise<void>
}
