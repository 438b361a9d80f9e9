// One item under way as one row of text, with columns of fixed width: what changes does not move its neighbours. A narrow
// terminal loses columns, the least useful first.
import type { Rate } from './progress-rate.ts'

export interface Item {
  readonly name: string
  phase: string
  done: number
  /** 0: not known. */
  total: number
  rate: Rate
  /** Of its phase, in monotonic milliseconds. */
  begun: number
  /** When it was last shown. */
  shown: number
}

const NAME_COLUMNS = 19 // `sha256:` and 12 digits
const PHASE_COLUMNS = 8
const BYTES_COLUMNS = 19 // `1234.5 of 1234.5 MB`
const RATE_COLUMNS = 11
const TIME_COLUMNS = 6
const UNITS = [['GB', 1e9, 10e9], ['MB', 1e6, 1e6], ['kB', 1e3, 0]] as const // name, bytes, from how many bytes on

/** Of an item that is over. */
export function endRow (name: string, text: string, columns: number): string {
  return plain(`${nameCell(name)}  ${text}`, columns)
}

export function itemRow (item: Item, now: number, columns: number): string {
  const { done, total, rate } = item
  const left = rate.secondsLeft(done, total, now)
  const isCounted = total > 0 || done > 0
  const cells = [
    { text: `${nameCell(item.name)}  ${item.phase.padEnd(PHASE_COLUMNS)}`, use: 9 },
    { text: total === 0 ? '    ' : `${Math.min(100, Math.floor(done / total * 100))}%`.padStart(4), use: total === 0 ? 1 : 4 },
    { text: (isCounted ? amount(done, total) : '').padStart(BYTES_COLUMNS), use: isCounted ? 2 : 1 },
    { text: speed(rate.perSecond(now)).padStart(RATE_COLUMNS), use: isCounted ? 3 : 1 },
    total === 0
      ? { text: duration(Math.floor(Math.max(0, now - item.begun) / 1000)).padStart(TIME_COLUMNS), use: 5 }
      : { text: `${(left === null ? '--:--' : duration(left)).padStart(TIME_COLUMNS)} left`, use: 5 }
  ]
  while (cells.length > 1 && joined(cells).length > columns) cells.splice(cells.indexOf(cells.reduce((a, b) => b.use < a.use ? b : a)), 1)
  return plain(joined(cells).trimEnd(), columns)
}

/** No terminal takes orders from names and texts. */
export function plain (text: string, columns = Infinity): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?').slice(0, columns) // eslint-disable-line no-control-regex
}

function joined (cells: ReadonlyArray<{ readonly text: string }>): string {
  return cells.map(({ text }) => text).join(' ')
}

function nameCell (name: string): string {
  return name.slice(0, NAME_COLUMNS).padEnd(NAME_COLUMNS)
}

/** `2.0 of 4.0 MB`, or what there is when nobody knows of how much. */
function amount (done: number, total: number): string {
  const [unit, bytes] = unitOf(Math.max(done, total))
  const [some, all] = [(done / bytes).toFixed(1), (total / bytes).toFixed(1)]
  return total === 0 ? `${some} ${unit}` : `${some.padStart(all.length)} of ${all} ${unit}`
}

function speed (rate: number | null): string {
  if (rate === null) return ''
  const [unit, bytes] = unitOf(rate)
  return `${(rate / bytes).toFixed(1)} ${unit}/s`
}

function unitOf (amount: number): readonly [name: string, bytes: number] {
  const [name, bytes] = UNITS.find(([, , from]) => amount >= from) ?? UNITS[2]
  return [name, bytes]
}

/** `1:05`, from an hour on `1h05m`. */
function duration (seconds: number): string {
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0')
  return seconds < 3600 ? `${Math.floor(seconds / 60)}:${two(seconds % 60)}` : `${Math.floor(seconds / 3600)}h${two(seconds % 3600 / 60)}m`
}
