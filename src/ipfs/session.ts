// One reader's view of the exchange: the blocks it asked for stay in its hands until it closes, and what it waits for
// is given up when nobody else wants it.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { describeAttempts } from './attempts.ts'
import { type BlockKey, keyOf } from './block-key.ts'
import type { Need } from './block-source.ts'
import type { Waits } from './blocks.ts'
import { type Exchange, Job, type JobPlan, SINGLE_BLOCK, type Want } from './exchange.ts'

export class Session {
  readonly #exchange: Exchange
  readonly #waits: Waits
  readonly #held = new Map<BlockKey, Want>()
  readonly #jobs: Job[] = []

  constructor (exchange: Exchange, waits: Waits) {
    waits.signal?.throwIfAborted()
    this.#exchange = exchange
    this.#waits = waits
  }

  /** The block if it is here already. @throws CID_UNSUPPORTED */
  peek (cid: CID): VerifiedBytes | undefined {
    return this.#find(keyOf(cid))?.value ?? this.#exchange.local(cid)
  }

  /** Makes sure that every one of these blocks is here or on its way; new ones become one job. */
  request (needs: readonly Need[], plan: JobPlan = SINGLE_BLOCK): void {
    const job = new Job(this.#exchange, plan, this.#waits.priority ?? 'foreground')
    for (const need of needs) {
      const key = keyOf(need.cid)
      if (this.#find(key) !== undefined) continue
      const running = this.#exchange.inFlight(key)
      const want = running ?? this.#exchange.claim(need, job)
      if (want === undefined) continue
      if (running !== undefined && job.priority === 'foreground' && waitsInBackground(running)) job.takeOver(running, need)
      else if (running !== undefined && job.shares && startsEach(running)) job.add(running, need)
      want.readers++
      this.#held.set(key, want)
    }
    if (job.size === 0) return
    this.#jobs.push(job)
    this.#exchange.start(job)
  }

  /** The block, when it has arrived. @throws the fetch's error; when the caller's signal fires, what had been tried by then. */
  async wait (cid: CID): Promise<VerifiedBytes> {
    const here = this.peek(cid)
    if (here !== undefined) return here
    const want = this.#find(keyOf(cid))
    if (want === undefined) throw new SnapshotterError('INTERNAL', `block ${cid.toString()} was never asked for`)
    return await this.#abortable(want)
  }

  /** Waits for a block that is on its way for this session, if it is; whether it arrives is no matter. */
  async settled (cid: CID): Promise<void> {
    const want = this.#find(keyOf(cid))
    if (want !== undefined) await this.#abortable(want).catch(() => {})
  }

  /** As `close`, but what was asked for goes on until it is here, for whoever reads it next, or until the caller's signal fires. */
  leave (): void {
    const { signal } = this.#waits
    const under = this.#jobs.map(({ ended }) => ended)
    const close = (): void => { this.close() }
    if (signal?.aborted === true) {
      close()
      return
    }
    signal?.addEventListener('abort', close, { once: true })
    void Promise.all(under).then(() => {
      signal?.removeEventListener('abort', close)
      this.close()
    })
  }

  close (): void {
    for (const want of this.#held.values()) {
      want.readers--
      if (want.value === undefined) for (const job of want.jobs) job.check()
    }
    for (const job of this.#jobs) {
      job.owned = false
      job.check()
    }
    this.#held.clear()
    this.#jobs.length = 0
  }

  #find (key: BlockKey): Want | undefined {
    const held = this.#held.get(key)
    if (held !== undefined) return held
    for (const job of this.#jobs) {
      const want = job.wants.get(key)
      if (want !== undefined) return want
    }
    return undefined
  }

  async #abortable (want: Want): Promise<VerifiedBytes> {
    const { signal } = this.#waits
    if (signal === undefined) return await want.arrival
    const { promise, reject } = Promise.withResolvers<never>()
    const onAbort = (): void => { reject(givenUp(want, signal.reason)) }
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await Promise.race([want.arrival, promise])
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
}

function waitsInBackground ({ jobs }: Want): boolean {
  for (const { priority, begun } of jobs) if (priority === 'foreground' || begun) return false
  return true
}

/** Whether those who fetch it start with it, as a CAR from the same root does: one that is further on brings what follows, too. */
function startsEach ({ key, jobs }: Want): boolean {
  return [...jobs].every(({ target }) => target === null || keyOf(target.root) === key)
}

/** A caller's deadline is told like a timeout, with what had been tried; any other abort passes through. */
function givenUp (want: Want, reason: unknown): unknown {
  if ((reason as { name?: unknown } | undefined)?.name !== 'TimeoutError') return reason
  const attempts = [...want.jobs].flatMap((job) => job.attempts)
  const tried = attempts.length === 0 ? 'no source had answered' : describeAttempts(attempts)
  return new SnapshotterError('GATEWAY_TIMEOUT', `block ${want.cid.toString()} did not arrive before its deadline (${tried})`, {}, { cause: reason })
}
