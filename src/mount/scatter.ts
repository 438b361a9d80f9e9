// Notices a program that reads small files all over a layer: each of them costs a round trip, and what is left of the layer
// soon costs less than the round trips to come. It takes evidence from everywhere: a program that keeps to some folders
// (python with its libraries) leaves most places alone. What is fetched so, the proof of the layer would read later anyway.
import { SCATTER_FILE_BYTES, SCATTER_MISSES_MIN, SCATTER_PLACES, SCATTER_PLACES_MIN, SCATTER_SHARE, SCATTER_UNIT_BYTES } from '../base/limits.ts'

export class Scatter {
  readonly #blobBytes: number
  readonly #units = new Set<number>()
  readonly #places = new Set<number>()
  #isTold = false

  constructor (blobBytes: number) {
    this.#blobBytes = blobBytes
  }

  /** A chunk of a file of `fileBytes` (compressed) was missed at `offset` of the blob. True once: from here on all of it is worth fetching. */
  missed (offset: number, fileBytes: number): boolean {
    if (this.#isTold || fileBytes > SCATTER_FILE_BYTES) return false
    this.#units.add(Math.floor(offset / SCATTER_UNIT_BYTES))
    this.#places.add(Math.floor(offset / this.#blobBytes * SCATTER_PLACES))
    const seen = this.#units.size
    this.#isTold = seen >= SCATTER_MISSES_MIN && this.#places.size >= SCATTER_PLACES_MIN && seen * SCATTER_UNIT_BYTES >= this.#blobBytes * SCATTER_SHARE
    return this.#isTold
  }
}
