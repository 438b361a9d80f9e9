// Bounded concurrency with a foreground queue that always goes first. Who waits for the same thing is served in order; things take
// turns, so that nobody who waits for much makes another wait for more than one turn of each.

export type Priority = 'foreground' | 'background'

interface Waiter { readonly start: () => void }

interface Options {
  readonly priority?: Priority | undefined
  readonly signal?: AbortSignal | undefined
  /** Names the thing that the work is for. */
  readonly of?: string | undefined
}

/** Waiters by what they wait for; whose turn it is next comes first. */
class Turns {
  readonly #waiting = new Map<string, Waiter[]>()

  add (of: string, waiter: Waiter): void {
    const queue = this.#waiting.get(of)
    if (queue === undefined) this.#waiting.set(of, [waiter])
    else queue.push(waiter)
  }

  remove (of: string, waiter: Waiter): void {
    const queue = this.#waiting.get(of)?.filter((one) => one !== waiter) ?? []
    if (queue.length > 0) this.#waiting.set(of, queue)
    else this.#waiting.delete(of)
  }

  next (): Waiter | undefined {
    for (const [of, [first, ...others]] of this.#waiting) {
      this.#waiting.delete(of)
      if (others.length > 0) this.#waiting.set(of, others)
      return first
    }
    return undefined
  }
}

export class Semaphore {
  #free: number
  readonly #foreground = new Turns()
  readonly #background = new Turns()

  constructor (slots: number) {
    this.#free = slots
  }

  /** Runs `work` in a slot; an abort while it waits rejects with the signal's reason and takes no slot. */
  async run<Result> (work: () => Promise<Result>, options: Options = {}): Promise<Result> {
    await this.#acquire(options)
    try {
      return await work()
    } finally {
      this.#release()
    }
  }

  async #acquire ({ priority = 'foreground', signal, of = '' }: Options): Promise<void> {
    signal?.throwIfAborted()
    if (this.#free > 0) {
      this.#free--
      return
    }
    const queue = priority === 'foreground' ? this.#foreground : this.#background
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        queue.remove(of, waiter)
        reject(signal?.reason as Error)
      }
      const waiter: Waiter = { start: () => { signal?.removeEventListener('abort', onAbort); resolve() } }
      signal?.addEventListener('abort', onAbort, { once: true })
      queue.add(of, waiter)
    })
  }

  #release (): void {
    const next = this.#foreground.next() ?? this.#background.next()
    if (next === undefined) this.#free++
    else next.start()
  }
}
