// What of the program an input reached, from V8's own precise block coverage: no instrumentation, so the code that is fuzzed is the
// code that runs. Each function's text is a map of characters; bits say whether a character ran, and how often (in powers of 4).
import { Session } from 'node:inspector'

interface BlockRange { readonly startOffset: number, readonly endOffset: number, readonly count: number }
interface ScriptCoverage { readonly url: string, readonly functions: ReadonlyArray<{ readonly ranges: readonly BlockRange[] }> }

export class Coverage {
  readonly #session = new Session()
  readonly #folder: string
  readonly #seen = new Map<string, Uint8Array>()
  readonly #blocks = new Set<string>()

  /** Counts scripts whose URL holds `folder`. Start it before they are imported. */
  constructor (folder: string) {
    this.#folder = folder
    this.#session.connect()
    this.#post('Profiler.enable')
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** Blocks that ran so far. */
  get blocks (): number {
    return this.#blocks.size
  }

  /** Whether anything new ran since the last call; with `often`, also whether something ran much more often than before. */
  take (often: boolean): boolean {
    const { result } = this.#post('Profiler.takePreciseCoverage') as { readonly result: readonly ScriptCoverage[] }
    let fresh = false
    for (const { url, functions } of result) {
      if (!url.includes(this.#folder)) continue
      for (const { ranges } of functions) if (this.#paint(url, ranges, often)) fresh = true
    }
    return fresh
  }

  #paint (url: string, ranges: readonly BlockRange[], often: boolean): boolean {
    const [whole] = ranges
    if (whole === undefined || whole.count === 0) return false
    const key = `${url}:${whole.startOffset}`
    const length = whole.endOffset - whole.startOffset
    const now = new Uint8Array(length)
    for (const { startOffset, endOffset, count } of ranges) {
      if (count > 0) this.#blocks.add(`${key}:${startOffset}:${endOffset}`)
      now.fill(count === 0 ? 0 : often ? bitsOf(count) : 1, startOffset - whole.startOffset, endOffset - whole.startOffset)
    }
    const before = this.#seen.get(key)
    if (before === undefined) {
      this.#seen.set(key, now)
      return true
    }
    let fresh = false
    for (let at = 0; at < length; at++) {
      const bits = (before[at] ?? 0) | (now[at] ?? 0)
      if (bits === before[at]) continue
      before[at] = bits
      fresh = true
    }
    return fresh
  }

  #post (method: string, params: object = {}): unknown {
    let answer: unknown
    // A session on the own thread answers before `post` returns.
    this.#session.post(method, params, (error: Error | null, result?: unknown) => {
      if (error !== null) throw error
      answer = result
    })
    return answer
  }
}

/** Bit 0: it ran. One more bit for each power of 4 in how often. */
function bitsOf (count: number): number {
  return 1 | 1 << Math.min(7, 1 + Math.floor(Math.log2(count) / 2))
}
