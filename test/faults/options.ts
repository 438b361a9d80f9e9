// The command line of `npm run faults`. Refuses what it does not know.
import { parseArgs } from 'node:util'
import type { Driver } from './stage.ts'

const DRIVERS: readonly Driver[] = ['erofs', 'erofs-loop']
const TRIES = 20

export interface Options {
  readonly drivers: readonly Driver[]
  /** Empty: all. */
  readonly moments: readonly string[]
  readonly victims: readonly string[]
  readonly tries: number
  readonly seed: number
  /** Path without ending: .json and .md are added. */
  readonly out: string | null
  readonly help: boolean
}

export const USAGE = `npm run faults -- [option…]
  --tries N       per cell, default ${TRIES}
  --driver NAME   ${DRIVERS.join(', ')} (may be repeated); default: both
  --moment NAME   only this one, like read or "cache write" (may be repeated)
  --victim NAME   only worker, node, guardian or containerd (may be repeated)
  --seed N        of the random moments, default: from the clock, printed
  --out PATH      writes PATH.json and PATH.md`

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
      out: { type: 'string' },
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
    out: values.out ?? null,
    help: values.help
  }
}

function natural (name: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${name} ${text} is not a number from 1 on`)
  return Number(text)
}
