// What every step of a resolve needs, and how its errors get a name: which document of which root could not be had.
import { isSnapshotterError, SnapshotterError } from '../base/errors.ts'
import type { BlockService } from '../ipfs/blocks.ts'

export interface ResolveContext {
  readonly blocks: BlockService
  /** Fires at the deadline, when the caller gives up, or when another step has failed. */
  readonly signal: AbortSignal
  /** `ipfs://<CID>` for messages. */
  readonly root: string
}

/** Runs `work`; an error of ours keeps its code and gets `what` in front of its message. */
export async function naming<Result> (what: string, work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    if (!isSnapshotterError(error) || error.message.startsWith(what)) throw error
    throw new SnapshotterError(error.code, `${what}: ${error.message}`, error.details, { cause: error })
  }
}
