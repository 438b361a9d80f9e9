// Puts proofs, claims and policy together while the daemon starts: mounts exist before layers can be judged, and layers are
// judged (while snapshots are restored) before there are snapshots that a policy could act on.
import { asSnapshotterError } from '../base/errors.ts'
import { STOPPED_CONTAINERS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Recent } from '../base/recent.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { LayerStore } from '../cache/layer-store.ts'
import type { Config } from '../config/load.ts'
import type { DataPlane } from '../mount/data-plane.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import type { ImageBook } from './image-book.ts'
import type { Opener } from './living-layers.ts'
import { ReadPolicy, type StoppedByPolicy } from './policy.ts'
import { PolicedReads } from './policy-reads.ts'
import { type BlobStream, LayerProofs } from './proof.ts'
import { ChainClaims } from './proof-claims.ts'
import { ProofPace } from './proof-pace.ts'

interface Judges {
  /** The blobs that proofs read. */
  readonly stream?: BlobStream
  readonly store: LayerStore
  readonly opener: Opener
  readonly book: ImageBook
  readonly mounts: LayerMounts
}

export class Trust {
  readonly #config: Config
  readonly #log: Log
  readonly pace: ProofPace
  /** Containers that the policy stopped since the start. */
  readonly stopped = new Recent<StoppedByPolicy>(STOPPED_CONTAINERS_MAX)
  readonly #policy = Promise.withResolvers<ReadPolicy>()
  #ready: ReadPolicy | null = null

  constructor (config: Config, log: Log) {
    this.#config = config
    this.#log = log
    this.pace = new ProofPace({ afterMs: config.proveAfterMs, bytesPerSecond: config.proveBytesPerSecond })
    this.#policy.promise.catch(() => {})
  }

  /** What the supplier answers through: failed reads and wrong bytes come to the policy. */
  policedReads (plane: DataPlane, admit: ConstructorParameters<typeof PolicedReads>[0]['admit']): PolicedReads {
    plane.onRejected(async (...what) => { await this.#ready?.rejected(...what) })
    return new PolicedReads({
      plane,
      admit,
      deadlineMs: this.#config.onFailure === 'kill' ? this.#config.readDeadlineMs : null,
      onFailed: async (name, reason) => { await this.#ready?.failed(name, reason) }
    })
  }

  /** Needs the snapshots only when it is asked, after `act`. */
  judge ({ store, opener, book, mounts, stream }: Judges, snapshotters: () => Snapshotters): { readonly proofs: LayerProofs, readonly claims: ChainClaims } {
    const log = this.#log
    const isUsed = (key: string): boolean => [...mounts.all().values()].some(({ layer }) => layer.key === key)
    const proofs = new LayerProofs({ store, pace: this.pace, log, isUsed, ...stream === undefined ? {} : { stream } })
    proofs.onLie(async (layer, lie) => { await this.#lied(layer, lie) })
    const targetsOf = (chainId: string): string[] => snapshotters().lazyPlaces(chainId).map(({ target }) => target)
    return { proofs, claims: new ChainClaims({ book, proofs, opener, mounts, targetsOf, log }) }
  }

  /** From now on the policy acts, also on what was found before. */
  act ({ book, mounts }: Pick<Judges, 'book' | 'mounts'>, proofs: LayerProofs, snapshotters: Snapshotters): void {
    this.#ready = new ReadPolicy({ config: this.#config, log: this.#log, book, mounts, proofs, snapshotters, stopped: this.stopped })
    this.#policy.resolve(this.#ready)
  }

  close (): void {
    this.#ready?.close()
  }

  async #lied (layer: OpenedLayer, lie: ReturnType<typeof asSnapshotterError>): Promise<void> {
    const told = this.#policy.promise.then(async (policy) => { await policy.lied(layer, lie) })
    // While snapshots are restored nobody may wait for what comes after that.
    if (this.#ready !== null) await told
    else told.catch((error: unknown) => { this.#log.error({ layer: layer.record.digest, error: asSnapshotterError(error).line }, 'policy failed') })
  }
}
