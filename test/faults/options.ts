// The command line of `npm run faults`. Refuses what it does not know.
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Driver } from './stage.ts'

export const DRIVERS: readonly Driver[] = ['erofs', 'erofs-loop']
const TRIES = 20
const OUT = resolve(import.meta.dirname, '../../build/faults.json')

export interface Options {
  readonly drivers: readonly Driver[]
  /** Empty: all. */
  readonly moments: readonly string[]
  readonly victims: readonly string[]
  readonly tries: number
  readonly seed: number
  /** The rows, as JSON: written after each cell. */
  readonly out: string
  /** Cells that stand in `out` with as many tries are not played again. */
  readonly resume: boolean
  /** Puts the tables into docs/FAULTS.md. */
  readonly docs: boolean
  readonly help: boolean
}

export const USAGE = `npm run faults -- [option…]
  --tries N       per cell, default ${TRIES}
  --driver NAME   ${DRIVERS.join(', ')} (may be repeated); default: both
  --moment NAME   only this one, like read or "cache write"; network: the faults of sources (may be repeated)
  --victim NAME   only worker, node, guardian, containerd or a fault of sources like "dead for 6 s" (may be repeated)
  --seed N        of the random moments, default: from the clock, printed
  --out PATH      the rows as JSON, written after each cell; default build/faults.json
  --resume        leaves out the cells that PATH has already, with as many tries
  --docs          puts the tables of all cells that PATH has into docs/FAULTS.md`

/** @throws Error with one line that says what is wrong. */
export function parseOptions (args: readonly string[], now: number): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      tries: { type: 'string', default: String(TRIES) },
      driver: { type: 'string', multiple: true, default: [...DRIVERS] },
      moment: { type: 'string', multiple: true, default: [] },
      victim: { type: 'string', multiple: true, default: [] },
      seed: { type: 'string', default: String(now % 1_000_000) },
      out: { type: 'string', default: OUT },
      resume: { type: 'boolean', default: false },
      docs: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  const drivers = values.driver.map((name) => {
    const driver = DRIVERS.find((known) => known === name)
    if (driver === undefined) throw new Error(`no driver ${name}: there are ${DRIVERS.join(', ')}`)
    return driver
  })
  return {
    drivers,
    moments: values.moment,
    victims: values.victim,
    tries: natural('--tries', values.tries),
    seed: natural('--seed', values.seed),
    out: values.out,
    resume: values.resume,
    docs: values.docs,
    help: values.help
  }
}

function natural (name: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${name} ${text} is not a number from 1 on`)
  return Number(text)
}
