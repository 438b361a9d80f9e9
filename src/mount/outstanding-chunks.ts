// Which chunks of which cache are being fetched or supplied, and for which of its files: a new worker asks again for
// everything that its readers wait for, a second file of the cache asks for what the first one is fetching, and nothing
// of that shall be fetched twice.
import type { ChunkRun } from './supply.ts'

interface Chunk {
  /** The file under whose name it was asked for. */
  readonly name: string
  stage: 'fetching' | 'supplying'
  /** Nobody reads it yet. */
  readonly background: boolean
}

export class OutstandingChunks {
  /** Served file → the cache behind it. */
  readonly #cacheOf = new Map<string, string>()
  readonly #caches = new Map<string, Map<number, Chunk>>()

  /** Files of one cache directory share their chunks; a file that was never added is on its own. */
  add (name: string, cacheDirectory: string): void {
    this.#cacheOf.set(name, cacheDirectory)
  }

  /** The file is gone: what was fetched for it may be asked for under another name. */
  remove (name: string): void {
    const cache = this.#cacheOf.get(name) ?? name
    this.#cacheOf.delete(name)
    const chunks = this.#caches.get(cache)
    for (const [at, chunk] of chunks ?? []) if (chunk.name === name) chunks?.delete(at)
    if (chunks?.size === 0) this.#caches.delete(cache)
  }

  /** Another file of the same cache, or null. */
  twin (name: string): string | null {
    const cache = this.#cacheOf.get(name)
    for (const [other, itsCache] of this.#cacheOf) if (other !== name && itsCache === cache) return other
    return null
  }

  /**
   * The parts of `runs` that nobody fetches or supplies yet, as runs; from now on somebody does. A read takes over what is
   * fetched in the background: it is urgent from then on, and it is the read that is answered or failed.
   */
  begin (name: string, runs: readonly ChunkRun[], background = false): ChunkRun[] {
    const cache = this.#cacheOf.get(name) ?? name
    const chunks = this.#caches.get(cache) ?? new Map<number, Chunk>()
    this.#caches.set(cache, chunks)
    return select(runs, (chunk) => {
      const known = chunks.get(chunk)
      if (known !== undefined && (background || !known.background || known.stage === 'supplying')) return false
      chunks.set(chunk, { name, stage: 'fetching', background })
      return true
    })
  }

  supplying (name: string, first: number, count: number): void {
    for (const [, chunk] of this.#within(name, first, count)) chunk.stage = 'supplying'
  }

  /** They are in the cache, or nobody will bring them. */
  settle (name: string, first: number, count: number): void {
    const cache = this.#cacheOf.get(name) ?? name
    const chunks = this.#caches.get(cache)
    for (const [at] of this.#within(name, first, count)) chunks?.delete(at)
    if (chunks?.size === 0) this.#caches.delete(cache)
  }

  /** The parts of `runs` that were asked for under this name, for a read or not, and are neither supplied nor failed. */
  unanswered (name: string, runs: readonly ChunkRun[], background = false): ChunkRun[] {
    const chunks = this.#caches.get(this.#cacheOf.get(name) ?? name)
    return select(runs, (at) => {
      const chunk = chunks?.get(at)
      return chunk?.name === name && chunk.stage === 'fetching' && chunk.background === background
    })
  }

  /** The known chunks of a range, at the price of the smaller of both. */
  #within (name: string, first: number, count: number): Array<readonly [number, Chunk]> {
    const chunks = this.#caches.get(this.#cacheOf.get(name) ?? name)
    if (chunks === undefined) return []
    if (count > chunks.size) return [...chunks].filter(([at]) => at >= first && at < first + count)
    return Array.from({ length: count }, (_, index) => first + index).flatMap((at) => {
      const chunk = chunks.get(at)
      return chunk === undefined ? [] : [[at, chunk] as const]
    })
  }
}

function select (runs: readonly ChunkRun[], wanted: (chunk: number) => boolean): ChunkRun[] {
  const selected: Array<{ first: number, count: number }> = []
  for (const { first, count } of runs) {
    for (let chunk = first; chunk < first + count; chunk++) {
      if (!wanted(chunk)) continue
      const last = selected.at(-1)
      if (last !== undefined && last.first + last.count === chunk) last.count++
      else selected.push({ first: chunk, count: 1 })
    }
  }
  return selected
}
