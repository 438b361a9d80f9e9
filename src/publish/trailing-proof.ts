// One proof at a time beside the work that goes on: what was written is proven while the next is made. A proof that fails
// ends the work through `signal`, with its own error as the reason.
import { SnapshotterError } from '../base/errors.ts'

export class TrailingProof {
  readonly #ended = new AbortController()
  readonly signal: AbortSignal
  #running: Promise<void> = Promise.resolve()
  #finished = false

  constructor (signal?: AbortSignal) {
    this.signal = AbortSignal.any([this.#ended.signal, ...signal === undefined ? [] : [signal]])
  }

  /** Waits for the proof before, so that no more than one holds memory. @throws what that one threw */
  async begin (proof: (signal: AbortSignal) => Promise<void>): Promise<void> {
    await this.#running
    this.#running = proof(this.signal)
    this.#running.catch((error: unknown) => { this.#ended.abort(error) })
  }

  /** @throws what the last one threw */
  async finish (): Promise<void> {
    await this.#running
    this.#finished = true
  }

  /** After this no proof runs any more; `signal` says so unless all was well. */
  async close (): Promise<void> {
    if (this.#finished) return
    this.#ended.abort(new SnapshotterError('CANCELLED', 'what is being proven is given up'))
    await this.#running.catch(() => {}) // told to whoever waited for it, or the work failed first
  }
}
