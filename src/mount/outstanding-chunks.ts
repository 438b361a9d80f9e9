// Which chunks of which file are being fetched or supplied: a new worker asks again for everything that its readers wait
// for, and nothing of that shall be fetched twice.
import type { ChunkRun } from './supply.ts'

type Stage = 'fetching' | 'supplying'

export class OutstandingChunks {
  readonly #files = new Map<string, Map<number, Stage>>()

  /** The parts of `runs` that nobody fetches or supplies yet, as runs; from now on somebody does. */
  begin (name: string, runs: readonly ChunkRun[]): ChunkRun[] {
    const stages = this.#files.get(name) ?? new Map<number, Stage>()
    this.#files.set(name, stages)
    return select(runs, (chunk) => {
      if (stages.has(chunk)) return false
      stages.set(chunk, 'fetching')
      return true
    })
  }

  supplying (name: string, first: number, count: number): void {
    const stages = this.#files.get(name)
    if (stages === undefined) return
    for (const chunk of within(stages, first, count)) stages.set(chunk, 'supplying')
  }

  settle (name: string, first: number, count: number): void {
    const stages = this.#files.get(name)
    if (stages === undefined) return
    for (const chunk of within(stages, first, count)) stages.delete(chunk)
    if (stages.size === 0) this.#files.delete(name)
  }

  /** The parts of `runs` that are neither supplied nor failed. */
  unanswered (name: string, runs: readonly ChunkRun[]): ChunkRun[] {
    const stages = this.#files.get(name)
    return select(runs, (chunk) => stages?.get(chunk) === 'fetching')
  }

  forget (name: string): void {
    this.#files.delete(name)
  }
}

/** The known chunks of a range, at the price of the smaller of both. */
function within (stages: ReadonlyMap<number, Stage>, first: number, count: number): number[] {
  if (count > stages.size) return [...stages.keys()].filter((chunk) => chunk >= first && chunk < first + count)
  return Array.from({ length: count }, (_, index) => first + index).filter((chunk) => stages.has(chunk))
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
