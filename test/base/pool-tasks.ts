// Entry of the threads of thread-pool.test.ts: tasks that answer, fail, linger and die.
import { threadId } from 'node:worker_threads'
import { SnapshotterError } from '../../src/base/errors.ts'
import { serveTasks } from '../../src/base/thread-tasks.ts'

export type TestTask = { readonly do: 'answer' | 'fail' | 'throw' | 'die' | 'hoard' | 'unanswerable' } | { readonly do: 'linger', readonly flag: Int32Array }

serveTasks((message) => {
  const task = message as TestTask
  switch (task.do) {
    case 'answer': {
      const bytes = Uint8Array.of(1, 2, 3)
      return { result: { thread: threadId, bytes }, transfer: [bytes.buffer] }
    }
    case 'fail': throw new SnapshotterError('TOC_INVALID', 'TOC x: "a" is bad')
    case 'throw': throw new RangeError('a bug')
    case 'die': return process.exit(3)
    case 'hoard': {
      const kept: object[] = []
      for (;;) kept.push(Array.from({ length: 1000 }, (_, at) => ({ at })))
    }
    case 'unanswerable': return { result: () => 1, transfer: [] }
    case 'linger': {
      Atomics.store(task.flag, 0, 1)
      Atomics.notify(task.flag, 0)
      Atomics.wait(task.flag, 1, 0, 20_000)
      return { result: 'lingered', transfer: [] }
    }
  }
})
