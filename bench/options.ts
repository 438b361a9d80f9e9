// The command line of `npm run bench`: parts by name, and what to keep of them. Refuses what it does not know.
import { parseArgs } from 'node:util'

export const PARTS = ['cold', 'steady', 'publish', 'content', 'soak', 'growth'] as const
/** Not run unless named: it takes long by its nature. */
const ONLY_WHEN_NAMED: readonly string[] = ['soak', 'growth']
const RUNS = 5
const RUNS_QUICK = 3

export interface Options {
  readonly parts: readonly string[]
  readonly images: readonly string[]
  readonly links: readonly string[]
  readonly contenders: readonly string[]
  readonly runs: number
  readonly quick: boolean
  readonly trace: boolean
  readonly seed: number
  readonly out: string
  readonly cache: string
  readonly help: boolean
}

export const USAGE = `npm run bench -- [part…] [option…]
  parts               ${PARTS.join(', ')}; default: all but ${ONLY_WHEN_NAMED.join(', ')}
  --image NAME        only this image (may be repeated); --quick means python
  --link NAME         only this link, like 20ms-10MB
  --contender NAME    only this contender, like ours-list, containerd, stargz
  --runs N            runs per cell, default ${RUNS}
  --quick             the python image, ${RUNS_QUICK} runs
  --seed N            of the random orders, default: from the clock, printed
  --out DIR           where results go, default bench/results
  --cache DIR         images and other things made once, default /var/tmp/ipfs-snapshotter-bench
  --trace             keep the logs and the request list of each run below --out`

/** @throws Error with one line that says what is wrong. */
export function parseOptions (args: readonly string[], now: number): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      image: { type: 'string', multiple: true, default: [] },
      link: { type: 'string', multiple: true, default: [] },
      contender: { type: 'string', multiple: true, default: [] },
      runs: { type: 'string' },
      quick: { type: 'boolean', default: false },
      trace: { type: 'boolean', default: false },
      seed: { type: 'string', default: String(now % 2 ** 31) },
      out: { type: 'string', default: 'bench/results' },
      cache: { type: 'string', default: '/var/tmp/ipfs-snapshotter-bench' },
      help: { type: 'boolean', short: 'h', default: false }
    }
  })
  const unknown = positionals.filter((name) => !(PARTS as readonly string[]).includes(name))
  if (unknown.length > 0) throw new Error(`no such part: ${unknown.join(', ')}; there are ${PARTS.join(', ')}`)
  return {
    parts: positionals.length > 0 ? positionals : PARTS.filter((name) => !ONLY_WHEN_NAMED.includes(name)),
    images: values.image.length === 0 && values.quick ? ['python'] : values.image,
    links: values.link,
    contenders: values.contender,
    runs: wholeNumber('--runs', values.runs ?? String(values.quick ? RUNS_QUICK : RUNS), 1),
    quick: values.quick,
    trace: values.trace,
    seed: wholeNumber('--seed', values.seed, 0),
    out: values.out,
    cache: values.cache,
    help: values.help
  }
}

function wholeNumber (option: string, text: string, least: number): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < least) throw new Error(`${option} takes a whole number from ${least}, not ${text}`)
  return number
}
