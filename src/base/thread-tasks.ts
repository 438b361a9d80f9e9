// The other end of thread-pool.ts: takes one task after the other and answers each with its result or its error.
import { parentPort } from 'node:worker_threads'
import { isSnapshotterError, messageOf } from './errors.ts'
import type { ThreadAnswer } from './thread-pool.ts'

export interface TaskResult {
  readonly result: unknown
  /** Buffers of `result` that this thread gives away. */
  readonly transfer: readonly ArrayBuffer[]
}

/** Only in a thread's entry module. */
export function serveTasks (work: (message: unknown) => TaskResult): void {
  const port = parentPort
  if (port === null) return // imported by the main thread
  port.on('message', (message: unknown) => {
    const { transfer, ...answer } = answerTo(work, message)
    port.postMessage(answer satisfies ThreadAnswer, [...transfer])
  })
}

function answerTo (work: (message: unknown) => TaskResult, message: unknown): ThreadAnswer & { readonly transfer: readonly ArrayBuffer[] } {
  try {
    return work(message)
  } catch (error) {
    return { ...failureAnswer(error), transfer: [] }
  }
}

/** What crosses to the other thread of what a task threw; `errorOf` in thread-pool.ts reads it. */
export function failureAnswer (error: unknown): ThreadAnswer {
  return { error: { code: isSnapshotterError(error) ? error.code : null, message: messageOf(error) } }
}
