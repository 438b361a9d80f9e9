// How fast a source's bytes follow one another once an answer flows: what it costs to ask for more in one request. Answers that
// come side by side share the line, and so does this figure: it says less of a busy line.
import type { Clock } from '../base/clock.ts'
import { LINE_RATE_BYTES, LINE_RATE_BYTES_MIN } from '../base/limits.ts'

export class LineRate {
  #bytes = 0
  #ms = 0

  /** Of one answer: to be told the bytes of each piece when it comes. The first piece only starts the clock: it waited for the source. */
  follow (clock: Clock): (bytes: number) => void {
    let last: number | null = null
    return (bytes) => {
      const now = clock.monotonicMs()
      if (last !== null) this.#observe(bytes, now - last)
      last = now
    }
  }

  /** Rounded; null until enough was seen. */
  get bytesPerSecond (): number | null {
    return this.#bytes < LINE_RATE_BYTES_MIN || this.#ms === 0 ? null : Math.round(this.#bytes / this.#ms * 1000)
  }

  /** What was seen long ago counts half. */
  #observe (bytes: number, ms: number): void {
    if (this.#bytes > LINE_RATE_BYTES) {
      this.#bytes /= 2
      this.#ms /= 2
    }
    this.#bytes += bytes
    this.#ms += ms
  }
}
