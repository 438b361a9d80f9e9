// What we know of one source's manners: how long it usually takes, whether others should go first, until when it asked to be
// left alone and what is left of its budget. Kept in monotonic time: nobody's clock change silences a source.
import type { Clock } from '../base/clock.ts'
import { SOURCE_BEATEN_MS, SOURCE_PENALTY_MS } from '../base/limits.ts'
import type { SourceStatus } from './blocks.ts'
import { Latency } from './latency.ts'
import { type Headers, remainingRequests, restMs, retryAfterMs } from './rate-limit.ts'

export class Standing {
  readonly latency = new Latency()
  readonly #clock: Clock
  #suspectUntil = 0
  /** Times in a row that it kept silent while another source delivered. */
  #beaten = 0
  #budget: number | null = null
  /** Monotonic milliseconds before which it must not be asked, or 0. */
  availableAt = 0

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /** Others go first for now. */
  get suspect (): boolean {
    return this.#suspectUntil > this.#clock.monotonicMs()
  }

  /** Milliseconds for which it must not be asked yet, 0 or less when it may. */
  get restMs (): number {
    return this.availableAt - this.#clock.monotonicMs()
  }

  /** For `status`. */
  get said (): Pick<SourceStatus, 'budget' | 'retryAt' | 'health' | 'usualMs'> {
    const { restMs, latency: { usualMs } } = this
    if (restMs > 0) return { budget: 0, retryAt: this.#clock.now() + restMs, health: 'resting', usualMs }
    return { budget: this.#budget, retryAt: null, health: this.suspect ? 'suspect' : 'ok', usualMs }
  }

  good (): void {
    this.#suspectUntil = 0
    this.#beaten = 0
  }

  /** It lied, or did not answer. */
  bad (): void {
    this.#suspectUntil = this.#clock.monotonicMs() + SOURCE_PENALTY_MS
  }

  /** It kept silent while another source delivered: worse each time. */
  beaten (): void {
    this.#suspectUntil = this.#clock.monotonicMs() + Math.min(SOURCE_PENALTY_MS, SOURCE_BEATEN_MS * 2 ** this.#beaten++)
  }

  /** Reads an answer's word on budgets; returns for how many milliseconds the source wants to be left alone, or null. */
  note (status: number, headers: Headers): number | null {
    this.#budget = remainingRequests(headers)
    const now = this.#clock.now()
    const rest = status === 429 ? restMs(headers, now) : status === 503 ? retryAfterMs(headers, now) : null
    if (rest !== null) this.availableAt = this.#clock.monotonicMs() + rest
    return rest
  }
}
