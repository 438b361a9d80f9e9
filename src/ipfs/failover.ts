// Asks the sources in order for what is still missing, round after round while there is hope: a source that broke off is
// asked again, one that set a time is waited for. Ends with the whole list, or with the one line that names all tries.
import type { Clock } from '../base/clock.ts'
import { FETCH_BACKOFF_MS, FETCH_ROUNDS_MAX, RETRY_AFTER_MS_MAX } from '../base/limits.ts'
import { type Attempt, fetchFailure } from './attempts.ts'
import type { BlockSource, FetchWaits, WantList } from './block-source.ts'
import { askSources, type HedgeBudget } from './hedges.ts'

export interface Time {
  readonly clock: Clock
  readonly sleep: Sleep
  readonly hedges: HedgeBudget
}

export type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>

/** @throws the codes of attempts.ts; the signal's reason. */
export async function fetchFromSources (
  sources: readonly BlockSource[], wants: WantList, attempts: Attempt[], waits: FetchWaits, time: Time
): Promise<void> {
  const patience: Patience = { rounds: FETCH_ROUNDS_MAX, restMs: RETRY_AFTER_MS_MAX }
  let candidates = sources
  for (;;) {
    const before = wants.delivered
    const known = attempts.length
    await askSources(inOrder(candidates), wants, attempts, waits, time.hedges)
    if (wants.size === 0) return

    const round = attempts.slice(known)
    const progress = wants.delivered > before
    const pause = progress ? 0 : pauseBefore(sources, round, patience, time.clock.monotonicMs())
    if (pause === null) throw fetchFailure(wants.what, attempts)
    if (pause > 0) await time.sleep(pause, waits.signal)
    candidates = sources.filter((source) => progress || hopeful(source, round))
  }
}

/** What is left: rounds after transient failures, and milliseconds of waiting for sources that asked for rest. */
interface Patience {
  rounds: number
  restMs: number
}

/** Suspects last; the rest as configured. */
function inOrder (sources: readonly BlockSource[]): BlockSource[] {
  return [...sources].sort((a, b) => Number(a.suspect) - Number(b.suspect))
}

/** How long to wait before a fruitless round is followed by another one, or null when it is not. */
function pauseBefore (sources: readonly BlockSource[], round: readonly Attempt[], patience: Patience, now: number): number | null {
  if (round.some(({ transient }) => transient)) return --patience.rounds > 0 ? FETCH_BACKOFF_MS : null
  const rests = sources.map(({ availableAt }) => availableAt - now).filter((ms) => ms > 0)
  const rest = Math.min(...rests)
  if (rests.length === 0 || rest > patience.restMs) return null
  patience.restMs -= rest
  return rest
}

function hopeful (source: BlockSource, round: readonly Attempt[]): boolean {
  return round.some((attempt) => attempt.source === source.name && (attempt.transient || attempt.code === 'GATEWAY_RATE_LIMITED'))
}
