// What happens to containers when a layer of theirs lied (`on_violation`) or cannot be read (`on_failure`): with "kill" they
// are stopped through containerd, each with a line in the log. Containers that were just being started are found by later
// looks. A layer that lied goes out of service in any case.
import { sleep, systemClock } from '../base/clock.ts'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { STOP_DEADLINE_MS, STOP_ROUNDS_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Recent } from '../base/recent.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { Config } from '../config/load.ts'
import { type StoppedContainer, stopContainers } from '../grpc/stop-containers.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import type { ImageBook } from './image-book.ts'
import type { LayerProofs } from './proof.ts'

export interface StoppedByPolicy extends Omit<StoppedContainer, 'error'> {
  /** Milliseconds since 1970. */
  readonly at: number
  /** Digest. */
  readonly layer: string
  /** Why: `CODE: what, on what`. */
  readonly line: string
}

interface PolicyInit {
  readonly config: Pick<Config, 'containerdAddress' | 'onFailure' | 'onViolation'>
  readonly book: ImageBook
  readonly mounts: LayerMounts
  readonly proofs: LayerProofs
  readonly snapshotters: Pick<Snapshotters, 'lazyPlaces' | 'revoke' | 'renew'>
  readonly log: Log
  /** Hears of every container that was stopped. */
  readonly stopped: Recent<StoppedByPolicy>
  /** In place of containerd's API. */
  readonly stop?: typeof stopContainers
}

type Place = ReturnType<Snapshotters['lazyPlaces']>[number]

export class ReadPolicy {
  readonly #init: PolicyInit
  /** Layers whose containers are being stopped, by key. */
  readonly #stopping = new Map<string, Promise<void>>()
  readonly #closing = new AbortController()

  constructor (init: PolicyInit) {
    this.#init = init
  }

  /** The layer is not what its manifest says: its mounts end, its containers with them, and others may have its chain IDs. */
  async lied (layer: OpenedLayer, lie: SnapshotterError): Promise<void> {
    const { book, config, snapshotters, log } = this.#init
    book.drop(({ key }) => key === layer.key)
    const places = this.#placesOf(layer.key)
    // First the containers: one that sees EIO before it ends could act on it.
    if (config.onViolation === 'kill') await this.#stop(layer, places, lie)
    for (const { target } of places) await snapshotters.revoke(target, lie)
    const chainIds = [...new Set(places.map(({ chainId }) => chainId))]
    log.error({ layer: layer.record.digest, chainIds, error: lie.line }, 'lying layer taken out of service')
    for (const chainId of chainIds) {
      await snapshotters.renew(chainId).catch((error: unknown) => {
        log.info({ chainId, error: asSnapshotterError(error).line }, 'chain id stays out of service')
      })
    }
  }

  /** Supplied chunks did not match their digests: what `DataPlane.onRejected` tells. Ends before the reads that wait do. */
  async rejected (fileName: string, first: number, count: number, reason: string): Promise<void> {
    const layer = this.#init.mounts.layers().get(fileName)
    if (layer === undefined || this.#init.config.onViolation !== 'kill') return
    const chunks = `chunks ${first} to ${first + count - 1}`
    const lie = new SnapshotterError('DIGEST_MISMATCH', `layer ${layer.record.digest}: ${chunks} are not what its TOC says (${reason})`)
    await this.#init.proofs.condemn(layer, lie)
  }

  /** A read failed for good. Ends when its containers did, or after STOP_DEADLINE_MS. */
  async failed (fileName: string, code: string): Promise<void> {
    const layer = this.#init.mounts.layers().get(fileName)
    if (layer === undefined || this.#init.config.onFailure !== 'kill') return
    const why = new SnapshotterError('UNAVAILABLE', `layer ${layer.record.digest} cannot be read (${code})`)
    await this.#stop(layer, this.#placesOf(layer.key), why)
  }

  close (): void {
    this.#closing.abort()
  }

  #placesOf (key: string): Place[] {
    const using = [...this.#init.mounts.all()].filter(([, { layer, lowers }]) => [layer, ...lowers].some((one) => one.key === key))
    const targets = new Set(using.map(([target]) => target))
    return this.#init.snapshotters.lazyPlaces().filter(({ target }) => targets.has(target))
  }

  /** Resolves after the first look. */
  async #stop (layer: OpenedLayer, places: readonly Place[], why: SnapshotterError): Promise<void> {
    const running = this.#stopping.get(layer.key)
    if (running !== undefined) {
      await running
      return
    }
    const rounds = this.#rounds(layer, places, why)
    this.#stopping.set(layer.key, rounds.first)
    rounds.all.finally(() => { this.#stopping.delete(layer.key) }).catch(() => {})
    await Promise.race([rounds.first, sleep(STOP_DEADLINE_MS, this.#closing.signal).catch(() => {})])
  }

  #rounds (layer: OpenedLayer, places: readonly Place[], why: SnapshotterError): { readonly first: Promise<void>, readonly all: Promise<void> } {
    const chainIds = new Map<string, Set<string>>()
    for (const { snapshotter, chainId } of places) chainIds.set(snapshotter, (chainIds.get(snapshotter) ?? new Set()).add(chainId))
    const look = this.#look.bind(this, layer, chainIds, why, systemClock.nowNs())
    const first = look()
    const all = first.then(async () => {
      for (const pause of STOP_ROUNDS_MS.slice(1)) {
        await sleep(pause, this.#closing.signal)
        await look()
      }
    })
    return { first, all }
  }

  async #look (layer: OpenedLayer, chainIds: ReadonlyMap<string, ReadonlySet<string>>, why: SnapshotterError, beforeNs: bigint): Promise<void> {
    const { config, log, stop = stopContainers } = this.#init
    let stopped: readonly StoppedContainer[] = []
    try {
      stopped = chainIds.size === 0 ? [] : await stop(config.containerdAddress, chainIds, beforeNs)
    } catch (error) {
      log.error({ layer: layer.record.digest, error: asSnapshotterError(error).line }, 'containers could not be stopped')
    }
    for (const { namespace, container, image, error } of stopped) {
      const fields = { namespace, container, image, layer: layer.record.digest, code: why.code, reason: why.message }
      if (error === null) {
        log.error(fields, 'container stopped by policy')
        this.#init.stopped.add({ at: systemClock.now(), namespace, container, image, layer: layer.record.digest, line: why.line })
      } else log.error({ ...fields, error }, 'container not stopped')
    }
  }
}
