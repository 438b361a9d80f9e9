// Remembers the images that were resolved here: by chain ID, which layer that is, what lies below it, and its opening,
// which starts when the image is resolved and not when Prepare asks (design §1.2, §2).
import { asCall, currentCall } from '../base/call-id.ts'
import { SnapshotterError } from '../base/errors.ts'
import { IMAGES_REMEMBERED_MAX, OPEN_DEADLINE_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { LayerOpener, OpenedLayer } from '../cache/layer-opener.ts'
import type { ImagePlan, PlannedLayer } from '../image/plan.ts'
import type { BlockService } from '../ipfs/blocks.ts'

export interface BookedLayer {
  readonly chainId: string
  readonly planned: PlannedLayer
  readonly blocks: BlockService
  readonly opened: Promise<OpenedLayer>
  /** Nearest first. */
  readonly lowers: readonly BookedLayer[]
}

export interface BookedImage {
  /** Base first. */
  readonly layers: readonly BookedLayer[]
  /** Settles when the last layer is open. */
  readonly opened: Promise<void>
}

export class ImageBook {
  readonly #opener: LayerOpener
  readonly #log: Log
  /** By chain ID, oldest first. */
  readonly #layers = new Map<string, BookedLayer>()

  constructor (options: { readonly opener: LayerOpener, readonly log: Log }) {
    this.#opener = options.opener
    this.#log = options.log
  }

  /** Books every layer of the image and starts to open all of them, but for those that `held` has under their chain IDs. */
  add (plan: ImagePlan, blocks: BlockService, held: ReadonlyMap<string, Omit<BookedLayer, 'lowers'>> = new Map()): BookedImage {
    const { signal, clear } = deadline(plan)
    const booked: BookedLayer[] = []
    for (const layer of plan.layers) {
      const lowers = booked.toReversed()
      const proven = held.get(layer.chainId)
      if (proven !== undefined) {
        booked.push({ ...proven, lowers })
        continue
      }
      const opened = asCall('open', `open ${layer.digest}`, async () => await this.#opener.open(layer, blocks, { signal }), currentCall())
      opened.catch((error: unknown) => { this.#log.warn({ layer: layer.digest, error: String(error) }, 'layer did not open') })
      booked.push({ chainId: layer.chainId, planned: layer, blocks, opened, lowers })
    }
    Promise.allSettled(booked.map(async ({ opened }) => await opened)).then(clear, clear)
    for (const layer of booked) this.#bookWhileGood(layer)
    const opened = Promise.all(booked.map(async (layer) => await layer.opened)).then(() => {})
    opened.catch(() => {}) // told to whoever waits for it; a pull may have failed before
    return { layers: booked, opened }
  }

  find (chainId: string): BookedLayer | null {
    return this.#layers.get(chainId) ?? null
  }

  /** Forgets what matches, and everything above it. */
  drop (matches: (layer: BookedLayer) => boolean): void {
    for (const [chainId, layer] of this.#layers) if ([layer, ...layer.lowers].some(matches)) this.#layers.delete(chainId)
  }

  /** A chain ID is a shared name: an image that fails to open must not stand in the way of another one that claims it. */
  #bookWhileGood (layer: BookedLayer): void {
    const before = this.#layers.get(layer.chainId)
    this.#remember(layer)
    Promise.all([layer, ...layer.lowers].map(async ({ opened }) => await opened)).catch(() => {
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

/** A timeout of its own would say neither what nor on what. */
function deadline ({ manifest }: ImagePlan): { readonly signal: AbortSignal, readonly clear: () => void } {
  const late = new AbortController()
  const timer = setTimeout(() => {
    late.abort(new SnapshotterError('UNAVAILABLE', `the layers of manifest ${manifest.digest} did not open within ${OPEN_DEADLINE_MS} ms`))
  }, OPEN_DEADLINE_MS).unref()
  return { signal: late.signal, clear: () => { clearTimeout(timer) } }
}
