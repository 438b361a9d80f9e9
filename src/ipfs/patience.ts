// How long one request may keep silent. A timer that every sign of life resets, joined with the caller's signal.
import { SnapshotterError } from '../base/errors.ts'

export class Patience {
  readonly outer: AbortSignal | undefined
  readonly #controller = new AbortController()
  readonly #onOuter = (): void => { this.#controller.abort(this.outer?.reason) }
  #ms: number
  #timer: NodeJS.Timeout
  #touches = 0
  #ended = false
  #expired: SnapshotterError | undefined

  constructor (ms: number, outer?: AbortSignal) {
    outer?.throwIfAborted()
    this.outer = outer
    this.#ms = ms
    this.#timer = this.#arm()
    outer?.addEventListener('abort', this.#onOuter, { once: true })
  }

  get signal (): AbortSignal {
    return this.#controller.signal
  }

  /** GATEWAY_TIMEOUT once the silence has lasted too long. */
  get expired (): SnapshotterError | undefined {
    return this.#expired
  }

  /** A sign of life. */
  touch (): void {
    this.#touches++
    if (!this.#ended) this.#timer.refresh()
  }

  /** From now on less patience. */
  tighten (ms: number): void {
    if (this.#ended || ms >= this.#ms) return
    clearTimeout(this.#timer)
    this.#ms = ms
    this.#timer = this.#arm()
  }

  end (): void {
    this.#ended = true
    clearTimeout(this.#timer)
    this.outer?.removeEventListener('abort', this.#onOuter)
  }

  #arm (): NodeJS.Timeout {
    return setTimeout(() => {
      const touches = this.#touches
      // When we were the ones who were late, what the socket already holds counts as a sign of life.
      setImmediate(() => { if (this.#touches === touches && !this.#ended) this.#expire() })
    }, this.#ms)
  }

  #expire (): void {
    const said = this.#touches === 0 ? 'no answer' : 'no data'
    this.#expired = new SnapshotterError('GATEWAY_TIMEOUT', `${said} for ${this.#ms} ms`)
    this.#controller.abort(this.#expired)
  }
}
