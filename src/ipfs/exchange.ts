// Who waits for which block. Each missing block is fetched once however many readers want it; a job fetches a list of
// blocks through the sources and lives as long as somebody waits for it. A foreground reader takes a block over from a
// background job that has not begun. Only a plan that says `share` has its first block fetched beside another job's.
import type { CID } from 'multiformats/cid'
import { inThisCall } from '../base/call-id.ts'
import type { Clock } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { LEAF_CACHE_BYTES, NODE_CACHE_BYTES, RANGE_BLOCKS_MAX } from '../base/limits.ts'
import type { Priority } from '../base/semaphore.ts'
import { acceptCid, CODE_DAG_PB, CODE_IDENTITY } from '../verify/cid.ts'
import { type VerifiedBytes, verifyBlock } from '../verify/verified-bytes.ts'
import type { Attempt } from './attempts.ts'
import { BlockCache } from './block-cache.ts'
import { type BlockKey, keyOf } from './block-key.ts'
import type { BlockSource, CarTarget, Need, WantList } from './block-source.ts'
import { fetchFromSources, type Sleep, type Time } from './failover.ts'
import { ForegroundGate } from './foreground-gate.ts'
import { Gathering } from './gathering.ts'
import { HedgeBudget } from './hedges.ts'

const DAG_PB_LINKS_FIRST = 0x12 // the first byte of every canonical node that has links

/** What a job does beside fetching: which blocks an arrived node makes necessary, and which ones stay in memory. */
export interface JobPlan {
  readonly target: CarTarget | null
  readonly expand: (need: Need, bytes: VerifiedBytes) => Need[]
  readonly keep: (need: Need) => boolean
  /** Its CAR starts with a block that another job fetches already: send it all the same, since the rest cannot be named yet. */
  readonly share?: boolean | undefined
}

export const SINGLE_BLOCK: JobPlan = { target: null, expand: () => [], keep: () => true }

export function singleNeed (cid: CID): Need {
  return { cid, base: 0, size: 0, from: 0, to: 0, deep: false }
}

export class Want {
  readonly key: BlockKey
  readonly cid: CID
  readonly arrival: Promise<VerifiedBytes>
  readonly settle: { readonly resolve: (bytes: VerifiedBytes) => void, readonly reject: (error: unknown) => void }
  /** Who fetches it: one, or several whose CARs start with it. */
  readonly jobs = new Set<Job>()
  value: VerifiedBytes | undefined
  readers = 0

  constructor (key: BlockKey, cid: CID) {
    this.key = key
    this.cid = cid
    const { promise, resolve, reject } = Promise.withResolvers<VerifiedBytes>()
    promise.catch(() => {}) // readers hear of it; a block without readers may fail in silence
    this.arrival = promise
    this.settle = { resolve, reject }
  }
}

export class Job implements WantList {
  readonly #exchange: Exchange
  readonly #plan: JobPlan
  readonly #missing = new Map<BlockKey, { readonly want: Want, readonly need: Need }>()
  /** Also the ones that arrived: the owner may not have looked at them yet. */
  readonly wants = new Map<BlockKey, Want>()
  readonly attempts: Attempt[] = []
  readonly controller = new AbortController()
  readonly priority: Priority
  /** A gathered job starts from another one's timer. */
  readonly asAsked = inThisCall()
  owned = true
  begun = false
  /** Settles when nothing is under way any more; never rejects. */
  ended: Promise<void> = Promise.resolve()
  delivered = 0

  constructor (exchange: Exchange, plan: JobPlan, priority: Priority) {
    this.#exchange = exchange
    this.#plan = plan
    this.priority = priority
  }

  get target (): CarTarget | null {
    return this.#plan.target
  }

  get shares (): boolean {
    return this.#plan.share === true
  }

  get size (): number {
    return this.#missing.size
  }

  get what (): string {
    const [first] = this.#missing.values()
    const root = this.target?.root
    const block = first?.want.cid.toString() ?? 'nothing'
    const of = root === undefined || root.toString() === block ? '' : ` of ${[root.toString(), ...this.target?.names ?? []].join('/')}`
    return `block ${block}${of}${this.size > 1 ? ` and ${this.size - 1} more` : ''}`
  }

