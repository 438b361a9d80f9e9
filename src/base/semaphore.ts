// Bounded concurrency, first come first served, with a foreground queue that always goes first.

export type Priority = 'foreground' | 'background'

interface Waiter { readonly start: () => void }

export class Semaphore {
  #free: number
  readonly #foreground: Waiter[] = []
  readonly #background: Waiter[] = []

  constructor (slots: number) {
    this.#free = slots
  }

  /** Runs `work` in a slot; an abort while it waits rejects with the signal's reason and takes no slot. */
  async run<Result> (work: () => Promise<Result>, options: { priority?: Priority | undefined, signal?: AbortSignal | undefined } = {}): Promise<Result> {
    await this.#acquire(options.priority ?? 'foreground', options.signal)
    try {
      return await work()
    } finally {
      this.#release()
    }
  }

  async #acquire (priority: Priority, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (this.#free > 0) {
      this.#free--
      return
    }
    const queue = priority === 'foreground' ? this.#foreground : this.#background
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        queue.splice(queue.indexOf(waiter), 1)
        reject(signal?.reason as Error)
      }
      const waiter: Waiter = { start: () => { signal?.removeEventListener('abort', onAbort); resolve() } }
      signal?.addEventListener('abort', onAbort, { once: true })
      queue.push(waiter)
    })
  }

  #release (): void {
    const next = this.#foreground.shift() ?? this.#background.shift()
    if (next === undefined) this.#free++
    else next.start()
  }
}
