// A line of fixed capacity that several senders share fairly: one token bucket without burst. Each sender's bytes leave
// in turns of one quantum, so a small answer does not wait behind all that others have queued.
import type { Clock } from '../src/base/clock.ts'

export interface Sender {
  /** Bytes of the next piece that waits for its turn, 0 when nothing may be sent now. */
  readonly next: () => number
  /** Take exactly `bytes` off that piece; they have left the line at `at` (monotonic ms). */
  readonly send: (bytes: number, at: number) => void
}

export type Schedule = (milliseconds: number, run: () => void) => void

const QUANTUM_BYTES = 16 * 1024
const AHEAD_MS = 4 // timers are this coarse; times of departure stay exact

export class SharedLink {
  readonly #bytesPerMs: number
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #schedule: Schedule
  readonly #waiting: Sender[] = []
  #freeAt = 0
  #scheduled = false

  constructor (bytesPerSecond: number, clock: Pick<Clock, 'monotonicMs'>, schedule: Schedule) {
    this.#bytesPerMs = bytesPerSecond / 1000
    this.#clock = clock
    this.#schedule = schedule
  }

  /** The sender has something to send; it keeps its turn until it has nothing. */
  ready (sender: Sender): void {
    if (!this.#waiting.includes(sender)) this.#waiting.push(sender)
    if (!this.#scheduled) this.#pump()
  }

  #pump (): void {
    this.#scheduled = false
    const now = this.#clock.monotonicMs()
    this.#freeAt = Math.max(this.#freeAt, now)
    while (this.#freeAt - now < AHEAD_MS) {
      const sender = this.#waiting.shift()
      if (sender === undefined) return
      const quantum = Math.min(QUANTUM_BYTES, sender.next())
      if (quantum === 0) continue
      this.#freeAt += quantum / this.#bytesPerMs
      sender.send(quantum, this.#freeAt)
      if (sender.next() > 0) this.#waiting.push(sender)
    }
    this.#scheduled = true
    this.#schedule(this.#freeAt - now - AHEAD_MS / 2, () => this.#pump())
  }
}
