// How fast a background proof may go: it starts when the workload's first reads are quiet, keeps to a rate, and steps
// aside while reads wait for the network. Asked for urgently, it runs at once and at full speed.
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { PROOF_START_MS_MAX, PROOF_YIELD_MS } from '../base/limits.ts'

export interface PaceSettings {
  /** No read has waited for the network for this long: quiet. */
  readonly afterMs: number
  readonly bytesPerSecond: number
}

export class ProofPace {
  readonly #settings: PaceSettings
  readonly #clock: Clock
  #lastRead: number

  constructor (settings: PaceSettings, clock: Clock = systemClock) {
    this.#settings = settings
    this.#clock = clock
    this.#lastRead = clock.monotonicMs()
  }

  /** A read misses, or a layer was mounted and will be read. */
  read (): void {
    this.#lastRead = Math.max(this.#lastRead, this.#clock.monotonicMs())
  }

  /** An image was pulled and will be started: the time until its first read is no quiet. */
  expect (): void {
    this.#lastRead = Math.max(this.#lastRead, this.#clock.monotonicMs() + 2 * this.#settings.afterMs)
  }

  /** Until the reads are quiet, or have been loud for too long. Ends early, without an error, when `hurry` fires. */
  async start (hurry: AbortSignal): Promise<void> {
    const latest = this.#clock.monotonicMs() + Math.max(PROOF_START_MS_MAX, this.#settings.afterMs)
    while (!hurry.aborted) {
      const now = this.#clock.monotonicMs()
      const wait = Math.min(this.#lastRead + this.#settings.afterMs, latest) - now
      if (wait <= 0) return
      await sleep(wait, hurry).catch(() => {})
    }
  }

  /** After `bytes` were read. */
  async rest (bytes: number, hurry: AbortSignal): Promise<void> {
    if (hurry.aborted) return
    const loud = this.#clock.monotonicMs() - this.#lastRead < Math.min(this.#settings.afterMs, PROOF_YIELD_MS)
    const wait = bytes * 1000 / this.#settings.bytesPerSecond + (loud ? PROOF_YIELD_MS : 0)
    await sleep(wait, hurry).catch(() => {})
  }
}
