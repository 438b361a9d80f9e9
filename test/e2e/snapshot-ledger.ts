// What a client of the Snapshots service was promised: it prepares, fills, commits and removes ordinary snapshots without a
// pause, and writes down what was answered. Whatever happens to the node then, the ledger knows what must be there.
import { createHash, randomBytes } from 'node:crypto'
import { lstatSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Mount } from '../../src/snapshots/snapshot.ts'
import { type SnapshotsClient, snapshotsClient } from '../suites/snapshots-client.ts'

/** Another name than the one that containerd uses: it removes what it does not know. */
export const LEDGER_PLUGIN = 'ledger'
const KEPT = 6
const BYTES_MAX = 200_000

interface Entry { readonly parent: string, readonly kind: 'active' | 'committed' }

export interface Promises {
  /** Null: it was removed. */
  readonly answered: ReadonlyMap<string, Entry | null>
  /** Names of calls without an answer: there or not. */
  readonly underway: ReadonlySet<string>
}

export class SnapshotLedger {
  readonly #answered = new Map<string, Entry | null>()
  readonly #underway = new Set<string>()
  /** Name → sha256 of its one file. */
  readonly #contents = new Map<string, string>()
  #number = 0
  calls = 0

  /** As of now. */
  promises (): Promises {
    return { answered: new Map(this.#answered), underway: new Set(this.#underway) }
  }

  /** Goes on until `stopped`; then, or when the node fails it, it ends. */
  async run (socket: string, stopped: AbortSignal): Promise<void> {
    const client = snapshotsClient(socket, LEDGER_PLUGIN)
    try {
      while (!stopped.aborted) await this.#round(client, stopped)
    } catch (error) {
      if (!stopped.aborted) throw error
    } finally {
      await client.close()
    }
  }

  async #round (client: SnapshotsClient, stopped: AbortSignal): Promise<void> {
    const number = ++this.#number
    const [key, name] = [`key-${number}`, `name-${number}`]
    const parent = this.#committed().at(-1) ?? ''
    let upper = ''
    await this.#call([key], async () => { upper = upperOf(await client.prepare(key, number % 3 === 0 ? parent : '', {})) }, () => {
      this.#answered.set(key, { parent: number % 3 === 0 ? parent : '', kind: 'active' })
    })
    if (stopped.aborted) return
    const bytes = randomBytes(1 + Math.floor(Math.random() * BYTES_MAX))
    writeFileSync(join(upper, 'content'), bytes)
    this.#contents.set(name, sha256(bytes))
    if (number % 7 === 0) return // it stays active
    await this.#call([key, name], async () => { await client.commit(name, key, {}) }, () => {
      this.#answered.set(name, { parent: number % 3 === 0 ? parent : '', kind: 'committed' })
      this.#answered.set(key, null)
    })
    const [oldest] = this.#removable()
    if (oldest !== undefined) await this.#call([oldest], async () => { await client.remove(oldest) }, () => { this.#answered.set(oldest, null) })
  }

  async #call (names: readonly string[], work: () => Promise<void>, answered: () => void): Promise<void> {
    for (const name of names) this.#underway.add(name)
    await work()
    this.calls++
    answered()
    for (const name of names) this.#underway.delete(name)
  }

  #committed (): string[] {
    return [...this.#answered].filter(([, entry]) => entry?.kind === 'committed').map(([name]) => name)
  }

  #removable (): string[] {
    const live = [...this.#answered].filter(([name, entry]) => entry !== null && !this.#underway.has(name))
    const parents = new Set(live.map(([, entry]) => entry?.parent))
    return live.map(([name]) => name).filter((name) => !parents.has(name)).slice(0, Math.max(0, live.length - KEPT)).slice(0, 1)
  }

  /** What of the promises the node at `socket` does not keep, and what it has. */
  async compare (socket: string, { answered, underway }: Promises): Promise<{ readonly problems: string[], readonly found: ReadonlyMap<string, Entry> }> {
    const client = snapshotsClient(socket, LEDGER_PLUGIN)
    const problems: string[] = []
    try {
      const found = new Map<string, Entry>()
      for await (const { name, kind, parent } of client.list([])) found.set(name, { kind: kind === 'committed' ? kind : 'active', parent })
      for (const [name, entry] of answered) {
        if (underway.has(name)) continue
        const [wanted, there] = [entry, known(found.get(name))].map((one) => JSON.stringify(one))
        if (wanted !== there) problems.push(`${name}: ${there} instead of ${wanted}`)
      }
      for (const [name, entry] of found) {
        if (!answered.has(name) && !underway.has(name)) problems.push(`${name}: nobody asked for it`)
        problems.push(...await this.#look(client, name, entry))
      }
      return { problems, found }
    } finally {
      await client.close()
    }
  }

  /** What is there now is what was promised: calls that were under way are over. */
  adopt (found: ReadonlyMap<string, Entry>): void {
    for (const name of this.#answered.keys()) this.#answered.set(name, null)
    for (const [name, entry] of found) this.#answered.set(name, known(entry))
    this.#underway.clear()
  }

  async #look (client: SnapshotsClient, name: string, { kind }: Entry): Promise<string[]> {
    if (kind === 'active') {
      const { mounts } = await client.call<{ mounts: Mount[] }>('Mounts', { key: name })
      return isDirectory(upperOf(mounts)) ? [] : [`${name}: its directory is gone`]
    }
    const directory = lowerOf(await client.view('look', name, {}))
    await client.remove('look')
    const content = join(directory, 'content')
    const hash = isFile(content) ? sha256(readFileSync(content)) : 'no such file'
    return hash === this.#contents.get(name) ? [] : [`${name}: its file has other bytes (${isFile(content) ? lstatSync(content).size : 'none'})`]
  }
}

function known (entry: Entry | undefined): Entry | null {
  return entry === undefined ? null : { parent: entry.parent, kind: entry.kind }
}

function upperOf (mounts: readonly Mount[]): string {
  return optionOf(mounts, 'upperdir=') ?? mounts[0]?.source ?? ''
}

function lowerOf (mounts: readonly Mount[]): string {
  return optionOf(mounts, 'lowerdir=')?.split(':')[0] ?? mounts[0]?.source ?? ''
}

function optionOf (mounts: readonly Mount[], name: string): string | undefined {
  return mounts[0]?.options.find((option) => option.startsWith(name))?.slice(name.length)
}

function isDirectory (path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

function isFile (path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === true
}

function sha256 (bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
