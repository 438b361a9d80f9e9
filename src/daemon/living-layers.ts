// Opens layers, and shares those that somebody still holds: the layers of an image are named by every layer above them, and
// each would be read from its record as often.
import { access } from 'node:fs/promises'
import { SingleFlight } from '../base/single-flight.ts'
import type { LayerOpener, OpenedLayer } from '../cache/layer-opener.ts'
import { identityOf } from '../cache/layer-opener.ts'
import { layerKey } from '../cache/layer-store.ts'
import type { BlockService, Waits } from '../ipfs/blocks.ts'
import type { PlannedLayer } from '../image/plan.ts'

export type Opener = Pick<LayerOpener, 'open' | 'reopen'>

export class LivingLayers implements Opener {
  readonly #opener: Opener
  readonly #living = new Map<string, WeakRef<OpenedLayer>>()
  readonly #reopening = new SingleFlight<OpenedLayer | null>()
  readonly #collected = new FinalizationRegistry<string>((key) => {
    if (this.#living.get(key)?.deref() === undefined) this.#living.delete(key)
  })

  constructor (opener: Opener) {
    this.#opener = opener
  }

  async open (layer: PlannedLayer, blocks: BlockService, waits: Waits = {}): Promise<OpenedLayer> {
    return await this.#found(layerKey(identityOf(layer))) ?? this.#noted(await this.#opener.open(layer, blocks, waits))
  }

  async reopen (key: string): Promise<OpenedLayer | null> {
    return await this.#reopening.run(key, async () => {
      const found = await this.#found(key)
      if (found !== null) return found
      const layer = await this.#opener.reopen(key)
      return layer === null ? null : this.#noted(layer)
    })
  }

  /** A layer whose folder was taken away is opened anew: it needs one, and a record for the next life. */
  async #found (key: string): Promise<OpenedLayer | null> {
    const layer = this.#living.get(key)?.deref()
    return layer === undefined || !await access(layer.cacheFolder).then(() => true, () => false) ? null : layer
  }

  #noted (layer: OpenedLayer): OpenedLayer {
    this.#living.set(layer.key, new WeakRef(layer))
    this.#collected.register(layer, layer.key)
    return layer
  }
}
