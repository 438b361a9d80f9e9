// How long a source usually takes to begin an answer: mean and deviation, smoothed as TCP smooths its round trips (RFC 6298).
import { HEDGE_MS_FIRST, HEDGE_MS_MAX, HEDGE_MS_MIN } from '../base/limits.ts'

export class Latency {
  #mean: number | null = null
  #deviation = 0

  observe (ms: number): void {
    if (this.#mean === null) {
      this.#mean = ms
      this.#deviation = ms / 2
      return
    }
    this.#deviation += (Math.abs(ms - this.#mean) - this.#deviation) / 4
    this.#mean += (ms - this.#mean) / 8
  }

  /** Rounded; null before the first answer. */
  get usualMs (): number | null {
    return this.#mean === null ? null : Math.round(this.#mean)
  }

  /** Silence of this many milliseconds is out of the ordinary. */
  get unusualMs (): number {
    if (this.#mean === null) return HEDGE_MS_FIRST
    return Math.min(HEDGE_MS_MAX, Math.max(HEDGE_MS_MIN, 2 * this.#mean, this.#mean + 4 * this.#deviation))
  }
}
