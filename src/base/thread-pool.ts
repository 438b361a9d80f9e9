// A few worker threads for work that would keep the JavaScript thread busy: one task at a time each, foreground first. What a
// task throws arrives with its code and message. A thread that dies (out of memory, a bug) fails the one task it was at and
// the next task gets a new one. An abort ends the waiting at once; a task that runs is bounded by its own limits and ends alone.
import { type ResourceLimits, Worker } from 'node:worker_threads'
import { abortable } from './abortable.ts'
import { ERROR_CODES, messageOf, SnapshotterError, systemCode } from './errors.ts'
import { type Priority, Semaphore } from './semaphore.ts'

/** What a thread answers; see thread-tasks.ts. */
export type ThreadAnswer = { readonly result: unknown } | { readonly error: { readonly code: string | null, readonly message: string } }

export interface ThreadTask {
  readonly message: unknown
  /** Not usable here any more once the task has started. */
  readonly transfer: readonly ArrayBuffer[]
  /** What the task is, on what: for the error of a thread that died over it. */
  readonly what: string
}

interface PoolOptions {
  /** A module that calls `serveTasks`. */
  readonly entry: URL
  readonly threads: number
  readonly limits?: ResourceLimits
}

export class ThreadPool {
  readonly #options: PoolOptions
  readonly #slots: Semaphore
  readonly #idle: Worker[] = []
  readonly #all = new Set<Worker>()
  #closed = false

  constructor (options: PoolOptions) {
    this.#options = options
    this.#slots = new Semaphore(options.threads)
  }

  /** @throws what the task throws; RESOURCE_EXHAUSTED or INTERNAL when its thread dies, CANCELLED after `close`, the signal's reason. */
  async run<Result> (task: ThreadTask, { priority, signal }: { priority?: Priority | undefined, signal?: AbortSignal | undefined } = {}): Promise<Result> {
    signal?.throwIfAborted()
    const result = this.#slots.run(async () => {
      if (this.#closed) throw ended(task)
      const thread = this.#idle.pop() ?? this.#start()
      const answer = await this.#ask(thread, task).finally(() => { if (this.#all.has(thread)) this.#idle.push(thread) })
      if ('result' in answer) return answer.result as Result
      throw errorOf(answer.error)
    }, { priority, signal })
    return await abortable(result, signal)
  }

  /** Ends a thread that idles with a heap of more than `heapBytes`, and says whether it did: the next task gets a new one. */
  async shed (heapBytes: number): Promise<boolean> {
    return await this.#slots.run(async () => {
      const thread = this.#idle.pop()
      if (thread === undefined) return false
      thread.ref()
      if ((await thread.getHeapStatistics()).total_heap_size > heapBytes) await thread.terminate()
      else this.#idle.push(thread)
      thread.unref()
      return !this.#all.has(thread)
    }, { priority: 'background' })
  }

  /** Ends the threads and what they are at. */
  async close (): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#all].map(async (thread) => await thread.terminate()))
  }

  #start (): Worker {
    const thread = new Worker(this.#options.entry, { resourceLimits: this.#options.limits ?? {} })
    this.#all.add(thread)
    thread.unref() // an idle thread keeps no process alive
    thread.on('error', () => {}) // whoever waits hears of it; an idle one is replaced
    thread.once('exit', () => {
      this.#all.delete(thread)
      const at = this.#idle.indexOf(thread)
      if (at !== -1) this.#idle.splice(at, 1)
    })
    return thread
  }

  async #ask (thread: Worker, task: ThreadTask): Promise<ThreadAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<ThreadAnswer>()
    let cause: unknown
    const onError = (error: unknown): void => { cause = error }
    const onExit = (): void => { reject(this.#closed ? ended(task) : died(task, cause)) }
    thread.ref()
    thread.once('message', resolve)
    thread.once('error', onError)
    thread.once('exit', onExit)
    try {
      thread.postMessage(task.message, [...task.transfer])
      return await promise
    } finally {
      thread.off('message', resolve)
      thread.off('error', onError)
      thread.off('exit', onExit)
      thread.unref()
    }
  }
}

function ended ({ what }: ThreadTask): SnapshotterError {
  return new SnapshotterError('CANCELLED', `${what}: its thread was ended`)
}

/** Of a thread that ended over `what` without an answer. */
export function died ({ what }: Pick<ThreadTask, 'what'>, cause: unknown): SnapshotterError {
  if (systemCode(cause) === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new SnapshotterError('RESOURCE_EXHAUSTED', `${what} needs more memory than its thread may use`, {}, { cause })
  }
  return new SnapshotterError('INTERNAL', `${what}: its thread died${cause === undefined ? '' : ` (${messageOf(cause)})`}`, {}, { cause })
}

/** What a task threw. */
export function errorOf ({ code, message }: { readonly code: string | null, readonly message: string }): SnapshotterError {
  return new SnapshotterError(ERROR_CODES.find((known) => known === code) ?? 'INTERNAL', message)
}
