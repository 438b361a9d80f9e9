// Progress as lines that stay: JSON for programs, text for logs that people read. Advances become one line in a while.
import type { Clock } from '../base/clock.ts'
import type { ProgressEvent } from '../base/report.ts'
import type { Progress, ProgressStream } from './progress.ts'
import { Rate } from './progress-rate.ts'
import { endRow, type Item, itemRow, plain } from './progress-row.ts'

const JSON_INTERVAL_MS = 2_000
const TEXT_INTERVAL_MS = 10_000

interface Style {
  readonly intervalMs: number
  readonly event: (event: Exclude<ProgressEvent, { readonly event: 'advance' }>) => string
  readonly under: (item: Item, now: number) => string
}

const JSON_STYLE: Style = {
  intervalMs: JSON_INTERVAL_MS,
  event: (event) => JSON.stringify(event),
  under: ({ name, phase, done, total, rate }, now) => {
    const perSecond = rate.perSecond(now)
    return JSON.stringify({
      event: 'progress', item: name, phase, bytes: done, total,
      rate: perSecond === null ? null : Math.round(perSecond), secondsLeft: rate.secondsLeft(done, total, now)
    })
  }
}

const TEXT_STYLE: Style = {
  intervalMs: TEXT_INTERVAL_MS,
  event: (event) => {
    if (event.event === 'note') return plain(event.text)
    return endRow(event.item, event.event === 'begin' ? event.phase : event.text === '' ? 'done' : event.text, Infinity)
  },
  under: (item, now) => itemRow(item, now, Infinity)
}

export class LineProgress implements Progress {
  readonly #stream: ProgressStream
  readonly #clock: Clock
  readonly #style: Style
  readonly #items = new Map<string, Item>()

  constructor (stream: ProgressStream, clock: Clock, style: 'json' | 'plain') {
    this.#stream = stream
    this.#clock = clock
    this.#style = style === 'json' ? JSON_STYLE : TEXT_STYLE
  }

  readonly report = (event: ProgressEvent): void => {
    const now = this.#clock.monotonicMs()
    if (event.event === 'advance') {
      this.#advance(event, now)
      return
    }
    if (event.event === 'begin') {
      const { item: name, phase, total } = event
      this.#items.set(name, { name, phase, total, done: 0, rate: new Rate(now), begun: now, shown: now })
    }
    this.#write(this.#style.event(event))
  }

  readonly finish = (): void => {}

  #advance ({ item: name, bytes }: { item: string, bytes: number }, now: number): void {
    const item = this.#items.get(name)
    if (item === undefined) return
    item.done += bytes
    item.rate.add(bytes, now)
    if (now < item.shown) item.shown = now // a clock that went backward must not silence us
    if (now - item.shown < this.#style.intervalMs) return
    item.shown = now
    this.#write(this.#style.under(item, now))
  }

  #write (line: string): void {
    this.#stream.write(`${line}\n`)
  }
}
