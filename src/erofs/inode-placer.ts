// Gives each inode its offset: upwards, except that a short one fills a gap that an earlier inode left because its
// inline tail had to stay inside one block. Only the latest gaps are kept, so neighbours stay near each other.

import { alignUp } from '../base/bytes.ts'
import { BLOCK_BYTES, NID_BYTES } from './format.ts'

const GAPS_KEPT = 16

interface Gap { at: number, readonly end: number }

export class InodePlacer {
  readonly #gaps: Gap[] = []
  #cursor: number

  /** `start`: first free byte, a multiple of 32. */
  constructor (start: number) {
    this.#cursor = start
  }

  /** First byte behind everything placed. */
  get end (): number {
    return this.#cursor
  }

  /**
   * Offset for an inode of `headerBytes` with `bodyBytes` behind it. `unbroken`: all of it must stay inside one block
   * (then it is at most 4096 bytes); else only the header does.
   */
  place (headerBytes: number, bodyBytes: number, unbroken: boolean): number {
    const bytes = alignUp(headerBytes + bodyBytes, NID_BYTES)
    for (const [number, gap] of this.#gaps.entries()) {
      if (gap.end - gap.at < bytes) continue
      const offset = gap.at
      gap.at += bytes
      if (gap.at === gap.end) this.#gaps.splice(number, 1)
      return offset
    }
    const room = BLOCK_BYTES - this.#cursor % BLOCK_BYTES
    if ((unbroken ? headerBytes + bodyBytes : headerBytes) > room) this.#skip(room)
    const offset = this.#cursor
    this.#cursor += bytes
    return offset
  }

  #skip (room: number): void {
    this.#gaps.push({ at: this.#cursor, end: this.#cursor + room })
    if (this.#gaps.length > GAPS_KEPT) this.#gaps.shift()
    this.#cursor += room
  }
}
