// `npm run faults`: kills every part of a node at every moment, each pair on a node of its own, as often as asked, and prints what it
// cost as one table per driver. Exits with 1 when a byte was wrong, something answered was lost, or something was left behind.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { machineFacts } from '../../bench/machine-facts.ts'
import { seededRandom } from '../../bench/statistics.ts'
import { renderTable } from '../../bench/table.ts'
import { whyNot } from '../e2e/harness.ts'
import { preparePrograms } from '../suites/erofs-mounts.ts'
import { playCell, type Row } from './cell.ts'
import { MOMENTS } from './moments.ts'
import { type Options, parseOptions, USAGE } from './options.ts'
import { markdownOf, tableOf } from './report.ts'
import type { Wares } from './stage.ts'
import { VICTIMS } from './victims.ts'
import { makeWares } from './wares.ts'

process.env['TMPDIR'] ??= '/var/tmp' // a disk: EROFS cannot be mounted from a file in a tmpfs
const say = (text: string): void => { process.stdout.write(`${text}\n`) }

async function playAll (options: Options, wares: Wares): Promise<Row[]> {
  const random = seededRandom(options.seed)
  const rows: Row[] = []
  const add = (row: Row): void => {
    rows.push(row)
    say(`${row.driver}: ${row.fault} during ${row.moment}: ${JSON.stringify({ ...row, driver: undefined, fault: undefined, moment: undefined })}`)
  }
  const wanted = (names: readonly string[], name: string): boolean => names.length === 0 || names.includes(name)
  for (const driver of options.drivers) {
    for (const moment of MOMENTS) {
      for (const victim of VICTIMS.map((make) => make())) {
        if (!wanted(options.moments, moment.name) || !wanted(options.victims, victim.name)) continue
        add(await playCell({ driver, moment, victim, tries: options.tries, random, wares }))
      }
    }
  }
  return rows
}

async function main (): Promise<number> {
  const options = parseOptions(process.argv.slice(2), Date.now())
  if (options.help) { say(USAGE); return 0 }
  if (whyNot !== null) throw new Error(whyNot)
  await preparePrograms()
  const began = new Date()
  const folder = mkdtempSync(join(process.env['TMPDIR'] ?? '/var/tmp', 'faults-'))
  try {
    say(`seed ${options.seed}, ${options.tries} tries a cell`)
    const rows = await playAll(options, await makeWares(folder, options.tries))
    const tables = options.drivers.map((driver) => ({ title: `Driver ${driver}`, rows: rows.filter((row) => row.driver === driver) }))
    for (const { title, rows } of tables) say(`\n${renderTable(tableOf(title, rows))}`)
    if (options.out !== null) {
      const machine = await machineFacts(`npm run faults -- ${process.argv.slice(2).join(' ')}`.trim(), began)
      writeFileSync(`${options.out}.json`, `${JSON.stringify({ machine, seed: options.seed, tries: options.tries, rows }, null, 2)}\n`)
      writeFileSync(`${options.out}.md`, tables.map(({ title, rows }) => markdownOf(title, rows)).join('\n'))
    }
    return rows.some(({ problems, wrongBytes }) => problems.length > 0 || wrongBytes > 0) ? 1 : 0
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 2
}
