// Who answers what the data plane says unasked.
import type { ChunkRun } from './supply.ts'

export interface FetchUrgency {
  readonly background: boolean
  /** Of the `need` that asks, if it does: see base/call-id.ts. */
  readonly call: string | undefined
}

/**
 * Called once for each missing chunk until it was supplied or failed, and once more when a read comes to wait for what was
 * asked for in the background. `background`: only a `need` waits, no read.
 */
export type FetchHandler = (name: string, runs: readonly ChunkRun[], urgency: FetchUrgency) => void | Promise<void>

/** Supplied bytes did not match their digests: whoever published them lied. The reads that wait fail when it ends. */
export type RejectedHandler = (name: string, first: number, count: number, reason: string) => void | Promise<void>
