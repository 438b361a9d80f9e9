// The latest of something, newest first, and how many there were: what a person wants to see, at a bounded cost.
export class Recent<Entry> {
  readonly #max: number
  #entries: readonly Entry[] = []
  #total = 0

  /** `max`: how many are kept. */
  constructor (max: number) {
    this.#max = max
  }

  add (entry: Entry): void {
    this.#entries = [entry, ...this.#entries.slice(0, this.#max - 1)]
    this.#total++
  }

  get newestFirst (): readonly Entry[] {
    return this.#entries
  }

  /** With those that were dropped. */
  get total (): number {
    return this.#total
  }
}
