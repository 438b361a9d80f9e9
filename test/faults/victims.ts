// Who is killed, and what brings it back: the product itself (worker, guardian), or what an operator's supervisor does at
// once (a new `serve`, a new containerd).
import { performance } from 'node:perf_hooks'
import { until } from '../e2e/command.ts'
import { kill, lives } from '../e2e/traces.ts'
import type { Stage } from './stage.ts'

export interface Victim {
  readonly name: 'worker' | 'node' | 'guardian' | 'containerd'
  /** Before a try: nothing of the last fault is left over. */
  readonly reset: (stage: Stage) => Promise<void>
  /** SIGKILL. */
  readonly kill: (stage: Stage) => Promise<void>
  /** Resolves when it serves again; the milliseconds since `since` (performance.now()). */
  readonly recovered: (stage: Stage, since: number) => Promise<number>
}

const nothing = async (): Promise<void> => {}

/** Ends when a cached file is read through the next worker. */
const worker = (): Victim => {
  let pid = 0
  return {
    name: 'worker',
    reset: async (stage) => { pid = (await stage.status()).worker.pid },
    kill: async () => { kill(pid) },
    recovered: async (stage, since) => {
      const ms = await stage.untilServed(since)
      if (lives(pid)) throw new Error(`worker ${pid} was killed and lives`)
      return ms
    }
  }
}

/** Ends when the next `serve`, started at once, is ready. */
const node: Victim = {
  name: 'node',
  reset: nothing,
  kill: async (stage) => { await stage.scene.daemon.end('SIGKILL') },
  recovered: async (stage, since) => {
    await stage.scene.serve()
    return performance.now() - since
  }
}

/** Ends when every layer is mounted anew and a cached file is read. */
const guardian: Victim = {
  name: 'guardian',
  reset: async (stage) => {
    // A guardian that dies again and again is started anew ever more slowly; a new `serve` does not know of the last time.
    await stage.scene.daemon.end()
    await stage.scene.serve()
    if (!stage.container.running || (await stage.container.read(stage.warm).count()).failed > 0) await stage.freshContainer()
  },
  kill: async (stage) => {
    const pid = stage.guardianPid()
    kill(pid)
    await until('the guardian is gone', () => !lives(pid))
  },
  recovered: async (stage, since) => await stage.untilServed(since)
}

/** Ends when the next containerd, started at once, lists our snapshots. */
const containerd: Victim = {
  name: 'containerd',
  reset: nothing,
  kill: async (stage) => { await stage.scene.containerd.halt('SIGKILL') },
  recovered: async (stage, since) => {
    await stage.scene.containerd.start()
    await stage.scene.snapshots()
    return performance.now() - since
  }
}

export const VICTIMS: ReadonlyArray<() => Victim> = [worker, () => node, () => guardian, () => containerd]