  * pending (): Iterable<readonly [BlockKey, Need]> {
    for (const [key, { need }] of this.#missing) yield [key, need]
  }

  wanted (key: BlockKey): CID | undefined {
    return this.#missing.get(key)?.want.cid
  }

  begin (): void {
    this.begun = true
  }

  add (want: Want, need: Need): void {
    want.jobs.add(this)
    this.#missing.set(want.key, { want, need })
    this.wants.set(want.key, want)
  }

  /** Takes what nobody began to fetch yet into this job's hands. */
  takeOver (want: Want, need: Need): void {
    for (const job of want.jobs) job.#missing.delete(want.key)
    want.jobs.clear()
    this.add(want, need)
  }

  /** Takes over all of another job that has not begun. */
  absorb (other: Job): void {
    for (const { want, need } of other.#missing.values()) this.takeOver(want, need)
  }

  accept (key: BlockKey, bytes: VerifiedBytes): void {
    const want = this.#missing.get(key)?.want
    if (want === undefined) return
    const jobs = [...want.jobs]
    want.jobs.clear()
    // Readers go on in a later microtask: they find what follows from this block already on its way.
    this.#exchange.arrived(want, bytes, jobs.some((job) => job.#keeps(key)))
    for (const job of jobs) {
      job.#arrived(key, bytes)
      if (job !== this && job.size === 0) job.controller.abort(new SnapshotterError('CANCELLED', 'all of it came another way'))
    }
  }

  #keeps (key: BlockKey): boolean {
    const missing = this.#missing.get(key)
    return missing !== undefined && this.#plan.keep(missing.need)
  }

  #arrived (key: BlockKey, bytes: VerifiedBytes): void {
    const missing = this.#missing.get(key)
    if (missing === undefined) return
    this.#missing.delete(key)
    this.delivered++
    for (const need of this.#expand(missing.need, bytes)) {
      if (this.wants.size >= RANGE_BLOCKS_MAX) return // a reader's walk refuses so many, but may come later than the nodes
      // What came is in the owner's hands: CARs without repeats will not bring it again.
      const key = keyOf(need.cid)
      if (this.wants.has(key) || this.#exchange.claim(need, this) !== undefined) continue
      const running = this.shares ? this.#exchange.inFlight(key) : undefined
      if (running !== undefined) this.add(running, need)
    }
  }

  fail (error: unknown): void {
    for (const { want } of this.#missing.values()) {
      want.jobs.delete(this)
      if (want.jobs.size === 0) this.#exchange.failed(want, error)
    }
    this.#missing.clear()
  }

  /** Stops when nobody waits any more. */
  check (): void {
    if (this.owned || this.size === 0) return
    for (const { want } of this.#missing.values()) if (want.readers > 0) return
    this.controller.abort(new SnapshotterError('CANCELLED', `nobody waits for ${this.what} any more`))
  }

  #expand (need: Need, bytes: VerifiedBytes): Need[] {
    try {
      return this.#plan.expand(need, bytes)
    } catch {
      return [] // the reader decodes the same node and says what is wrong with it
    }
  }
}

export class Exchange {
  readonly #sources: readonly BlockSource[]
  readonly #time: Time
  readonly #gate: ForegroundGate
  readonly #gathering = new Gathering((job) => { this.#run(job) })
  readonly #wants = new Map<BlockKey, Want>()
  readonly #nodes = new BlockCache(NODE_CACHE_BYTES)
  readonly #leaves = new BlockCache(LEAF_CACHE_BYTES)
  readonly #running = new Map<Job, Promise<void>>()

  constructor (sources: readonly BlockSource[], time: { readonly clock: Clock, readonly sleep: Sleep }, gate: ForegroundGate = new ForegroundGate()) {
    this.#sources = sources
    this.#time = { ...time, hedges: new HedgeBudget() }
    this.#gate = gate
  }

  /** What needs no source: identity CIDs and what memory holds. @throws CID_UNSUPPORTED. */
  local (cid: CID): VerifiedBytes | undefined {
    acceptCid(cid)
    if (cid.multihash.code === CODE_IDENTITY) return verifyBlock(cid, cid.multihash.digest, 'its own CID')
    const key = keyOf(cid)
    return this.#nodes.get(key) ?? this.#leaves.get(key)
  }

  inFlight (key: BlockKey): Want | undefined {
    return this.#wants.get(key)
  }

  /** Adds a block to a job, unless memory has it or another job fetches it. */
  claim (need: Need, job: Job): Want | undefined {
    const key = keyOf(need.cid)
    if (this.#wants.has(key) || this.local(need.cid) !== undefined) return undefined
    const want = new Want(key, need.cid)
    this.#wants.set(key, want)
    job.add(want, need)
    return want
  }

  arrived (want: Want, bytes: VerifiedBytes, keep: boolean): void {
    this.#wants.delete(want.key)
    const isNode = want.cid.code === CODE_DAG_PB && bytes[0] === DAG_PB_LINKS_FIRST
    if (isNode) this.#nodes.put(want.key, bytes)
    else if (keep) this.#leaves.put(want.key, bytes)
    want.value = bytes
    want.settle.resolve(bytes)
  }

  failed (want: Want, error: unknown): void {
    this.#wants.delete(want.key)
    want.settle.reject(error)
  }

  start (job: Job): void {
    if (job.size > 0) this.#gathering.add(job)
  }

  #run (job: Job): void {
    const waits = { signal: job.controller.signal, priority: job.priority }
    const leave = job.priority === 'foreground' ? this.#gate.enter() : () => {}
    const run = job.asAsked(async () => { await fetchFromSources(this.#sources, job, job.attempts, waits, this.#time) })
      .catch((error: unknown) => { job.fail(error) })
      .finally(() => {
        leave()
        this.#running.delete(job)
      })
    this.#running.set(job, run)
    job.ended = run
  }

  async close (): Promise<void> {
    for (const job of this.#gathering.clear()) job.fail(new SnapshotterError('CANCELLED', 'the block service was closed'))
    for (const job of this.#running.keys()) job.controller.abort(new SnapshotterError('CANCELLED', 'the block service was closed'))
    await Promise.all(this.#running.values())
    this.#nodes.clear()
    this.#leaves.clear()
  }
}
