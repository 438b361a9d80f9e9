// Verified blocks in memory, least recently used out first, bounded in bytes. Memory that only we write: nothing here
// is checked again. Nothing is ever promised to be there.
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { BlockKey } from './block-key.ts'

const ENTRY_BYTES = 256 // key, map entry and buffer object

export class BlockCache {
  readonly #limit: number
  readonly #blocks = new Map<BlockKey, VerifiedBytes>()
  #bytes = 0

  constructor (limitBytes: number) {
    this.#limit = limitBytes
  }

  get bytes (): number {
    return this.#bytes
  }

  get (key: BlockKey): VerifiedBytes | undefined {
    const block = this.#blocks.get(key)
    if (block === undefined) return undefined
    this.#blocks.delete(key) // re-inserted last: a Map keeps insertion order
    this.#blocks.set(key, block)
    return block
  }

  put (key: BlockKey, block: VerifiedBytes): void {
    const size = block.byteLength + ENTRY_BYTES
    if (this.#blocks.has(key) || size > this.#limit) return
    this.#blocks.set(key, block)
    this.#bytes += size
    for (const [oldest, { byteLength }] of this.#blocks) {
      if (this.#bytes <= this.#limit) break
      this.#blocks.delete(oldest)
      this.#bytes -= byteLength + ENTRY_BYTES
    }
  }

  clear (): void {
    this.#blocks.clear()
    this.#bytes = 0
  }
}
