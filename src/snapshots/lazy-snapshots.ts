// Lazily mounted layers as committed snapshots: made once per (chain ID, parent) however many ask, mounted again after
// a restart, checked before anybody gets mounts on them. What fails an integrity check is an error and never falls back.
import { createHash } from 'node:crypto'
import { abortable } from '../base/abortable.ts'
import { GRPC } from '../base/error-codes.ts'
import { asSnapshotterError, grpcStatusOf, SnapshotterError } from '../base/errors.ts'
import { LAZY_PREPARE_DEADLINE_MS, LAZY_RESTORE_CONCURRENCY, LAZY_RESTORE_DEADLINE_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'
import { SingleFlight } from '../base/single-flight.ts'
import type { SnapshotDirectories } from './directories.ts'
import { acceptLabels, type Labels } from '../base/labels.ts'
import type { LazyLayers, LazyMount } from './lazy-layers.ts'
import { type ExpectedLayer, type MadeMount, MountsAhead } from './mounts-ahead.ts'
import { LABEL_LAZY, LABEL_SNAPSHOT_REF } from './snapshot.ts'
import type { SnapshotStore, StoredSnapshot } from './store.ts'

export interface LazySnapshotsInit {
  readonly store: SnapshotStore
  readonly directories: SnapshotDirectories
  readonly layers: LazyLayers
  readonly log: Log
  /** No fallback: a layer that cannot be mounted lazily is an error, whatever the reason. */
  readonly strict: boolean
}

/** Where a lazily mounted layer is. */
export interface LazyPlace {
  readonly chainId: string
  readonly target: string
}

type LazySnapshot = StoredSnapshot & { readonly lazy: NonNullable<StoredSnapshot['lazy']> }

export class LazySnapshots {
  readonly #init: LazySnapshotsInit
  readonly #provided = new SingleFlight<boolean>()
  readonly #restored = new SingleFlight<void>()
  /** Layers whose mount could not be brought back, with the reason. */
  readonly #unavailable = new Map<number, string>()
  readonly #closing = new AbortController()

  readonly #ahead = new MountsAhead({
    make: async (chainId, parent, onId) => await this.#make(chainId, parent, {}, onId),
    undo: async (id) => { await this.#abandon(id, Promise.resolve()) }
  })

  constructor (init: LazySnapshotsInit) {
    this.#init = init
  }

  /** Mounts layers, base first, before anybody asks for them; those that nobody asked for when `until` ends are let go. */
  expect (layers: readonly ExpectedLayer[], until: Promise<unknown>): void {
    let parent = ''
    for (const layer of layers) {
      if (this.#init.store.findLazy(layer.chainId, parent) === null) this.#ahead.add(JSON.stringify([layer.chainId, parent]), layer, parent, until)
      parent = internalName(layer.chainId, parent) // another one, and nobody asks, where the parent is no lazy layer
    }
  }

  /**
   * True when a committed lazy snapshot of `chainId` on `parent` exists after the call; false when an ordinary snapshot
   * has to serve. Callers that ask for one layer at once share one mount.
   * @throws codes of status DATA_LOSS and POLICY_DENIED: such a layer must not run; NOT_FOUND, INVALID_ARGUMENT for the parent.
   */
  async provide (chainId: string, parent: string, labels: Labels): Promise<boolean> {
    return await this.#provided.run(JSON.stringify([chainId, parent]), async () => {
      this.#init.store.requireParent(parent)
      const existing = this.#init.store.findLazy(chainId, parent)
      try {
        if (existing !== null) {
          await this.check([existing])
          return true
        }
        return await this.#mount(chainId, parent, labels)
      } catch (error) {
        return this.#fallBack(error, chainId)
      }
    })
  }

  /** @throws UNAVAILABLE (or the violation itself) unless every lazy layer among `chain` is mounted and alive. */
  async check (chain: readonly StoredSnapshot[]): Promise<void> {
    await Promise.all(chain.filter(isLazy).map(async (snapshot) => {
      try {
        if (this.#unavailable.has(snapshot.id)) await this.#restore(snapshot)
        await this.#init.layers.check(this.#init.directories.fs(snapshot.id))
      } catch (error) {
        const reason = asSnapshotterError(error)
        if (isViolation(reason)) throw reason
        throw new SnapshotterError('UNAVAILABLE', `lazy layer ${snapshot.lazy.chainId} is not readable: ${reason.line}`, {}, { cause: error })
      }
    }))
  }

  /** Mounts every lazy layer again; one that fails is marked and tried again when somebody asks for its mounts. */
  async restoreAll (): Promise<void> {
    const slots = new Semaphore(LAZY_RESTORE_CONCURRENCY)
    const all = this.#init.store.allLazy().filter(isLazy)
    await Promise.all(all.map((snapshot) => slots.run(async () => {
      try {
        await this.#restore(snapshot)
      } catch (error) {
        this.#init.log.warn({ chainId: snapshot.lazy.chainId, error: asSnapshotterError(error).line }, 'lazy layer not restored')
      }
    })))
    if (all.length > 0) this.#init.log.info({ layers: all.length, unavailable: this.#unavailable.size }, 'lazy layers restored')
  }

  /** Where layers of this chain ID, or all, are mounted or were to be. */
  places (chainId: string | null = null): LazyPlace[] {
    const recorded = this.#init.store.allLazy().filter(isLazy).map(({ id, lazy }) => ({ chainId: lazy.chainId, id }))
    return [...recorded, ...this.#ahead.places()].filter((place) => chainId === null || place.chainId === chainId)
      .map((place) => ({ chainId: place.chainId, target: this.#init.directories.fs(place.id) }))
  }

  /**
   * Takes the layer on `target` out of service: reads end with EIO, and nobody gets mounts on it until `check` could
   * restore it from something else. True when the target is one of ours.
   */
  async revoke (target: string, reason: SnapshotterError): Promise<boolean> {
    const { store, directories, layers } = this.#init
    const snapshot = store.allLazy().find(({ id }) => directories.fs(id) === target)
    if (snapshot === undefined) {
      const ahead = this.#ahead.places().find(({ id }) => directories.fs(id) === target)
      return ahead !== undefined && await this.#ahead.revoke(ahead.id)
    }
    this.#unavailable.set(snapshot.id, reason.line)
    await layers.unmount(target)
    // Mounts that were handed out before must fail, not find an empty directory in the layer's place.
    await directories.close(snapshot.id)
    return true
  }

  /** Brings back layers of this chain ID that are out of service, if anything can stand in for them. */
  async renew (chainId: string): Promise<void> {
    for (const snapshot of this.#init.store.allLazy().filter(isLazy)) {
      if (snapshot.lazy.chainId === chainId && this.#unavailable.has(snapshot.id)) await this.#restore(snapshot)
    }
  }

  /** After the snapshot's record is gone. */
  forget (id: number): void {
    this.#unavailable.delete(id)
  }

  async unmountAll (): Promise<void> {
    for (const { id } of this.#init.store.allLazy()) await this.#init.layers.unmount(this.#init.directories.fs(id))
  }

  close (): void {
    this.#closing.abort(new SnapshotterError('UNAVAILABLE', 'the snapshotter is shutting down'))
  }

  async #mount (chainId: string, parent: string, labels: Labels): Promise<boolean> {
    const { store, directories } = this.#init
    const signal = this.#deadline(LAZY_PREPARE_DEADLINE_MS, `mounting layer ${chainId} took over ${LAZY_PREPARE_DEADLINE_MS} ms`)
    const ahead = await this.#ahead.take(JSON.stringify([chainId, parent]), async (made) => await abortable(made, signal))
    const made = ahead ?? await this.#make(chainId, parent, labels)
    if (made === null) return false
    const { id, mount } = made
    try {
      store.create({
        kind: 'committed',
        name: internalName(chainId, parent),
        parent,
        labels: acceptLabels({ ...labels, ...mount.labels, [LABEL_LAZY]: 'true', [LABEL_SNAPSHOT_REF]: chainId }),
        lazy: { chainId, restore: mount.restore }
      }, () => {}, id)
    } catch (error) {
      await this.#abandon(id, Promise.resolve())
      throw error
    }
    directories.unprotect(id)
    this.#init.log.info({ chainId, id }, 'layer mounted lazily')
    return true
  }

  /** A mounted directory that nobody sweeps and nobody recorded. */
  async #make (chainId: string, parent: string, labels: Labels, onId = (_: number): void => {}): Promise<MadeMount | null> {
    const { store, directories, layers } = this.#init
    const id = store.reserveId()
    onId(id)
    directories.protect(id)
    const signal = this.#deadline(LAZY_PREPARE_DEADLINE_MS, `mounting layer ${chainId} took over ${LAZY_PREPARE_DEADLINE_MS} ms`)
    let mounting: Promise<LazyMount | null> = Promise.resolve(null)
    try {
      const directory = await directories.make('committed', null)
      directory.place(id)
      mounting = layers.mount({ chainId, parentChain: parent === '' ? null : parent, labels, target: directories.fs(id), signal })
      const mount = await abortable(mounting, signal)
      if (mount !== null) return { id, mount }
      await this.#abandon(id, mounting)
      return null
    } catch (error) {
      // A mount that does not listen to its signal is undone when it settles; nobody waits for it.
      const undone = this.#abandon(id, mounting)
      if (!signal.aborted) await undone
      throw error
    }
  }

  async #abandon (id: number, mounting: Promise<unknown>): Promise<void> {
    await mounting.catch(() => {})
    await this.#init.directories.reclaim(id)
    this.#init.directories.unprotect(id)
  }

  async #restore (snapshot: LazySnapshot): Promise<void> {
    const { store, directories, layers } = this.#init
    await this.#restored.run(String(snapshot.id), async () => {
      const signal = this.#deadline(LAZY_RESTORE_DEADLINE_MS, `restoring layer ${snapshot.lazy.chainId} took over ${LAZY_RESTORE_DEADLINE_MS} ms`)
      try {
        // The database lies on a disk that may lie, and only the restore text is sealed: rows must not trade their layers.
        if (snapshot.info.name !== internalName(snapshot.lazy.chainId, snapshot.info.parent)) {
          throw new SnapshotterError('STATE_INVALID', `snapshot ${snapshot.id} is stored under the name of another layer or parent`)
        }
        await directories.ensure(snapshot.id)
        const renewed = await abortable(layers.restore({ ...snapshot.lazy, target: directories.fs(snapshot.id) }), signal)
        if (renewed !== snapshot.lazy.restore) store.renew(snapshot.id, renewed)
        this.#unavailable.delete(snapshot.id)
      } catch (error) {
        this.#unavailable.set(snapshot.id, asSnapshotterError(error).line)
        throw error
      }
    })
  }

  #fallBack (error: unknown, chainId: string): boolean {
    const reason = asSnapshotterError(error)
    if (this.#init.strict || this.#closing.signal.aborted || isViolation(reason)) {
      this.#init.log.error({ chainId, error: reason.line }, 'lazy layer refused')
      throw reason
    }
    this.#init.log.warn({ chainId, error: reason.line }, 'layer not mounted lazily, an ordinary snapshot serves')
    return false
  }

  #deadline (ms: number, text: string): AbortSignal {
    const timeout = new AbortController()
    const timer = setTimeout(() => timeout.abort(new SnapshotterError('UNAVAILABLE', text)), ms)
    timer.unref()
    return AbortSignal.any([this.#closing.signal, timeout.signal])
  }
}

function isLazy (snapshot: StoredSnapshot): snapshot is LazySnapshot {
  return snapshot.lazy !== null
}

/** Bytes that do not match, or an image that policy forbids: an eager download must not be the way around it. */
function isViolation (error: SnapshotterError): boolean {
  return grpcStatusOf(error.code) === GRPC.DATA_LOSS || error.code === 'POLICY_DENIED'
}

/**
 * One layer on two parents is two snapshots: containerd accepts a remote layer only under the parent's backend name
 * that it asked with (core/metadata/snapshot.go), and an eager parent is named differently in each namespace.
 */
function internalName (chainId: string, parent: string): string {
  if (parent === '') return chainId
  return `${chainId} on ${createHash('sha256').update(parent).digest('hex').slice(0, 32)}`
}
