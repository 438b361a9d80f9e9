// The seam of this room: what the rest of the program asks of IPFS. Everything that comes out matched its CID during
// this very call; everything that waits takes a signal.
import type { CID } from 'multiformats/cid'
import type { ErrorCode } from '../base/errors.ts'
import type { Priority } from '../base/semaphore.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { SourceActivity } from './source-traffic.ts'

export interface Waits {
  readonly signal?: AbortSignal | undefined
  /** Background work queues behind foreground work at every semaphore. Default foreground. */
  readonly priority?: Priority | undefined
  /** A stream's leaves stay in memory (bounded), for reads here and there that overlap. Default: only leaves that it cuts. */
  readonly keep?: boolean | undefined
}

/** Bytes [from, to) of a file. */
export interface ByteRange {
  readonly from: number
  readonly to: number
}

/** Verified blocks from several sources in order, with failover. */
export interface BlockService {
  /** @throws ROOT_NOT_FOUND, ROOT_UNREACHABLE, GATEWAY_*, BLOCK_*, CID_UNSUPPORTED: with the sources tried. */
  get: (cid: CID, waits?: Waits) => Promise<VerifiedBytes>
  /**
   * Opens a UnixFS file (or a raw block) for range reads; plans byte range → leaf CIDs once per file. The ranges in `ahead`
   * travel with the root, in one round trip: they stay in memory (bounded) for the reads that will follow at once.
   */
  openFile: (cid: CID, waits?: Waits, ahead?: readonly ByteRange[]) => Promise<UnixfsFile>
  /** A small file whole. @throws LIMIT_EXCEEDED when it is longer than `maxBytes`. */
  readAll: (cid: CID, maxBytes: number, waits?: Waits) => Promise<VerifiedBytes>
  /** A directory's entries (HAMT shards walked), or null when the CID is no UnixFS directory. */
  listDirectory: (cid: CID, waits?: Waits) => Promise<DirectoryEntry[] | null>
  /** Follows names from a directory, in one request where a source allows; null when a name is not there or its parent is no directory. */
  resolvePath: (root: CID, names: readonly string[], waits?: Waits) => Promise<CID | null>
  /** Figures for `status`. */
  sources: () => SourceStatus[]
  /** What the sources do right now, and for what, in the same order. */
  activity: () => ServiceActivity
  close: () => Promise<void>
}

export interface ServiceActivity {
  readonly sources: ReadonlyArray<SourceActivity & Pick<SourceStatus, 'name' | 'type'>>
  /** Requests for which somebody waits, and background requests that wait for a moment without any. */
  readonly gate: { readonly foreground: number, readonly held: number }
}

export interface UnixfsFile {
  readonly cid: CID
  /** Bytes of the file, as the verified root node declares them. */
  readonly size: number
  /** Its usual leaf, as far as the root tells: ranges that end at multiples of it bring nothing unasked. Advice, not checked. */
  readonly leafBytes?: number
  /** Bytes [offset, offset + length), clipped at the end. Concurrent reads of one leaf share one fetch. */
  read: (offset: number, length: number, waits?: Waits) => Promise<VerifiedBytes>
  /** The whole range in order, in pieces of at most one leaf, with bounded read-ahead and flat memory. */
  stream: (offset: number, length: number, waits?: Waits) => AsyncIterable<VerifiedBytes>
}

export interface DirectoryEntry {
  readonly name: string
  readonly cid: CID
}

export interface SourceStatus {
  readonly name: string
  readonly type: 'gateway' | 'car' | 'store' | 'kubo' | 'bitswap'
  readonly requests: number
  readonly failures: number
  readonly bytes: number
  /** Blocks it delivered that matched their CIDs. */
  readonly blocks: number
  /** Requests that a rate-limiting answer still allows, or null when the source stated none. */
  readonly budget: number | null
  /** Milliseconds since 1970 until which the source is left alone, or null. */
  readonly retryAt: number | null
  /** `suspect`: it timed out or lied lately, others are asked first; `resting`: it asked to be left alone until `retryAt`. */
  readonly health: 'ok' | 'suspect' | 'resting'
  /** How long its answers usually take to begin, or null when it was never heard of. */
  readonly usualMs: number | null
  readonly failuresByCode: Readonly<Partial<Record<ErrorCode, number>>>
}

/** One `[[source]]`, its files read. Sources are asked in order. */
export type SourceConfig =
  | {
    readonly type: 'gateway'
    /** Origin and, rarely, a path prefix: `https://gw.example`. No credentials in it. */
    readonly url: string
    /** Patience for headers and for each pause in a body. Default GATEWAY_TIMEOUT_MS. */
    readonly timeoutMs?: number | undefined
    /** Sent as `Authorization: Bearer` to this origin only, never over http except to loopback. */
    readonly token?: string | undefined
    /** Certificates to trust for this origin instead of the system's. */
    readonly caPem?: string | undefined
  }
  | { readonly type: 'car', readonly path: string }
  | { readonly type: 'kubo' | 'bitswap' }
