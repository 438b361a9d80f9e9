// The opening of a booked layer: its index while it opens and until the pull ends, afterwards only the way to it. An index
// is megabytes, and whoever mounted the layer has it in any case. A pull that is given up stops its openings, unless somebody
// else waits for them meanwhile.
import { abortable } from '../base/abortable.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'

/** An opening under way, and what stops it. */
interface Begun {
  readonly opened: Promise<OpenedLayer>
  /** Bytes that sources sent for it until now. */
  readonly received: () => number
  readonly stop: () => void
}

export class Opening {
  #held: Promise<OpenedLayer> | null
  readonly #again: () => Promise<OpenedLayer>
  #stop: (() => void) | null
  /** Bytes that sources sent for the opening that was begun with it, until now. */
  readonly received: () => number
  #isReleased = false
  #isGivenUp = false
  #waiting = 0

  /** `again`: opens it when `begun` was let go, or when there is none. */
  constructor (begun: Begun | null, again: () => Promise<OpenedLayer>) {
    this.#held = begun?.opened ?? null
    this.#again = again
    this.#stop = begun?.stop ?? null
    this.received = begun?.received ?? (() => 0)
    begun?.opened.then(() => {
      this.#stop = null
      if (this.#isReleased) this.#held = null
    }, () => { this.#stop = null })
  }

  /** Of a layer that is open. */
  static of (layer: OpenedLayer, again: () => Promise<OpenedLayer>): Opening {
    const opening = new Opening(null, again)
    opening.#held = Promise.resolve(layer)
    return opening
  }

  /** Nobody knows yet whether it opens. */
  get isUnderWay (): boolean {
    return this.#stop !== null
  }

  /** Who waits keeps it going until the signal fires. @throws what opening throws; a first opening that failed has failed for good. */
  async opened (signal?: AbortSignal): Promise<OpenedLayer> {
    this.#waiting++
    try {
      return await abortable(this.outcome(), signal)
    } finally {
      this.#waiting--
      this.#stopIfUnwanted()
    }
  }

  /** The same for the pull that began it, which does not keep it going when it is given up. */
  async outcome (): Promise<OpenedLayer> {
    return await (this.#held ?? this.#again())
  }

  /** The index is not needed here any more, once it is open. */
  release (): void {
    this.#isReleased = true
    if (!this.isUnderWay) this.#held?.then(() => { this.#held = null }, () => {}) // a failure stays
  }

  /** The pull that began it does not want it any more. Whoever comes later opens it anew. */
  giveUp (): void {
    this.#isGivenUp = true
    this.#stopIfUnwanted()
  }

  #stopIfUnwanted (): void {
    if (!this.#isGivenUp || this.#waiting > 0 || this.#stop === null) return
    this.#stop()
    this.#held = null
  }
}
