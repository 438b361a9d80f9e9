// The rows of a matrix on disk, so that a run that was ended goes on where it was, and the tables in docs/FAULTS.md.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Row } from './cell.ts'
import { markdownOf } from './report.ts'
import type { Driver } from './stage.ts'

const DOCUMENT = resolve(import.meta.dirname, '../../docs/FAULTS.md')
const [BEGIN, END] = ['<!-- written by npm run faults -- --docs -->', '<!-- end of what was written -->']

export interface Played extends Row { readonly seed: number, readonly seconds: number }

export class Record {
  readonly #path: string
  #rows: Played[]

  /** What `path` has from earlier runs stays, except what is played again. */
  constructor (path: string) {
    this.#path = path
    this.#rows = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as { rows: Played[] }).rows : []
  }

  get rows (): readonly Played[] {
    return this.#rows
  }

  find (driver: Driver, moment: string, fault: string): Played | null {
    return this.#rows.find((row) => row.driver === driver && row.moment === moment && row.fault === fault) ?? null
  }

  add (row: Played): void {
    this.#rows = [...this.#rows.filter((other) => other !== this.find(row.driver, row.moment, row.fault)), row]
    mkdirSync(dirname(this.#path), { recursive: true })
    writeFileSync(`${this.#path}.new`, `${JSON.stringify({ rows: this.#rows }, null, 2)}\n`)
    renameSync(`${this.#path}.new`, this.#path)
  }
}

/** Everything between the marks is replaced. @throws when the document has no marks. */
export function writeDocument (facts: readonly string[], rows: readonly Played[]): void {
  const text = readFileSync(DOCUMENT, 'utf8')
  const [before, behind] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (before < 0 || behind < before) throw new Error(`${DOCUMENT} has no lines ${BEGIN} and ${END}`)
  const drivers = [...new Set(rows.map(({ driver }) => driver))]
  const tables = drivers.map((driver) => {
    const own = rows.filter((row) => row.driver === driver)
    return markdownOf(`Driver ${driver} (seed ${[...new Set(own.map(({ seed }) => seed))].join(', ')})`, own)
  })
  writeFileSync(DOCUMENT, [text.slice(0, before), BEGIN, '\n\n', facts.join('\n'), '\n\n', tables.join('\n'), '\n', text.slice(behind)].join(''))
}
