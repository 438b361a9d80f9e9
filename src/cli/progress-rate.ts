// How fast bytes come, smoothed: bytes over time, both weighted less the longer ago they were. So the first second counts as
// it is, a burst does not jump, and a silence lets the rate sink.

const WINDOW_MS = 10_000 // what is that old weighs 1/e
const SANE_AFTER_MS = 500 // the first packets say nothing of the line
const SECONDS_LEFT_MAX = 100 * 3600 // beyond it nobody waits

export class Rate {
  #at: number
  #bytes = 0
  #ms = 0

  /** `now`: monotonic milliseconds. */
  constructor (now: number) {
    this.#at = now
  }

  add (bytes: number, now: number): void {
    this.#pass(now)
    this.#bytes += bytes
  }

  /** Bytes a second; null before there is anything to say. */
  perSecond (now: number): number | null {
    this.#pass(now)
    return this.#bytes === 0 || this.#ms < SANE_AFTER_MS ? null : this.#bytes / this.#ms * 1000
  }

  /** Until `done` is `total` at this rate; null when nobody knows, or in so many days that it says nothing. */
  secondsLeft (done: number, total: number, now: number): number | null {
    const rate = this.perSecond(now)
    if (total === 0 || done > total || rate === null) return null
    const seconds = Math.ceil((total - done) / rate)
    return seconds < SECONDS_LEFT_MAX ? seconds : null
  }

  /** A clock that goes backward stands still. */
  #pass (now: number): void {
    const ms = Math.max(0, now - this.#at)
    const weight = Math.exp(-ms / WINDOW_MS)
    this.#bytes *= weight
    this.#ms = this.#ms * weight + ms
    this.#at = Math.max(now, this.#at)
  }
}
