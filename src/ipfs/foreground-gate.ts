// Holds background requests back while somebody waits for a read: they share the line, whatever queue they stand in. One
// gets through now and then, so that a busy node finishes its background work, too.
import { BACKGROUND_QUIET_MS, BACKGROUND_STARVED_MS } from '../base/limits.ts'

export class ForegroundGate {
  #foreground = 0
  #quiet = true
  #timer: NodeJS.Timeout | undefined
  readonly #waiting = new Set<() => void>()

  /** For `status --debug`. */
  get state (): { readonly foreground: number, readonly held: number } {
    return { foreground: this.#foreground, held: this.#waiting.size }
  }

  /** Foreground work began; call the result when it ended. */
  enter (): () => void {
    this.#foreground++
    this.#quiet = false
    clearTimeout(this.#timer)
    return () => {
      if (--this.#foreground > 0) return
      this.#timer = setTimeout(() => {
        this.#quiet = true
        for (const wake of this.#waiting) wake()
      }, BACKGROUND_QUIET_MS).unref()
    }
  }

  /** Resolves when no read has waited for a moment, or when this one has waited long enough. @throws the signal's reason. */
  async quiet (signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#quiet) return
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        this.#waiting.delete(done)
        resolve()
      }
      const timer = setTimeout(done, BACKGROUND_STARVED_MS)
      signal.addEventListener('abort', done, { once: true })
      this.#waiting.add(done)
    })
    signal.throwIfAborted()
  }
}
