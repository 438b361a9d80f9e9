// Asks the sources in order for what is still missing, round after round while there is hope: a source that broke off is
// asked again, one that set a time is waited for. Ends with the whole list, or with the one line that names all tries.
import type { Clock } from '../base/clock.ts'
import { FETCH_BACKOFF_MS, FETCH_ROUNDS_MAX, RETRY_AFTER_MS_MAX } from '../base/limits.ts'
import { type Attempt, fetchFailure } from './attempts.ts'
import type { BlockSource, FetchWaits, WantList } from './block-source.ts'

export type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>

/** @throws the codes of attempts.ts; the signal's reason. */
export async function fetchFromSources (
  sources: readonly BlockSource[], wants: WantList, attempts: Attempt[], waits: FetchWaits, time: { clock: Clock, sleep: Sleep }
): Promise<void> {
  let fruitless = 0
  let candidates = sources
  for (;;) {
    const before = wants.delivered
    const known = attempts.length
    for (const source of inOrder(candidates, time.clock.now())) {
      if (wants.size === 0) return
      waits.signal.throwIfAborted()
      await source.fetch(wants, attempts, waits)
    }
    if (wants.size === 0) return

    const round = attempts.slice(known)
    if (wants.delivered === before) fruitless++
    const pause = fruitless < FETCH_ROUNDS_MAX ? pauseBefore(sources, round, wants.delivered > before, time.clock.now()) : null
    if (pause === null) throw fetchFailure(wants.what, attempts)
    if (pause > 0) await time.sleep(pause, waits.signal)
    candidates = sources.filter((source) => hopeful(source, round, wants.delivered > before))
  }
}

/** Penalised sources last; the rest as configured. */
function inOrder (sources: readonly BlockSource[], now: number): BlockSource[] {
  return [...sources].sort((a, b) => Number(a.penalisedUntil > now) - Number(b.penalisedUntil > now))
}

function pauseBefore (sources: readonly BlockSource[], round: readonly Attempt[], progress: boolean, now: number): number | null {
  if (progress) return 0
  if (round.some(({ transient }) => transient)) return FETCH_BACKOFF_MS
  const rests = sources.map(({ availableAt }) => availableAt - now).filter((ms) => ms > 0 && ms <= RETRY_AFTER_MS_MAX)
  return rests.length > 0 ? Math.min(...rests) : null
}

function hopeful (source: BlockSource, round: readonly Attempt[], progress: boolean): boolean {
  const own = round.filter((attempt) => attempt.source === source.name)
  return progress || own.some(({ transient, code }) => transient || code === 'GATEWAY_RATE_LIMITED')
}
