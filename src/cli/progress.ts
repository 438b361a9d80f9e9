// Progress on stderr for commands that take long: one line per item that is redrawn in place on a terminal, one JSON
// line per event elsewhere. Advances are throttled, so that watching costs nothing.
import type { Clock } from '../base/clock.ts'

/** What a command reports; `publish/report.ts` has the same shape. */
export type ProgressEvent =
  | { readonly event: 'begin', readonly item: string, readonly phase: string, readonly total: number }
  | { readonly event: 'advance', readonly item: string, readonly bytes: number }
  | { readonly event: 'end', readonly item: string, readonly text: string }
  | { readonly event: 'note', readonly text: string }

export interface ProgressStream {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  readonly write: (text: string) => unknown
}

export interface Progress {
  readonly report: (event: ProgressEvent) => void
  /** Draws the last state; call before anything else is written to the stream. */
  readonly finish: () => void
}

interface Line { text: string, done: number, total: number, phase: string, reportedAt: number }

const TTY_INTERVAL_MS = 100
const JSON_INTERVAL_MS = 2_000
const COLUMNS = 80
const NAME_COLUMNS = 19 // `sha256:` and 12 digits

export function createProgress (stream: ProgressStream, clock: Clock): Progress {
  return stream.isTTY === true ? new TerminalProgress(stream, clock) : new JsonProgress(stream, clock)
}

class JsonProgress implements Progress {
  readonly #stream: ProgressStream
  readonly #clock: Clock
  readonly #items = new Map<string, Line>()

  constructor (stream: ProgressStream, clock: Clock) {
    this.#stream = stream
    this.#clock = clock
  }

  readonly report = (event: ProgressEvent): void => {
    if (event.event === 'begin') {
      this.#items.set(event.item, { text: '', done: 0, total: event.total, phase: event.phase, reportedAt: this.#clock.monotonicMs() })
    }
    if (event.event === 'advance') this.#advance(event)
    else this.#write(event)
  }

  readonly finish = (): void => {}

  #advance ({ item, bytes }: { item: string, bytes: number }): void {
    const line = this.#items.get(item)
    if (line === undefined) return
    line.done += bytes
    const now = this.#clock.monotonicMs()
    if (now - line.reportedAt < JSON_INTERVAL_MS) return
    line.reportedAt = now
    this.#write({ event: 'progress', item, phase: line.phase, done: line.done, total: line.total })
  }

  #write (event: object): void {
    this.#stream.write(`${JSON.stringify(event)}\n`)
  }
}

class TerminalProgress implements Progress {
  readonly #stream: ProgressStream
  readonly #clock: Clock
  readonly #items = new Map<string, Line>()
  #drawn = 0
  #drawnAt = 0

  constructor (stream: ProgressStream, clock: Clock) {
    this.#stream = stream
    this.#clock = clock
  }

  readonly report = (event: ProgressEvent): void => {
    if (event.event === 'note') {
      this.#clear()
      this.#stream.write(`${event.text}\n`)
      this.#draw()
      return
    }
    const line = this.#items.get(event.item) ?? { text: '', done: 0, total: 0, phase: '', reportedAt: 0 }
    this.#items.set(event.item, line)
    if (event.event === 'begin') Object.assign(line, { text: '', done: 0, total: event.total, phase: event.phase })
    if (event.event === 'advance') line.done += event.bytes
    if (event.event === 'end') line.text = event.text
    const now = this.#clock.monotonicMs()
    if (event.event === 'advance' && now - this.#drawnAt < TTY_INTERVAL_MS) return
    this.#drawnAt = now
    this.#clear()
    this.#draw()
  }

  readonly finish = (): void => {
    this.#clear()
    this.#draw()
    this.#items.clear()
    this.#drawn = 0
  }

  #clear (): void {
    if (this.#drawn > 0) this.#stream.write(`\u001b[${this.#drawn}F\u001b[J`)
    this.#drawn = 0
  }

  #draw (): void {
    const stated = this.#stream.columns ?? 0
    const columns = stated > 0 ? stated : COLUMNS // a pseudo-terminal without a size says 0
    for (const [item, line] of this.#items) this.#stream.write(`${render(item, line).slice(0, columns - 1)}\n`)
    this.#drawn = this.#items.size
  }
}

function render (item: string, { text, done, total, phase }: Line): string {
  const name = item.slice(0, NAME_COLUMNS).padEnd(NAME_COLUMNS)
  if (text !== '') return `${name}  ${text}`
  const percent = total === 0 ? 100 : Math.min(100, Math.floor(done / total * 100))
  return `${name}  ${phase.padEnd(8)} ${String(percent).padStart(3)} %  ${megabytes(done)} of ${megabytes(total)} MB`
}

function megabytes (bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
