// What is under way when somebody is killed. Each moment starts its work, says when to strike, and after the recovery finishes
// it: calls that failed are repeated until they succeed, and what was answered before must still be so.
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../e2e/command.ts'
import type { ReadJob } from './obedient-container.ts'
import type { Stage } from './stage.ts'
import { committing, preparing, removing } from './snapshot-calls.ts'
import { pulling } from './pull-call.ts'
import { type Victim, VICTIMS } from './victims.ts'

export interface Moment {
  readonly name: string
  /** Resolves when it is time to strike. `random`: in [0, 1). */
  readonly begin: (stage: Stage, attempt: number, random: () => number) => Promise<Underway>
  /** Of the node's cache. */
  readonly maxSize?: string
  /** Those who are killed; default: everybody. */
  readonly victims?: ReadonlyArray<() => Victim>
  /** Another's snapshotter is looked at, to compare: what goes wrong is counted and told, but no problem of ours. */
  readonly stock?: true
}

export interface Underway {
  /** Not ended yet: the fault hits it. */
  readonly open: () => boolean
  /** The reads of the container that belong to this try. */
  readonly job: ReadJob
  /** The victim is dead: what was held back may go on. */
  readonly proceed: () => void
  /** After the recovery. */
  readonly finish: () => Promise<Aftermath>
}

export interface Aftermath {
  /** Calls that failed and were made again. */
  readonly repeated: number
  /** What was answered and is not so any more; what cannot be repeated. One line each. */
  readonly lost: readonly string[]
}

const nothingElse = async (): Promise<Aftermath> => ({ repeated: 0, lost: [] })
const READ_ROUNDS = 30
const CALLS_ROUNDS = 10

function reading (job: ReadJob): Underway {
  return { open: () => !job.over(), job, proceed: () => {}, finish: nothingElse }
}

/** Files that nobody has looked at, so that their inodes are not in the kernel yet; what their reads need is fetched. */
const open: Moment = {
  name: 'open',
  begin: async (stage, attempt, random) => {
    const job = stage.container.read(stage.fresh(attempt))
    await sleep(random() * 10)
    return reading(job)
  }
}

/** Cached files, whose pages were dropped. */
const read: Moment = {
  name: 'read',
  begin: async (stage, _, random) => {
    const job = stage.container.read(stage.warm, READ_ROUNDS)
    await sleep(5 + random() * 40)
    return reading(job)
  }
}

/** Reads that provably wait for the network, which answers after the kill. */
const miss: Moment = {
  name: 'miss',
  begin: async (stage, attempt) => {
    stage.gateway.hold()
    const job = stage.container.read(stage.fresh(attempt))
    await until('reads wait for the gateway', async () => stage.gateway.waiting > 0 && (await stage.status()).worker.waitingReads > 0)
    return { ...reading(job), proceed: () => { stage.gateway.release() } }
  }
}

/** From the first answer of the gateway on, while bytes are on their way into the cache. */
const cacheWrite: Moment = {
  name: 'cache write',
  begin: async (stage, attempt, random) => {
    const before = stage.deliveries()
    const job = stage.container.read(stage.fresh(attempt))
    await until('the gateway answers', () => stage.deliveries() > before)
    await sleep(random() * 15)
    return reading(job)
  }
}

/** New files are read and old ones must go for them. */
const eviction: Moment = {
  name: 'eviction',
  maxSize: '4MiB',
  begin: async (stage, attempt, random) => {
    const { evictedChunks } = (await stage.status()).cache
    const job = stage.container.read(stage.fresh(attempt))
    await until('chunks are evicted, or nothing is read any more', async () => job.over() || (await stage.status()).cache.evictedChunks > evictedChunks)
    await sleep(random() * 5)
    return reading(job)
  }
}

/** Calls of containerd's clients, while a container reads cached files. */
const calls = [['Prepare', preparing], ['Commit', committing], ['Remove', removing], ['pull', pulling]] as const
const called: readonly Moment[] = calls.map(([name, begin]) => ({
  name,
  begin: async (stage, attempt, random) => {
    const { open, finish } = await begin(stage, attempt, random)
    return { open, finish, job: stage.container.read(stage.warm, CALLS_ROUNDS), proceed: () => {} }
  }
}))

/** The same with containerd's own overlayfs, which no fault of ours can touch: what containerd's death alone does to a Commit. */
const stock: Moment = {
  name: 'Commit to stock overlayfs',
  victims: VICTIMS.filter((make) => make().name === 'containerd'),
  stock: true,
  begin: async (stage, attempt, random) => {
    const { open, finish } = await committing(stage, attempt, random, 'overlayfs')
    return { open, finish, job: stage.container.read(stage.warm, CALLS_ROUNDS), proceed: () => {} }
  }
}

export const MOMENTS: readonly Moment[] = [open, read, miss, cacheWrite, ...called, stock, eviction]
