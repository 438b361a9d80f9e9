// `npm run bench`: runs the parts named on its line, prints their tables, and writes one JSON file and the charts. A part
// that fails says so and the others go on; nothing stays behind, also after SIGINT.
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { renderChart } from './chart.ts'
import { Cleanup } from './demo/cleanup.ts'
import { machineFacts } from './machine-facts.ts'
import { type Options, parseOptions, USAGE } from './options.ts'
import type { BenchContext, Part, PartResult } from './part.ts'
import { sweep } from './sweep.ts'
import { renderTable } from './table.ts'

const SCRATCH = '/var/tmp' // a disk, also where /tmp is memory
const DECIMALS = 3 // of a figure in the JSON file: nothing is measured more finely

process.stdout.on('error', () => {}) // whoever read along has gone; what was started must still be taken down
const say = (text: string): void => { process.stdout.write(`${text}\n`) }

type Results = Record<string, PartResult>

/** Hands over what there is after each part, so that a run that ends early loses only the part it was in. */
async function runParts (options: Options, context: Omit<BenchContext, 'cleanup'>, keep: (results: Results) => Promise<void>): Promise<Results> {
  const results: Results = {}
  for (const name of options.parts) {
    const file = join(import.meta.dirname, name, 'part.ts')
    if (!existsSync(file)) { say(`${name}: not there yet`); continue }
    const { part } = await import(file) as { part: Part }
    const cleanup = new Cleanup()
    running.add(cleanup)
    try {
      results[name] = await part.run({ ...context, cleanup })
      await keep(results)
    } catch (error) {
      if (!context.signal.aborted) say(`${name} FAILED: ${error instanceof Error ? error.message : String(error)}`)
      process.exitCode = 1
    } finally {
      await cleanup.run()
      running.delete(cleanup)
    }
    if (context.signal.aborted) break
  }
  return results
}

const rounded = (_key: string, value: unknown): unknown => typeof value === 'number' ? Number(value.toFixed(DECIMALS)) : value

async function writeJson (out: string, stamp: string, facts: object, results: Results): Promise<string> {
  await mkdir(out, { recursive: true })
  const data = Object.fromEntries(Object.entries(results).map(([name, result]) => [name, result.data]))
  const file = join(out, `bench-${stamp}.json`)
  await writeFile(file, `${JSON.stringify({ machine: { ...facts, loadAfter: loadavg() }, ...data }, rounded, 2)}\n`)
  return file
}

async function writeCharts (out: string, stamp: string, results: Results): Promise<void> {
  for (const chart of Object.values(results).flatMap(({ charts }) => charts)) {
    const image = join(out, `${chart.name}-${stamp}.svg`)
    await writeFile(image, renderChart(chart))
    say(`written: ${image}`)
  }
}

const STOP_MS_MAX = 60_000
const running = new Set<Cleanup>()
const stop = new AbortController()
/** Parts end at their next step and take down what they started; one that does not is overtaken. */
const onSignal = (): void => {
  if (stop.signal.aborted) return
  say('stopping: taking down what was started')
  stop.abort()
  setTimeout(() => {
    void (async () => {
      for (const cleanup of [...running].reverse()) await cleanup.run()
      process.exit(130)
    })()
  }, STOP_MS_MAX).unref()
}

let options: Options
try {
  options = parseOptions(process.argv.slice(2), Date.now())
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${USAGE}\n`)
  process.exit(2)
}
if (options.help) {
  say(USAGE)
  process.exit(0)
}

const now = new Date()
const facts = await machineFacts(`npm run bench -- ${process.argv.slice(2).join(' ')}`.trim(), now)
const stamp = now.toISOString().replace(/[-:]|\.\d+/g, '')
const out = resolve(options.out)
const always = new Cleanup()
running.add(always)
const scratch = await mkdtemp(join(SCRATCH, 'ipfs-bench-'))
always.add(`remove ${scratch}`, async () => {
  for (const left of await sweep(scratch)) say(`left behind and swept: ${left}`)
  await rm(scratch, { recursive: true, force: true })
})
process.on('SIGINT', onSignal).on('SIGTERM', onSignal)

const load = facts.loadBefore.map((average) => average.toFixed(1)).join(' ')
say(`${facts.cores} cores (${facts.processor}), kernel ${facts.kernel}, load ${load}, revision ${facts.revision}`)
say(`seed ${options.seed}, ${options.runs} runs per cell`)
const measured = { ...facts, seed: options.seed, runs: options.runs }
try {
  const results = await runParts(options, {
    runs: options.runs, quick: options.quick, seed: options.seed, cache: resolve(options.cache), scratch, images: options.images, links: options.links,
    contenders: options.contenders, trace: options.trace ? join(out, `trace-${stamp}`) : null, signal: stop.signal, say
  }, async (soFar) => { await writeJson(out, stamp, measured, soFar) })
  for (const result of Object.values(results)) for (const table of result.tables) say(`\n${renderTable(table)}`)
  say(`written: ${await writeJson(out, stamp, measured, results)}`)
  await writeCharts(out, stamp, results)
} finally {
  await always.run()
}
if (stop.signal.aborted) process.exit(130)
