// One piece of work per key for all who want it now, as SingleFlight; but each may leave, and what nobody waits for any more
// is stopped. Who comes while it stops waits for that and begins anew: two at once would write the same files.
import { abortable } from './abortable.ts'
import { SnapshotterError } from './errors.ts'

interface Flight<Result> {
  readonly result: Promise<Result>
  readonly stop: AbortController
  callers: number
}

export class SharedFlight<Result> {
  readonly #flights = new Map<string, Flight<Result>>()

  /** @throws what `work` throws, or the reason of the caller's own signal. */
  async run (key: string, work: (signal: AbortSignal) => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    for (let flight = this.#flights.get(key); flight?.stop.signal.aborted === true; flight = this.#flights.get(key)) {
      await abortable(flight.result.catch(() => {}), signal)
    }
    signal?.throwIfAborted()
    const flight = this.#flights.get(key) ?? this.#begin(key, work)
    flight.callers++
    try {
      return await abortable(flight.result, signal)
    } finally {
      flight.callers--
      if (flight.callers === 0 && this.#flights.get(key) === flight) flight.stop.abort(new SnapshotterError('CANCELLED', 'nobody waits for it any more'))
    }
  }

  #begin (key: string, work: (signal: AbortSignal) => Promise<Result>): Flight<Result> {
    const stop = new AbortController()
    const result = work(stop.signal).finally(() => { this.#flights.delete(key) })
    const flight = { result, stop, callers: 0 }
    this.#flights.set(key, flight)
    return flight
  }
}
