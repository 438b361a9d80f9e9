// The opening of a booked layer: its index while it opens and until the pull ends, afterwards only the way to it. An index
// is megabytes, and whoever mounted the layer has it in any case.
import type { OpenedLayer } from '../cache/layer-opener.ts'

export class Opening {
  #held: Promise<OpenedLayer> | null
  readonly #again: () => Promise<OpenedLayer>
  #isUnderWay: boolean
  #isReleased = false

  /** `again`: opens it when `first` was let go, or when there is none. */
  constructor (first: Promise<OpenedLayer> | null, again: () => Promise<OpenedLayer>) {
    this.#held = first
    this.#again = again
    this.#isUnderWay = first !== null
    first?.then(() => {
      this.#isUnderWay = false
      if (this.#isReleased) this.#held = null
    }, () => { this.#isUnderWay = false })
  }

  /** Of a layer that is open. */
  static of (layer: OpenedLayer, again: () => Promise<OpenedLayer>): Opening {
    const opening = new Opening(null, again)
    opening.#held = Promise.resolve(layer)
    return opening
  }

  /** Nobody knows yet whether it opens. */
  get isUnderWay (): boolean {
    return this.#isUnderWay
  }

  /** @throws what opening throws; a first opening that failed has failed for good. */
  async opened (): Promise<OpenedLayer> {
    return await (this.#held ?? this.#again())
  }

  /** The index is not needed here any more, once it is open. */
  release (): void {
    this.#isReleased = true
    if (!this.#isUnderWay) this.#held?.then(() => { this.#held = null }, () => {}) // a failure stays
  }
}
