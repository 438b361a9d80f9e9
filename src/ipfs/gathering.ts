// Joins what several readers miss of one file at nearly the same moment: leaves that are neighbours come in one request
// instead of one each. A lone reader waits for nothing but the turn of the event loop.
import { GATHER_MS, RANGE_BYTES_MAX, RANGE_GAP_BYTES } from '../base/limits.ts'
import { CODE_RAW } from '../verify/cid.ts'
import { type BlockKey, keyOf } from './block-key.ts'
import type { Job } from './exchange.ts'

interface Span { readonly job: Job, readonly from: number, readonly to: number }

export class Gathering {
  readonly #start: (job: Job) => void
  /** Files of which something was asked for within the last GATHER_MS: what has come since. */
  readonly #files = new Map<BlockKey, Job[]>()

  constructor (start: (job: Job) => void) {
    this.#start = start
  }

  /** Leaves alone are joined: what hangs from a node is known only to its own job. */
  add (job: Job): void {
    const span = job.priority === 'foreground' && job.target?.scope === 'range' ? spanOf(job) : null
    if (span === null || job.target === null) {
      this.#start(job)
      return
    }
    const file = keyOf(job.target.root)
    const waiting = this.#files.get(file)
    if (waiting !== undefined) {
      waiting.push(job)
      return
    }
    this.#files.set(file, [job])
    setImmediate(() => { this.#flush(file) })
  }

  /** Hands out what waits, unasked. */
  clear (): Job[] {
    const jobs = [...this.#files.values()].flat()
    this.#files.clear()
    return jobs
  }

  #flush (file: BlockKey): void {
    const jobs = this.#files.get(file)
    if (jobs === undefined) return
    if (jobs.length === 0) {
      this.#files.delete(file)
      return
    }
    this.#files.set(file, [])
    const left = jobs.filter(({ controller }) => controller.signal.aborted)
    for (const job of left) this.#start(job) // which ends at once; nobody else's leaves go with it
    const spans = jobs.filter((job) => !left.includes(job)).map(spanOf).filter((span) => span !== null).sort((a, b) => a.from - b.from)
    let last: { job: Job, from: number, to: number } | undefined
    for (const { job, from, to } of spans) {
      if (last !== undefined && from - last.to <= RANGE_GAP_BYTES && to - last.from <= RANGE_BYTES_MAX) {
        last.job.absorb(job)
        last.to = Math.max(last.to, to)
        continue
      }
      if (last !== undefined) this.#start(last.job)
      last = { job, from, to }
    }
    if (last !== undefined) this.#start(last.job)
    setTimeout(() => { this.#flush(file) }, GATHER_MS)
  }
}

/** Null when nothing is missing, or not only leaves. */
function spanOf (job: Job): Span | null {
  let from = Infinity
  let to = 0
  for (const [, need] of job.pending()) {
    if (need.cid.code !== CODE_RAW) return null
    from = Math.min(from, need.base) // leaves are sent whole, whatever is read of them
    to = Math.max(to, need.base + need.size)
  }
  return to > from ? { job, from, to } : null
}
