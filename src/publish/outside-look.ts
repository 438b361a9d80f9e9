// Whether a gateway has what a published image consists of: its blocks are fetched through it and checked against their CIDs.
// What is not there yet is asked for again, ever more rarely, until a deadline, since pins take time; what waiting does not
// mend ends the look.
import { type Clock, sleep as realSleep, systemClock } from '../base/clock.ts'
import { asSnapshotterError, hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { FETCH_CONCURRENCY, OUTSIDE_FAILURES_MAX, OUTSIDE_PAUSE_MS_FIRST, OUTSIDE_PAUSE_MS_MAX } from '../base/limits.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import type { Piece } from './outside-pieces.ts'
import type { Report } from './report.ts'

export interface LookOptions {
  /** What the gateway is called in progress. */
  readonly item: string
  readonly deadlineMs: number
  readonly report: Report
  readonly signal?: AbortSignal | undefined
  readonly clock?: Clock
}

/** One gateway in the JSON of `publish --verify-via`: names are a contract. */
export interface OutsideView {
  readonly gateway: string
  /** An image can be started from there: nothing is missing. */
  readonly starts: boolean
  /** Blocks that were looked for, and that came. */
  readonly blocks: number
  readonly found: number
  readonly ms: number
  /** What was asked for in vain, and the last answer. The look may end before all was asked for. */
  readonly missing: ReadonlyArray<{ readonly cid: string, readonly of: string, readonly code: string, readonly why: string }>
}

/** A gateway that lies, refuses, or answers in no known format does so in a minute, too. */
function isLasting (failure: SnapshotterError): boolean {
  if (hasCode(failure, 'BLOCK_HASH_MISMATCH', 'BLOCK_TOO_LARGE', 'CAR_INVALID', 'GATEWAY_REFUSED', 'CID_UNSUPPORTED')) return true
  const { attempts = [] } = failure.details as { readonly attempts?: ReadonlyArray<{ readonly formatRefused: boolean }> }
  return attempts.length > 0 && attempts.every(({ formatRefused }) => formatRefused)
}

/** `blocks` asks that gateway alone. @throws only the signal's reason */
export async function lookThrough (gateway: string, blocks: BlockService, pieces: readonly Piece[], options: LookOptions): Promise<OutsideView> {
  return await new Look(gateway, blocks, pieces, options).run()
}

class Look {
  readonly #gateway: string
  readonly #blocks: BlockService
  readonly #pieces: readonly Piece[]
  readonly #options: LookOptions
  readonly #clock: Clock
  readonly #end: number
  readonly #late = new AbortController()
  readonly #signal: AbortSignal
  /** In the order in which they are asked for: what failed goes to the back. */
  #waiting: readonly Piece[]
  readonly #failures = new Map<Piece, SnapshotterError>()
  readonly #lost = new Set<Piece>()

  constructor (gateway: string, blocks: BlockService, pieces: readonly Piece[], options: LookOptions) {
    this.#gateway = gateway
    this.#blocks = blocks
    this.#pieces = pieces
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#end = this.#clock.monotonicMs() + options.deadlineMs
    this.#signal = AbortSignal.any([this.#late.signal, ...options.signal === undefined ? [] : [options.signal]])
    this.#waiting = pieces
  }

  async run (): Promise<OutsideView> {
    const { deadlineMs } = this.#options
    const late = new SnapshotterError('GATEWAY_TIMEOUT', `no answer within the ${deadlineMs} ms of the look`)
    const timer = setTimeout(() => { this.#late.abort(late) }, deadlineMs)
    try {
      return await this.#look()
    } finally {
      clearTimeout(timer)
    }
  }

  async #look (): Promise<OutsideView> {
    const { item, report, deadlineMs } = this.#options
    report({ event: 'begin', item, phase: 'look', total: this.#pieces.reduce((sum, { bytes }) => sum + bytes, 0) })
    let pause = OUTSIDE_PAUSE_MS_FIRST
    for (;;) {
      const before = this.#waiting.length
      await this.#round()
      if (this.#waiting.length === 0 || this.#lost.size >= OUTSIDE_FAILURES_MAX || this.#leftMs <= 0 || this.#late.signal.aborted) break
      pause = this.#waiting.length < before ? OUTSIDE_PAUSE_MS_FIRST : Math.min(2 * pause, OUTSIDE_PAUSE_MS_MAX)
      await this.#wait(Math.min(pause, this.#leftMs))
    }
    const view = this.#view(Math.round(this.#clock.monotonicMs() - this.#end + deadlineMs))
    report({ event: 'end', item, text: view.starts ? `all ${view.blocks} blocks` : `${view.found} of ${view.blocks} blocks` })
    return view
  }

  get #leftMs (): number {
    return this.#end - this.#clock.monotonicMs()
  }

  /** Asks for what is missing until all was asked for, or enough failed to show that the gateway is not ready. */
  async #round (): Promise<void> {
    const queue = [...this.#waiting]
    const again: Piece[] = []
    let failures = 0
    const work = async (): Promise<void> => {
      while (failures < OUTSIDE_FAILURES_MAX && !this.#late.signal.aborted) {
        const piece = queue.shift()
        if (piece === undefined) return
        const failure = await this.#ask(piece)
        if (failure === null) continue
        failures++
        if (isLasting(failure)) this.#lost.add(piece)
        else again.push(piece)
      }
    }
    await Promise.all(Array.from({ length: FETCH_CONCURRENCY }, work))
    this.#waiting = [...queue, ...again]
  }

  async #ask (piece: Piece): Promise<SnapshotterError | null> {
    const { signal, report, item } = this.#options
    try {
      await this.#fetch(piece)
      this.#failures.delete(piece)
      report({ event: 'advance', item, bytes: piece.bytes })
      return null
    } catch (error) {
      signal?.throwIfAborted()
      const failure = asSnapshotterError(error)
      // What the deadline broke off says less than an answer before.
      if (!this.#late.signal.aborted || !this.#failures.has(piece)) this.#failures.set(piece, failure)
      return failure
    }
  }

  /** As a reader would, through the file; by itself when it was only asked for together with a block that the gateway lied about. */
  async #fetch ({ cid, part }: Piece): Promise<void> {
    const waits = { signal: this.#signal }
    if (part === null) {
      await this.#blocks.get(cid, waits)
      return
    }
    try {
      await (await this.#blocks.openFile(part.file, waits)).read(part.from, part.to - part.from, waits)
    } catch (error) {
      if (!hasCode(error, 'BLOCK_HASH_MISMATCH') || messageOf(error).includes(`block ${cid.toString()} from `)) throw error
      await this.#blocks.get(cid, waits)
    }
  }

  async #wait (ms: number): Promise<void> {
    const { report, signal } = this.#options
    const missing = this.#pieces.length - this.#foundBlocks
    const [last] = [...this.#failures.values()].slice(-1)
    const [seconds, left] = [ms, this.#leftMs].map((time) => Math.ceil(time / 1000))
    report({
      event: 'note',
      text: `${this.#gateway} lacks ${missing} of ${this.#pieces.length} blocks (${last?.line ?? ''}); asking again in ${seconds} s, for ${left} s`
    })
    await realSleep(ms, signal)
  }

  get #foundBlocks (): number {
    return this.#pieces.length - this.#waiting.length - this.#lost.size
  }

  #view (ms: number): OutsideView {
    const found = this.#foundBlocks
    return {
      gateway: this.#gateway, starts: found === this.#pieces.length, blocks: this.#pieces.length, found, ms,
      missing: [...this.#failures].map(([{ cid, of }, { code, message }]) => ({ cid: cid.toString(), of, code, why: message }))
    }
  }
}
