// Remembers the images that were resolved here: by chain ID, which layer that is, what lies below it, and its opening,
// which starts when the image is resolved and not when Prepare asks (design §1.2, §2). What it keeps of a layer after the
// pull is small: names and the way to its bytes, no index and nothing of a publisher's length.
import { asCall, currentCall, receivedByThisCall } from '../base/call-id.ts'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { IMAGES_REMEMBERED_MAX, OPEN_DEADLINE_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { identityOf, type OpenedLayer } from '../cache/layer-opener.ts'
import { layerKey } from '../cache/layer-store.ts'
import type { ImagePlan, PlannedLayer } from '../image/plan.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import { ANNOTATION_TOC_DIGEST } from '../oci/annotations.ts'
import type { Opener } from './living-layers.ts'
import { Opening } from './opening.ts'

/** Who stands for a chain ID. */
export interface Holder {
  readonly opening: Opening
  readonly blocks: BlockService
}

export interface BookedLayer extends Holder {
  readonly chainId: string
  /** `layerKey` of the layer as its image plans it; a proven holder may serve in its place. */
  readonly key: string
  /** The layer it lies on. */
  readonly below: BookedLayer | null
}

export interface BookedImage {
  /** Base first. */
  readonly layers: readonly BookedLayer[]
  /** Settles when the last layer is open. */
  readonly opened: Promise<void>
  /** Lets the indexes go: the layers are mounted, or will not be soon. */
  readonly release: () => void
  /** Nobody waits for the pull any more: stops what only it wanted. */
  readonly giveUp: () => void
}

export class ImageBook {
  readonly #opener: Opener
  readonly #log: Log
  /** By chain ID, oldest first. */
  readonly #layers = new Map<string, BookedLayer>()

  constructor (options: { readonly opener: Opener, readonly log: Log }) {
    this.#opener = options.opener
    this.#log = options.log
  }

  /** Books every layer of the image and starts to open all of them, but for those that `held` has under their chain IDs. */
  add (plan: ImagePlan, blocks: BlockService, held: ReadonlyMap<string, Holder> = new Map()): BookedImage {
    const { signal, clear } = deadline(`the layers of manifest ${plan.manifest.digest}`)
    const layers: BookedLayer[] = []
    const own: Opening[] = []
    const goods: Array<Promise<unknown>> = []
    for (const layer of plan.layers) {
      const holder = held.get(layer.chainId) ?? { opening: this.#start(layer, blocks, signal), blocks }
      if (!held.has(layer.chainId)) own.push(holder.opening)
      layers.push({ chainId: layer.chainId, key: layerKey(identityOf(layer)), ...holder, below: layers.at(-1) ?? null })
    }
    const openings = layers.map(async ({ opening }) => { await opening.outcome() })
    Promise.allSettled(openings).then(clear, clear)
    for (const [at, layer] of layers.entries()) {
      goods.push(Promise.all([openings[at], goods.at(-1)]))
      this.#bookWhileGood(layer, goods[at] ?? Promise.resolve())
    }
    const opened = Promise.all(openings).then(() => {})
    opened.catch(() => {}) // told to whoever waits for it; a pull may have failed before
    return {
      layers,
      opened,
      release: () => { for (const { opening } of layers) opening.release() },
      giveUp: () => { for (const opening of own) opening.giveUp() }
    }
  }

  find (chainId: string): BookedLayer | null {
    return this.#layers.get(chainId) ?? null
  }

  /** Forgets what matches, and everything above it. */
  drop (matches: (layer: BookedLayer) => boolean): void {
    for (const [chainId, layer] of this.#layers) if (downwards(layer).some(matches)) this.#layers.delete(chainId)
  }

  #start (layer: PlannedLayer, blocks: BlockService, late: AbortSignal): Opening {
    const given = new AbortController()
    const signal = AbortSignal.any([late, given.signal])
    let received = (): number => 0
    const opened = asCall('open', `open ${layer.digest}`, async () => {
      received = receivedByThisCall()
      return await this.#opener.open(layer, blocks, { signal })
    }, currentCall())
    opened.catch((error: unknown) => {
      if (given.signal.aborted) this.#log.info({ layer: layer.digest }, 'layer is not opened any more, its pull was given up')
      else this.#log.warn({ layer: layer.digest, error: asSnapshotterError(error).line }, 'layer did not open')
    })
    const stop = (): void => { given.abort(new SnapshotterError('CANCELLED', 'the pull was given up')) }
    return new Opening({ opened, received, stop }, againBy(withoutFreight(layer), blocks, this.#opener))
  }

  /** A chain ID is a shared name: an image that fails to open must not stand in the way of another one that claims it. */
  #bookWhileGood (layer: BookedLayer, good: Promise<unknown>): void {
    const before = this.#layers.get(layer.chainId)
    this.#remember(layer)
    good.catch(() => {
      if (this.#layers.get(layer.chainId) !== layer) return
      if (before === undefined) this.#layers.delete(layer.chainId)
      else this.#layers.set(layer.chainId, before)
    })
  }

  #remember (layer: BookedLayer): void {
    this.#layers.delete(layer.chainId)
    this.#layers.set(layer.chainId, layer)
    for (const oldest of this.#layers.keys()) {
      if (this.#layers.size <= IMAGES_REMEMBERED_MAX) break
      this.#layers.delete(oldest)
    }
  }
}

/** The layer, and those that it lies on, nearest first. */
export function downwards (layer: BookedLayer): BookedLayer[] {
  const chain: BookedLayer[] = []
  for (let next: BookedLayer | null = layer; next !== null; next = next.below) chain.push(next)
  return chain
}

/** In a scope of its own: a closure keeps everything that its neighbours see. */
function againBy (layer: PlannedLayer, blocks: BlockService, opener: Opener): () => Promise<OpenedLayer> {
  return async () => {
    const { signal, clear } = deadline(`layer ${layer.digest}`)
    return await opener.open(layer, blocks, { signal }).finally(clear)
  }
}

/** What it takes to open the layer: annotations are as long as their publisher likes. */
function withoutFreight ({ digest, diffId, chainId, mediaType, size, annotations, cid }: PlannedLayer): PlannedLayer {
  const kept = Object.entries(annotations).filter(([key]) => key === ANNOTATION_TOC_DIGEST)
  return { digest, diffId, chainId, mediaType, size, cid, annotations: Object.fromEntries(kept) }
}

/** A timeout of its own would say neither what nor on what. */
function deadline (what: string): { readonly signal: AbortSignal, readonly clear: () => void } {
  const late = new AbortController()
  const timer = setTimeout(() => {
    late.abort(new SnapshotterError('UNAVAILABLE', `${what} did not open within ${OPEN_DEADLINE_MS} ms`))
  }, OPEN_DEADLINE_MS).unref()
  return { signal: late.signal, clear: () => { clearTimeout(timer) } }
}
