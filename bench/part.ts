// What `npm run bench` runs: parts. Each lives in its own folder, exports one `Part` from part.ts there, measures, and
// hands back what is printed, charted and written. A part leaves nothing behind: what it starts goes on `cleanup`.
import type { BarChart } from './chart.ts'
import type { Cleanup } from './demo/cleanup.ts'
import type { Table } from './table.ts'

export interface BenchContext {
  /** Runs per cell; medians are taken over them. */
  readonly runs: number
  readonly quick: boolean
  /** Of every random order. */
  readonly seed: number
  /** Folder that survives: images, published CARs, built peers. */
  readonly cache: string
  /** Scratch, gone in the end. */
  readonly scratch: string
  /** Empty: all. */
  readonly images: readonly string[]
  readonly links: readonly string[]
  readonly contenders: readonly string[]
  /** Folder for logs and request lists of every run, null without --trace. */
  readonly trace: string | null
  readonly cleanup: Cleanup
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

export interface PartResult {
  readonly tables: readonly Table[]
  readonly charts: readonly BarChart[]
  /** Goes into the JSON file under the part's name. */
  readonly data: object
}

export interface Part {
  readonly name: string
  readonly run: (context: BenchContext) => Promise<PartResult>
}
