// Chain IDs are shared names: containerd hands a committed one to any later image without asking us again. So an image may
// book a chain ID only when nobody else holds it with other bytes, or when the one who does was proven (his layer then
// serves both), or was caught lying, or when he cannot be proven, is not in use, and the newcomer was proven instead.
import { sleep } from '../base/clock.ts'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { HOLDER_LOOK_MS, PROOF_WAIT_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'
import { identityOf, type OpenedLayer } from '../cache/layer-opener.ts'
import { layerKey } from '../cache/layer-store.ts'
import type { ImagePlan, PlannedLayer } from '../image/plan.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { BookedImage, Holder as Standing, ImageBook } from './image-book.ts'
import type { Opener } from './living-layers.ts'
import { Opening } from './opening.ts'
import type { LayerProofs } from './proof.ts'

interface ClaimsInit {
  readonly book: ImageBook
  readonly proofs: LayerProofs
  readonly opener: Opener
  readonly mounts: LayerMounts
  /** Targets on which layers of this chain ID are mounted. */
  readonly targetsOf: (chainId: string) => readonly string[]
  readonly log: Log
  readonly waitMs?: number
}

/** Who stands for a chain ID now. */
interface Holder extends Standing {
  /** Containers may run on it. */
  readonly mounted: boolean
}

interface OpenClaim {
  readonly layer: PlannedLayer
  readonly holders: readonly Holder[]
}

export class ChainClaims {
  readonly #init: ClaimsInit
  readonly #waitMs: number
  /** Nobody books between another's look and his booking. */
  readonly #deciding = new Semaphore(1)

  constructor (init: ClaimsInit) {
    this.#init = init
    this.#waitMs = init.waitMs ?? PROOF_WAIT_MS
  }

  /**
   * Books the image as soon as nothing stands in the way of any of its chain IDs.
   * @throws UNAVAILABLE when a holder could not be proven in time: he may be right; the lie of the image itself.
   */
  async book (plan: ImagePlan, blocks: BlockService, signal: AbortSignal): Promise<BookedImage> {
    for (;;) {
      const decision = await this.#deciding.run(async () => await this.#decide(plan, blocks), { signal })
      if ('layers' in decision) return decision
      for (const { layer, holders } of decision.open) await this.#settle(layer, holders, blocks, signal)
    }
  }

  /** Waits for nothing but the disk. */
  async #decide (plan: ImagePlan, blocks: BlockService): Promise<BookedImage | { readonly open: readonly OpenClaim[] }> {
    const held = new Map<string, Standing>()
    const open: OpenClaim[] = []
    for (const layer of plan.layers) {
      const holders = this.#others(layer)
      const states = await Promise.all(holders.map(async (holder) => await this.#stateOf(holder)))
      const unproven = holders.filter((_, at) => states[at] === 'open')
      const proven = holders.find((_, at) => states[at] === 'proven')
      if (unproven.length > 0) open.push({ layer, holders: unproven })
      else if (proven !== undefined) held.set(layer.chainId, { opening: proven.opening, blocks: proven.blocks })
    }
    return open.length > 0 ? { open } : this.#init.book.add(plan, blocks, held)
  }

  /** Holders of the chain ID with another blob, TOC or place. */
  #others (layer: PlannedLayer): Holder[] {
    const key = layerKey(identityOf(layer))
    const { book, mounts, opener, targetsOf } = this.#init
    const mounted = targetsOf(layer.chainId).flatMap((target) => {
      const found = mounts.all().get(target)
      if (found === undefined || found.layer.key === key) return []
      return [{ opening: Opening.of(found.layer, reopening(found.layer.key, opener)), blocks: found.blocks, mounted: true }]
    })
    const booked = book.find(layer.chainId)
    if (booked === null || booked.key === key) return mounted
    return [...mounted, { opening: booked.opening, blocks: booked.blocks, mounted: false }]
  }

  /** One that does not open holds nothing; one that lied is on its way out. */
  async #stateOf ({ opening }: Holder): Promise<'proven' | 'open' | 'nothing'> {
    if (opening.isUnderWay) return 'open'
    // Open means: in memory, or in its record. Without that it would be the network, and nobody may book meanwhile.
    const layer = await Promise.race([opening.opened().catch(() => null), sleep(HOLDER_LOOK_MS).then(() => 'late' as const)])
    if (layer === 'late') return 'open'
    if (layer === null) return 'nothing'
    return await this.#init.proofs.judge(layer).then((proven) => proven ? 'proven' : 'open', () => 'nothing')
  }

  async #settle (layer: PlannedLayer, holders: readonly Holder[], blocks: BlockService, signal: AbortSignal): Promise<void> {
    this.#init.log.info({ layer: layer.digest, chainId: layer.chainId, holders: holders.length }, 'chain id is held by another layer, proving that')
    const late = new AbortController()
    const timer = setTimeout(() => { late.abort(new SnapshotterError('UNAVAILABLE', `no proof within ${this.#waitMs} ms`)) }, this.#waitMs)
    try {
      await this.#proveAll(layer, holders, blocks, signal, AbortSignal.any([signal, late.signal]))
    } finally {
      clearTimeout(timer)
    }
  }

  async #proveAll (layer: PlannedLayer, holders: readonly Holder[], blocks: BlockService, signal: AbortSignal, bound: AbortSignal): Promise<void> {
    const { proofs } = this.#init
    for (const holder of holders) {
      const opened = await holder.opening.opened().catch(() => null)
      if (opened === null) continue
      try {
        await proofs.prove(opened, holder.blocks, bound)
      } catch (error) {
        signal.throwIfAborted()
        if (await proofs.judge(opened).then(() => false, () => true)) continue // it lied: gone by now
        await this.#displace(layer, holder, opened, blocks, asSnapshotterError(error), signal)
      }
    }
  }

  /** The holder cannot be proven: the newcomer must be, and nobody may stand on the holder. */
  async #displace (layer: PlannedLayer, holder: Holder, opened: OpenedLayer, blocks: BlockService, why: SnapshotterError, signal: AbortSignal): Promise<void> {
    if (!holder.mounted) {
      const own = await this.#init.opener.open(layer, blocks, { signal })
      await this.#init.proofs.prove(own, blocks, signal)
      this.#init.book.drop(({ opening }) => opening === holder.opening)
      return
    }
    throw new SnapshotterError('UNAVAILABLE', `layer ${layer.digest}: chain ID ${layer.chainId} is held by layer ${opened.record.digest}, ` +
      `which could not be proven yet (${why.line}); try again, or remove the image that holds it`)
  }
}

function reopening (key: string, opener: Opener): () => Promise<OpenedLayer> {
  return async () => {
    const layer = await opener.reopen(key)
    if (layer === null) throw new SnapshotterError('UNAVAILABLE', `the record of layer ${key} is gone; pull the image again`)
    return layer
  }
}
