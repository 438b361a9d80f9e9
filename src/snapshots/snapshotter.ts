// One containerd snapshotter: keys, names and parents on one side, overlay directories and lazy layers on the other.
// Every method is safe to call concurrently; each writes its record in one transaction, before it answers. Contract:
// containerd core/snapshots/snapshotter.go; the remote handshake: core/metadata/snapshot.go createSnapshot.
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { SNAPSHOT_KEY_BYTES_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { isDigest } from '../verify/digest.ts'
import { SnapshotDirectories, ownerOf } from './directories.ts'
import { diskUsage } from './disk-usage.ts'
import { parseFilters } from '../base/filters.ts'
import { acceptLabels, type Labels } from '../base/labels.ts'
import type { LazyLayers } from './lazy-layers.ts'
import { type LazyPlace, LazySnapshots } from './lazy-snapshots.ts'
import { idMapOf, isShifted, type Owner, type RequireShifting } from './id-mapping.ts'
import { mountsOf } from './mount-options.ts'
import type { ExpectedLayer } from './mounts-ahead.ts'
import { type Kind, LABEL_PARENT_CHAIN, LABEL_SNAPSHOT_REF, type Mount, NO_USAGE, snapshotField, type SnapshotInfo, type Usage } from './snapshot.ts'
import { quote, SnapshotStore, type StoredSnapshot } from './store.ts'

/** Resolves when everything written below the directory so far survives power loss. */
export type Settle = (directory: string) => Promise<void>

export interface SnapshotterInit {
  /** File of the metadata. */
  readonly database: string
  /** Parent of all snapshot directories. */
  readonly directory: string
  readonly layers: LazyLayers
  readonly overlayOptions: readonly string[]
  readonly strict: boolean
  readonly settle: Settle
  readonly requireShifting: RequireShifting
  readonly log: Log
  readonly clock: Clock
}

export class Snapshotter {
  readonly #store: SnapshotStore
  readonly #directories: SnapshotDirectories
  readonly #lazy: LazySnapshots
  readonly #overlayOptions: readonly string[]
  readonly #settle: Settle
  readonly #requireShifting: RequireShifting
  readonly #log: Log
  /** Removals that were answered and still go on. */
  readonly #background = new Set<Promise<void>>()
  readonly #closing = new AbortController()

  /**
   * Opens the store, sets orphans of a crash aside and mounts every lazy layer again.
   * @throws STATE_INVALID, ENVIRONMENT for the database.
   */
  static async open (init: SnapshotterInit): Promise<Snapshotter> {
    const directories = new SnapshotDirectories(init.directory, init.layers, init.log)
    const highest = await directories.open()
    const store = new SnapshotStore(init.database, init.clock)
    const snapshotter = new Snapshotter(init, store, directories)
    try {
      store.raiseId(highest)
      await directories.condemn(() => store.ids())
      await snapshotter.#forgetUnanswered()
      await snapshotter.#lazy.restoreAll()
    } catch (error) {
      store.close()
      throw error
    }
    snapshotter.#inBackground(() => directories.sweep())
    return snapshotter
  }

  private constructor (init: SnapshotterInit, store: SnapshotStore, directories: SnapshotDirectories) {
    this.#store = store
    this.#directories = directories
    this.#overlayOptions = init.overlayOptions
    this.#settle = init.settle
    this.#requireShifting = init.requireShifting
    this.#log = init.log
    this.#lazy = new LazySnapshots({ store, directories, layers: init.layers, log: init.log, strict: init.strict })
  }

  /**
   * A writable snapshot. With the label `containerd.io/snapshot.ref` the layer is mounted lazily if it can be.
   * @throws ALREADY_EXISTS also when it was: that is how a client learns to skip the download; FAILED_PRECONDITION for a layer
   * without the parent that it says it has.
   */
  async prepare (key: string, parent: string, labels: Labels): Promise<Mount[]> {
    const accepted = acceptLabels(labels)
    this.#refuseRebase(accepted, parent)
    const chainId = accepted[LABEL_SNAPSHOT_REF]
    if (chainId !== undefined && isDigest(chainId)) {
      this.#refuseTaken(acceptKey(key))
      if (await this.#lazy.provide(chainId, parent, accepted)) {
        throw new SnapshotterError('ALREADY_EXISTS', `target snapshot ${quote(chainId)} is mounted lazily`)
      }
    }
    return await this.#create('active', key, parent, accepted)
  }

  /** Lazy layers that will be asked for, base first: mounted beforehand. See LazySnapshots.expect. */
  expect (layers: readonly ExpectedLayer[], until: Promise<unknown>): void {
    this.#lazy.expect(layers, until)
  }

  /** A read-only snapshot; never lazy by itself. */
  async view (key: string, parent: string, labels: Labels): Promise<Mount[]> {
    return await this.#create('view', key, parent, acceptLabels(labels))
  }

  /** @throws NOT_FOUND; FAILED_PRECONDITION of a committed one; UNAVAILABLE while a lazy layer below cannot be read. */
  async mounts (key: string): Promise<Mount[]> {
    const [own, ...parents] = this.#store.chain(key)
    if (own.info.kind === 'committed') throw new SnapshotterError('FAILED_PRECONDITION', `snapshot ${quote(key)} is committed and has no mounts`)
    await this.#lazy.check(parents)
    return this.#mountsOf(own.info.kind, own.id, parents, await this.#shiftOf(own.info.labels, parents))
  }

  /**
   * `parent`, when not empty, must be the recorded one: nothing is rebased. Labels are those of this call only. The files survive power loss, too.
   * Succeeds when it is made again because its answer was lost: see SnapshotStore.toCommit.
   */
  async commit (name: string, key: string, labels: Labels, parent = ''): Promise<void> {
    const accepted = acceptLabels(labels)
    const { id, info } = this.#store.toCommit(key, name)
    if (parent !== '' && parent !== info.parent) {
      throw new SnapshotterError('INVALID_ARGUMENT', `snapshot ${quote(key)} was prepared on ${quote(info.parent)}, cannot commit it on ${quote(parent)}`)
    }
    const usage = info.kind === 'active' ? await diskUsage(this.#directories.fs(id), this.#closing.signal) : NO_USAGE
    // Whoever unpacked the layer does not fsync, and a committed name stands for whole files for ever.
    if (info.kind === 'active') await this.#settle(this.#directories.fs(id))
    this.#store.commit(key, acceptKey(name), accepted, usage)
  }

  /** Its files go in the background; `cleanup` waits for them. @throws NOT_FOUND, FAILED_PRECONDITION with children. */
  async remove (key: string): Promise<void> {
    const { id } = this.#store.remove(key)
    this.#lazy.forget(id)
    this.#inBackground(() => this.#directories.reclaim(id))
  }

  stat (key: string): SnapshotInfo {
    return this.#store.get(key).info
  }

  update (name: string, labels: Labels, paths: readonly string[]): SnapshotInfo {
    return this.#store.update(name, labels, paths)
  }

  /** Blocks of matching snapshots; nothing is locked in between. @throws INVALID_ARGUMENT for a filter, before the first block. */
  list (filters: readonly string[]): Iterable<SnapshotInfo[]> {
    const matches = parseFilters(filters, snapshotField)
    const store = this.#store
    return (function * () {
      for (let page = store.page(null); page.length > 0; page = store.page(page.at(-1) ?? null)) {
        const infos = page.map((snapshot) => snapshot.info).filter(matches)
        if (infos.length > 0) yield infos
      }
    })()
  }

  /** Of the snapshot alone. Lazy layers hold nothing on this disk that is theirs: zero. */
  async usage (key: string): Promise<Usage> {
    const { id, info, usage } = this.#store.get(key)
    return info.kind === 'active' ? await diskUsage(this.#directories.fs(id), this.#closing.signal) : usage
  }

  /** Removes whatever no record names. */
  async cleanup (): Promise<void> {
    await Promise.all(this.#background)
    await this.#directories.condemn(() => this.#store.ids())
    await this.#directories.sweep()
  }

  /** The lazily mounted layers of one chain ID, or all. */
  lazyPlaces (chainId: string | null = null): LazyPlace[] {
    return this.#lazy.places(chainId)
  }

  /** See LazySnapshots.revoke. */
  async revoke (target: string, reason: SnapshotterError): Promise<boolean> {
    return await this.#lazy.revoke(target, reason)
  }

  /** See LazySnapshots.renew. */
  async renew (chainId: string): Promise<void> {
    await this.#lazy.renew(chainId)
  }

  /** Unmounts all lazy layers: containers on them lose their files. */
  async unmountAll (): Promise<void> {
    await this.#lazy.unmountAll()
  }

  /** Leaves every mount where it is. May be called twice. */
  async close (): Promise<void> {
    this.#closing.abort(new SnapshotterError('UNAVAILABLE', 'the snapshotter is shutting down'))
    this.#lazy.close()
    await Promise.all(this.#background)
    this.#store.close()
  }

  async #create (kind: 'active' | 'view', key: string, parent: string, labels: Labels): Promise<Mount[]> {
    this.#refuseTaken(acceptKey(key))
    this.#store.requireParent(parent)
    const parents: readonly StoredSnapshot[] = parent === '' ? [] : this.#store.chain(parent)
    await this.#lazy.check(parents)
    const shift = await this.#shiftOf(labels, parents)
    const owner = idMapOf(labels)?.root ?? await this.#ownerOf(parents[0])
    const directory = await this.#directories.make(kind, owner)
    try {
      const id = this.#store.create({ kind, name: key, parent, labels, lazy: null }, directory.place)
      await directory.settle().catch((error: unknown) => {
        this.#store.remove(key)
        throw error
      })
      return this.#mountsOf(kind, id, parents, shift)
    } catch (error) {
      await directory.discard()
      throw error
    }
  }

  /** Records whose directory did not reach the disk before the power failed: their Prepare was never answered. */
  async #forgetUnanswered (): Promise<void> {
    for (const { id, info } of this.#store.uncommitted()) {
      if (await this.#directories.has(id)) continue
      this.#store.remove(info.name)
      this.#log.warn({ key: info.name, id }, 'a snapshot without a directory is forgotten')
    }
  }

  /** Of its root directory: containers with other ids must be able to write at `/`. Null without a snapshot. */
  async #ownerOf (snapshot: StoredSnapshot | undefined): Promise<Owner | null> {
    return snapshot === undefined ? null : await ownerOf(this.#directories.fs(snapshot.id))
  }

  /** Options by which the parents' ids are shifted for a snapshot with these labels. @throws UNSUPPORTED, ENVIRONMENT where that cannot be. */
  async #shiftOf (labels: Labels, parents: readonly StoredSnapshot[]): Promise<readonly string[]> {
    const map = idMapOf(labels)
    const nearest = map === null ? null : await this.#ownerOf(parents[0])
    if (map === null || nearest === null || isShifted(map, nearest)) return []
    await this.#requireShifting(parents.some(({ lazy }) => lazy !== null))
    return map.options
  }

  #mountsOf (kind: Kind, id: number, parents: readonly StoredSnapshot[], shift: readonly string[]): Mount[] {
    return mountsOf({
      kind,
      shift,
      upper: this.#directories.fs(id),
      work: this.#directories.work(id),
      parents: parents.map((snapshot) => this.#directories.fs(snapshot.id))
    }, this.#overlayOptions)
  }

  /**
   * Where the plugin is said to rebase, containerd 2 unpacks in parallel: it prepares each layer on nothing and names the parent at
   * Commit. A lazy layer is committed by its Prepare, so it would stay on nothing, and a container would see the last layer alone.
   */
  #refuseRebase (labels: Labels, parent: string): void {
    const wanted = labels[LABEL_PARENT_CHAIN]
    if (wanted === undefined || parent !== '') return
    const refusal = new SnapshotterError('FAILED_PRECONDITION',
      `a layer on ${quote(wanted)} was prepared without its parent; take the capability "rebase" from this plugin in containerd's proxy_plugins`)
    // Up to 2.3 containerd tells nobody.
    this.#log.error({ chainId: labels[LABEL_SNAPSHOT_REF], error: refusal.line }, 'layer refused')
    throw refusal
  }

  #refuseTaken (key: string): void {
    if (this.#store.has(key)) throw new SnapshotterError('ALREADY_EXISTS', `snapshot ${quote(key)} exists already`)
  }

  #inBackground (work: () => Promise<void>): void {
    const running = work()
      .catch((error: unknown) => this.#log.warn({ error: asSnapshotterError(error).line }, 'background removal failed'))
      .finally(() => this.#background.delete(running))
    this.#background.add(running)
  }
}

function acceptKey (key: string): string {
  const bytes = Buffer.byteLength(key)
  if (bytes > 0 && bytes <= SNAPSHOT_KEY_BYTES_MAX) return key
  throw new SnapshotterError('INVALID_ARGUMENT', `a snapshot key of ${bytes} bytes: it must have 1 to ${SNAPSHOT_KEY_BYTES_MAX}`)
}
