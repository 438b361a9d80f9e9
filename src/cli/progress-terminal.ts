// Progress on a terminal: the rows of what is under way are drawn again in place, below what ended and was noted. Advances
// are throttled, so that watching costs nothing; a timer shows that time passes while nothing comes.
import type { Clock } from '../base/clock.ts'
import type { ProgressEvent } from '../base/report.ts'
import type { Progress, ProgressStream } from './progress.ts'
import { Rate } from './progress-rate.ts'
import { endRow, type Item, itemRow, plain } from './progress-row.ts'

const DRAW_MS = 100
const TICK_MS = 1000
const COLUMNS = 80
const ROWS = 24
const ROWS_FOR_OTHERS = 2 // the cursor's own, and the one that says how many more there are

export class TerminalProgress implements Progress {
  readonly #stream: ProgressStream
  readonly #clock: Clock
  readonly #items = new Map<string, Item>()
  /** Lengths of the rows on the screen. */
  #drawn: number[] = []
  #drawnAt = 0
  #tick: NodeJS.Timeout | undefined

  constructor (stream: ProgressStream, clock: Clock) {
    this.#stream = stream
    this.#clock = clock
  }

  readonly report = (event: ProgressEvent): void => {
    const now = this.#clock.monotonicMs()
    if (event.event === 'advance') {
      const item = this.#items.get(event.item)
      if (item === undefined) return
      item.done += event.bytes
      item.rate.add(event.bytes, now)
      if (Math.abs(now - this.#drawnAt) >= DRAW_MS) this.#redraw()
    } else if (event.event === 'begin') {
      const { item: name, phase, total } = event
      this.#items.set(name, { name, phase, total, done: 0, rate: new Rate(now), begun: now, shown: now })
      this.#tick ??= setInterval(() => { this.#redraw() }, TICK_MS).unref()
      this.#redraw()
    } else if (event.event === 'end') {
      this.#items.delete(event.item)
      this.#redraw(event.text === '' ? undefined : endRow(event.item, event.text, this.#columns()))
    } else {
      this.#redraw(plain(event.text))
    }
  }

  readonly finish = (): void => {
    clearInterval(this.#tick)
    this.#tick = undefined
    this.#redraw()
    this.#items.clear()
    this.#drawn = []
  }

  /** `above`: a row that stays. One write, so that nothing flickers. */
  #redraw (above?: string): void {
    const now = this.#clock.monotonicMs()
    this.#drawnAt = now
    const columns = this.#columns()
    // A terminal that became narrower broke the rows that it showed.
    const height = this.#drawn.reduce((sum, length) => sum + Math.max(1, Math.ceil(length / (columns + 1))), 0)
    const room = Math.max(1, (positive(this.#stream.rows) ?? ROWS) - ROWS_FOR_OTHERS)
    const shown = [...this.#items.values()].slice(0, room).map((item) => itemRow(item, now, columns))
    const hidden = this.#items.size - shown.length
    if (hidden > 0) shown.push(plain(`… and ${hidden} more`, columns))
    this.#drawn = shown.map((row) => row.length)
    const text = [...above === undefined ? [] : [above], ...shown].map((row) => `${row}\n`).join('')
    const clear = height === 0 ? '' : `\u001b[${height}F\u001b[J`
    if (clear + text !== '') this.#stream.write(clear + text)
  }

  /** One less than there are, so that no row is broken. */
  #columns (): number {
    return (positive(this.#stream.columns) ?? COLUMNS) - 1
  }
}

/** A pseudo-terminal without a size says 0. */
function positive (stated: number | undefined): number | null {
  return stated === undefined || !(stated > 0) ? null : stated
}
