// Layers that are mounted before containerd asks for them, since it asks for one after the other: directories with mounts
// and no record yet. Who asks takes one over and records it; what nobody took when its pull ended is unmounted again. A
// crash leaves directories without records, which the next start sweeps.
import { LAZY_AHEAD_CONCURRENCY } from '../base/limits.ts'
import { Semaphore } from '../base/semaphore.ts'
import type { LazyMount } from './lazy-layers.ts'

export interface MadeMount {
  /** Of its directory. */
  readonly id: number
  readonly mount: LazyMount
}

export interface ExpectedLayer {
  readonly chainId: string
  /** Settles when it can be mounted without waiting for the network. */
  readonly opened: Promise<unknown>
}

/** Leaves nothing behind when it throws or answers null; tells its id before it mounts. */
export type MakeMount = (chainId: string, parent: string, onId: (id: number) => void) => Promise<MadeMount | null>

interface Entry {
  readonly chainId: string
  readonly made: Promise<MadeMount | null>
  id: number | null
}

export class MountsAhead {
  readonly #make: MakeMount
  readonly #undo: (id: number) => Promise<void>
  readonly #slots = new Semaphore(LAZY_AHEAD_CONCURRENCY)
  readonly #entries = new Map<string, Entry>()

  constructor ({ make, undo }: { readonly make: MakeMount, readonly undo: (id: number) => Promise<void> }) {
    this.#make = make
    this.#undo = undo
  }

  /** Never throws: a layer that fails is made again by whoever asks, and fails for him. */
  add (key: string, { chainId, opened }: ExpectedLayer, parent: string, until: Promise<unknown>): void {
    if (this.#entries.has(key)) return
    const made = opened.then(async () => await this.#slots.run(async () =>
      this.#entries.get(key) === entry ? await this.#make(chainId, parent, (id) => { entry.id = id }) : null)).catch(() => null)
    const entry: Entry = { chainId, made, id: null }
    this.#entries.set(key, entry)
    const drop = (): void => { void this.#drop(key, entry) }
    until.then(drop, drop)
  }

  /** The mount, now the caller's; null when there is none. @throws the signal's reason; the mount stays for another try then. */
  async take (key: string, abortable: (work: Promise<MadeMount | null>) => Promise<MadeMount | null>): Promise<MadeMount | null> {
    const entry = this.#entries.get(key)
    if (entry === undefined) return null
    const made = await abortable(entry.made)
    if (this.#entries.get(key) !== entry) return null // dropped meanwhile
    this.#entries.delete(key)
    return made
  }

  /** Mounted, or being mounted. */
  places (): Array<{ readonly chainId: string, readonly id: number }> {
    return [...this.#entries.values()].flatMap(({ chainId, id }) => id === null ? [] : [{ chainId, id }])
  }

  /** Takes a mount away that must not serve. False when there is none with this directory. */
  async revoke (id: number): Promise<boolean> {
    for (const [key, entry] of this.#entries) {
      if (entry.id !== id) continue
      await this.#drop(key, entry)
      return true
    }
    return false
  }

  async #drop (key: string, entry: Entry): Promise<void> {
    if (this.#entries.get(key) !== entry) return
    this.#entries.delete(key)
    const made = await entry.made
    if (made !== null) await this.#undo(made.id)
  }
}
