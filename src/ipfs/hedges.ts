// Asks sources in order, and the next one already while the one before keeps silent for longer than it usually does: the
// first verified block wins, whoever is still busy when the list is complete is cancelled. A budget bounds the extra
// requests, so that an internet that is slow everywhere is not asked twice.
import { SnapshotterError } from '../base/errors.ts'
import { HEDGE_BURST, HEDGE_SHARE } from '../base/limits.ts'
import type { Attempt } from './attempts.ts'
import type { BlockSource, FetchWaits, WantList } from './block-source.ts'

/** Every list of wanted blocks earns a share of one extra request. */
export class HedgeBudget {
  #left = HEDGE_BURST

  earn (): void {
    this.#left = Math.min(HEDGE_BURST, this.#left + HEDGE_SHARE)
  }

  take (): boolean {
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}

interface Asked {
  readonly source: BlockSource
  readonly ended: Promise<void>
  /** Not a sign of life since another source was asked beside it. */
  silent: boolean
}

/**
 * Ends when the list is complete or no source is left to ask.
 * @throws only the signal's reason.
 */
export async function askSources (
  order: readonly BlockSource[], wants: WantList, attempts: Attempt[], waits: FetchWaits, budget: HedgeBudget
): Promise<void> {
  if (order.length < 2 || waits.priority === 'background') {
    for (const source of order) {
      if (wants.size === 0) return
      waits.signal.throwIfAborted()
      await source.fetch(wants, attempts, waits)
    }
    return
  }
  budget.earn()
  const race = new Race(wants, attempts, waits)
  try {
    for (const source of order) {
      if (wants.size === 0) break
      race.start(source)
      await race.settled(source, () => source.suspect || budget.take())
    }
    await race.rest()
  } finally {
    await race.stop()
  }
  waits.signal.throwIfAborted()
}

class Race {
  readonly #wants: WantList
  readonly #attempts: Attempt[]
  readonly #waits: FetchWaits
  readonly #over = new AbortController()
  readonly #signal: AbortSignal
  readonly #running = new Set<Asked>()
  #timer: NodeJS.Timeout | undefined

  constructor (wants: WantList, attempts: Attempt[], waits: FetchWaits) {
    this.#wants = wants
    this.#attempts = attempts
    this.#waits = waits
    this.#signal = AbortSignal.any([waits.signal, this.#over.signal])
  }

  start (source: BlockSource): void {
    this.#waits.signal.throwIfAborted()
    for (const asked of this.#running) asked.silent = true
    const alive = (): void => {
      asked.silent = false
      this.#timer?.refresh()
    }
    const ended = source.fetch(this.#wants, this.#attempts, { ...this.#waits, signal: this.#signal, alive })
      .catch(() => {}) // it throws the signal's reason, which whoever gave the signal knows
      .finally(() => this.#running.delete(asked))
    const asked: Asked = { source, ended, silent: false }
    this.#running.add(asked)
  }

  /** Until all of it came, nobody is being asked any more, or all keep silent and `mayHedge`. */
  async settled (source: BlockSource, mayHedge: () => boolean): Promise<void> {
    const { promise: hedged, resolve } = Promise.withResolvers<'hedge'>()
    const watch = (): void => {
      this.#timer = setTimeout(() => { if (mayHedge()) resolve('hedge'); else watch() }, source.unusualMs)
    }
    watch()
    try {
      while (this.#wants.size > 0 && this.#running.size > 0) {
        if (await Promise.race([hedged, ...[...this.#running].map(async ({ ended }) => await ended)]) === 'hedge') return
      }
    } finally {
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
  }

  async rest (): Promise<void> {
    while (this.#wants.size > 0 && this.#running.size > 0) await Promise.race([...this.#running].map(async ({ ended }) => await ended))
  }

  /** Who kept silent while another one delivered goes after the others for a while. */
  async stop (): Promise<void> {
    const losers = [...this.#running]
    if (this.#wants.size === 0) for (const { source, silent } of losers) if (silent) source.beaten()
    this.#over.abort(new SnapshotterError('CANCELLED', 'another source was faster'))
    await Promise.all(losers.map(async ({ ended }) => await ended))
  }
}
