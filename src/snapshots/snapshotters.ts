// One snapshotter per plugin name, all on one root: `<root>/<name>.sqlite` and `<root>/snapshots/<name>/`. Names come
// with each request; the state of one never shows in another.
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { SNAPSHOTTER_NAMES_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { SingleFlight } from '../base/single-flight.ts'
import type { RequireShifting } from './id-mapping.ts'
import type { LazyLayers } from './lazy-layers.ts'
import type { LazyPlace } from './lazy-snapshots.ts'
import { detectOverlayOptions } from './mount-options.ts'
import { type Settle, Snapshotter } from './snapshotter.ts'

export interface SnapshottersInit {
  /** Absolute; durable. */
  readonly root: string
  readonly layers: LazyLayers
  readonly log: Log
  readonly clock?: Clock
  /** Instead of what the kernel needs. */
  readonly overlayOptions?: readonly string[]
  /** A layer that cannot be mounted lazily is an error. Default: an ordinary snapshot serves. */
  readonly strict?: boolean
  /** Default: files reach the disk whenever the kernel likes. */
  readonly settle?: Settle
  /** Default: whoever mounts will see. */
  readonly requireShifting?: RequireShifting
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
// Characters with a meaning in overlay's mount options.
const UNMOUNTABLE = /[:,\\\s]/

export class Snapshotters {
  readonly #init: Omit<Required<SnapshottersInit>, 'root'>
  readonly #root: string
  readonly #opened = new Map<string, Snapshotter>()
  readonly #opening = new SingleFlight<Snapshotter>()
  #closed = false

  /**
   * Opens every name that was used before and mounts its lazy layers again; when this returns, calls can be served.
   * @throws CONFIG_INVALID for a root that overlay options cannot spell; STATE_INVALID, ENVIRONMENT for a database.
   */
  static async open (init: SnapshottersInit): Promise<Snapshotters> {
    if (!init.root.startsWith('/') || UNMOUNTABLE.test(init.root)) {
      throw new SnapshotterError('CONFIG_INVALID', `root ${JSON.stringify(init.root)} must be absolute, without white space, colons, commas and backslashes`)
    }
    await mkdir(join(init.root, 'snapshots'), { recursive: true, mode: 0o700 })
    const snapshotters = new Snapshotters({
      clock: systemClock,
      strict: false,
      settle: async () => {},
      requireShifting: async () => {},
      ...init,
      overlayOptions: init.overlayOptions ?? await detectOverlayOptions()
    })
    try {
      for (const name of await readdir(join(init.root, 'snapshots'))) if (NAME.test(name)) await snapshotters.get(name)
    } catch (error) {
      await snapshotters.close()
      throw error
    }
    return snapshotters
  }

  private constructor ({ root, ...init }: Required<SnapshottersInit>) {
    this.#root = root
    this.#init = init
  }

  get names (): string[] {
    return [...this.#opened.keys()].sort()
  }

  /** @throws INVALID_ARGUMENT for a name that cannot be a file's, or one too many; UNAVAILABLE after `close`. */
  async get (name: string): Promise<Snapshotter> {
    const opened = this.#opened.get(name)
    if (opened !== undefined) return opened
    if (!NAME.test(name)) throw new SnapshotterError('INVALID_ARGUMENT', `not a snapshotter's name: ${JSON.stringify(name.slice(0, 80))}`)
    if (this.#closed) throw new SnapshotterError('UNAVAILABLE', 'the snapshotter is shutting down')
    return await this.#opening.run(name, async () => {
      if (this.#opened.size >= SNAPSHOTTER_NAMES_MAX) {
        throw new SnapshotterError('INVALID_ARGUMENT', `snapshotter ${name} would be one more than ${SNAPSHOTTER_NAMES_MAX} on this root`)
      }
      const snapshotter = await Snapshotter.open({
        ...this.#init,
        database: join(this.#root, `${name}.sqlite`),
        directory: join(this.#root, 'snapshots', name)
      })
      this.#opened.set(name, snapshotter)
      return snapshotter
    })
  }

  /** The lazily mounted layers of one chain ID, or all, with the name of their snapshotter. */
  lazyPlaces (chainId: string | null = null): Array<LazyPlace & { readonly snapshotter: string }> {
    return [...this.#opened].flatMap(([name, snapshotter]) => snapshotter.lazyPlaces(chainId).map((place) => ({ ...place, snapshotter: name })))
  }

  /** Takes the layer that is mounted on `target` out of service: see LazySnapshots.revoke. */
  async revoke (target: string, reason: SnapshotterError): Promise<void> {
    for (const snapshotter of this.#opened.values()) if (await snapshotter.revoke(target, reason)) return
  }

  /** Brings layers of this chain ID back from what is known by now: see LazySnapshots.renew. @throws what restoring them throws. */
  async renew (chainId: string): Promise<void> {
    for (const snapshotter of this.#opened.values()) await snapshotter.renew(chainId)
  }

  /** Unmounts every lazy layer of every name. */
  async unmountAll (): Promise<void> {
    for (const snapshotter of this.#opened.values()) await snapshotter.unmountAll()
  }

  /** Leaves all mounts. May be called twice. */
  async close (): Promise<void> {
    this.#closed = true
    for (const snapshotter of this.#opened.values()) await snapshotter.close()
  }
}
