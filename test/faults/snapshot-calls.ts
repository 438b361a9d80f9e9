// Calls of containerd's snapshot API through containerd to our daemon, one after the other; somewhere among them the fault
// comes. What was answered must hold afterwards; what failed must succeed when it is made again, or have been done.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Aftermath } from './moments.ts'
import type { Stage } from './stage.ts'
import type { SnapshotsClient } from '../suites/snapshots-client.ts'

const CALLS = 8
const REPEAT_MS = 50
const REPEAT_MS_MAX = 30_000
const KEPT = { 'containerd.io/gc.root': 'a fault is tried' } // from containerd's collector
const NOT_FOUND = 5; const ALREADY_EXISTS = 6

export interface Calls {
  readonly open: () => boolean
  readonly finish: () => Promise<Aftermath>
}

type Begin = (stage: Stage, attempt: number, random: () => number, snapshotter?: string) => Promise<Calls>

/** Whose snapshots, and on what they are made. */
interface Place {
  readonly parent: string
  readonly client: () => SnapshotsClient
}

interface Plan {
  readonly make: (client: SnapshotsClient, key: string, parent: string) => Promise<unknown>
  /** Answers to a repeated call that had been done; what there is then is looked at. */
  readonly done: readonly number[]
  /** What there must be afterwards, by key; null: nothing. */
  readonly after: (key: string) => { readonly name: string, readonly kind: string } | null
  readonly before: (client: SnapshotsClient, key: string, parent: string) => Promise<unknown>
}

const prepare: Plan['make'] = async (client, key, parent) => await client.prepare(key, parent, KEPT)

export const preparing = sequence({
  make: prepare, before: async () => {}, done: [ALREADY_EXISTS], after: (key) => ({ name: key, kind: 'active' })
})

export const committing = sequence({
  make: async (client, key) => { await client.commit(`${key}-committed`, key, KEPT) },
  before: prepare,
  done: [ALREADY_EXISTS, NOT_FOUND],
  after: (key) => ({ name: `${key}-committed`, kind: 'committed' })
})

export const removing = sequence({ make: async (client, key) => { await client.remove(key) }, before: prepare, done: [NOT_FOUND], after: () => null })

function sequence (plan: Plan): Begin {
  return async (stage, attempt, random, snapshotter) => {
    const on: Place = { parent: snapshotter === undefined ? stage.topChain : '', client: () => stage.snapshots(snapshotter) }
    const { parent } = on
    const keys = Array.from({ length: CALLS }, (_, at) => `fault-${attempt}-${at}`)
    const client = on.client()
    for (const key of keys) await untilAnswered(async () => await plan.before(client, key, parent), [ALREADY_EXISTS])
    const answered: string[] = []
    let ended = false
    const running = (async () => {
      for (const key of keys) {
        await plan.make(client, key, parent)
        answered.push(key)
      }
    })().catch(() => {}).finally(() => { ended = true })
    await sleep(random() * 15)
    return {
      open: () => !ended,
      finish: async () => {
        await running
        await client.close()
        return await settle(on, plan, keys, answered)
      }
    }
  }
}

async function settle (on: Place, plan: Plan, keys: readonly string[], answered: readonly string[]): Promise<Aftermath> {
  const { parent } = on
  const client = on.client()
  try {
    const lost = await differences(client, plan, answered, parent, 'was answered, and after the fault')
    let repeated = 0
    for (const key of keys.filter((key) => !answered.includes(key))) {
      repeated += await untilAnswered(async () => await plan.make(client, key, parent), plan.done)
    }
    lost.push(...await differences(client, plan, keys, parent, 'was repeated, and then'))
    for (const key of keys) {
      const left = plan.after(key)
      if (left !== null) await untilAnswered(async () => { await client.remove(left.name) }, [NOT_FOUND])
    }
    return { repeated: Math.min(repeated, keys.length - answered.length), lost }
  } finally {
    await client.close()
  }
}

async function differences (client: SnapshotsClient, plan: Plan, keys: readonly string[], parent: string, when: string): Promise<string[]> {
  const found = new Map<string, string>()
  await untilAnswered(async () => {
    found.clear()
    for await (const info of client.list([])) found.set(info.name, `${info.kind} on ${info.parent}`)
  })
  return keys.flatMap((key) => {
    const due = plan.after(key)
    const expected = due === null ? undefined : `${due.kind} on ${parent}`
    const is = found.get(due?.name ?? key)
    return is === expected ? [] : [`${due?.name ?? key} ${when} is ${is ?? 'not there'} instead of ${expected ?? 'gone'}`]
  })
}

/** Repeats while nobody answers. @returns 1 when it had to be made at all. @throws any other error but `done`. */
export async function untilAnswered (call: () => Promise<unknown>, done: readonly number[] = []): Promise<number> {
  for (const end = Date.now() + REPEAT_MS_MAX; ; await sleep(REPEAT_MS)) {
    try {
      await call()
      return 1
    } catch (error) {
      const { code, message } = error as { readonly code?: number, readonly message: string }
      if (code !== undefined && done.includes(code)) return 1
      if (Date.now() > end || !/UNAVAILABLE|unavailable|connection error|No connection/.test(message)) throw error
    }
  }
}
