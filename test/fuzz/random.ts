// Numbers that look random and follow from a seed, so that a fuzzing run can be done again (mulberry32).

export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 to `below` - 1. */
  under (below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ this.#state >>> 15, this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61)
    return Math.floor(((mixed ^ mixed >>> 14) >>> 0) / 0x1_0000_0000 * below)
  }

  /** True once in `times`. */
  once (times: number): boolean {
    return this.under(times) === 0
  }

  of<Item> (items: readonly Item[]): Item {
    const item = items[this.under(items.length)]
    if (item === undefined) throw new RangeError('nothing to choose from')
    return item
  }
}
