// One id from what somebody asked for (a gRPC call, a pull, a read that missed) to the last request that was sent for it:
// everything that is awaited below `asCall` logs under its id, and what sources send for it is counted. Work that several calls
// share carries the id of whoever began it.
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { systemClock } from './clock.ts'

export interface CallInProgress {
  /** `prepare-1f0c9a3e`. */
  readonly id: string
  /** On what: a snapshot key, a reference, a file. For people. */
  readonly what: string
  /** Monotonic milliseconds. */
  readonly started: number
}

interface Counted extends CallInProgress {
  /** Bytes that sources sent for it and for what it began. */
  received: number
  readonly above: Counted | undefined
}

const storage = new AsyncLocalStorage<Counted>()
const inProgress = new Set<CallInProgress>()

/** Runs `work` under an id of its own, or under the one that it belongs to. */
export async function asCall<Result> (kind: string, what: string, work: () => Promise<Result>, belongsTo?: string): Promise<Result> {
  const id = belongsTo ?? `${kind.toLowerCase()}-${randomBytes(4).toString('hex')}`
  const call: Counted = { id, what, started: systemClock.monotonicMs(), received: 0, above: belongsTo === undefined ? undefined : storage.getStore() }
  inProgress.add(call)
  try {
    return await storage.run(call, work)
  } finally {
    inProgress.delete(call)
  }
}

/** Runs what it is given, later and from wherever, under the call of now. */
export function inThisCall (): <Result>(work: () => Result) => Result {
  return AsyncLocalStorage.snapshot()
}

/** The id that this is done for, if any. */
export function currentCall (): string | undefined {
  return storage.getStore()?.id
}

/** A source sent so many bytes for the call of now. */
export function noteReceived (bytes: number): void {
  for (let call = storage.getStore(); call !== undefined; call = call.above) call.received += bytes
}

/** How many bytes sources have sent for the call of now, whenever it is asked. */
export function receivedByThisCall (): () => number {
  const call = storage.getStore()
  return () => call?.received ?? 0
}

/** Oldest first. */
export function callsInProgress (): readonly CallInProgress[] {
  return [...inProgress]
}
