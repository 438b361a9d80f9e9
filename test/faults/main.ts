// `npm run faults`: kills every part of a node at every moment and lets its network fail in every way, each pair on a node of its own,
// as often as asked, and prints what it cost as one table per driver. Exits with 1 when a byte was wrong, something answered was lost,
// a read failed that had to wait, or something was left behind.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { machineFacts } from '../../bench/machine-facts.ts'
import { seededRandom } from '../../bench/statistics.ts'
import { renderTable } from '../../bench/table.ts'
import { whyNot } from '../e2e/harness.ts'
import { preparePrograms } from '../suites/erofs-mounts.ts'
import { playCell, type Row } from './cell.ts'
import { MOMENTS } from './moments.ts'
import { NETWORK, playNetworkCell } from './network-cell.ts'
import { NETWORK_FAULTS } from './network-faults.ts'
import { DRIVERS, type Options, parseOptions, USAGE } from './options.ts'
import { Record, writeDocument } from './record.ts'
import { factLines, tableOf } from './report.ts'
import type { Driver, Wares } from './stage.ts'
import { VICTIMS } from './victims.ts'
import { makeWares } from './wares.ts'

/** Nodes whose network fails mostly wait. */
const NETWORKS_AT_ONCE = 4

const say = (text: string): void => { process.stdout.write(`${text}\n`) }

interface Play {
  readonly driver: Driver
  readonly moment: string
  readonly fault: string
  readonly play: (wares: Wares) => Promise<Row>
}

function plays ({ drivers, moments, victims, tries, seed }: Options): { readonly kills: Play[], readonly networks: Play[] } {
  const random = seededRandom(seed)
  const wanted = ({ moment, fault }: Play): boolean =>
    (moments.length === 0 || moments.includes(moment)) && (victims.length === 0 || victims.includes(fault))
  const kills = drivers.flatMap((driver) => MOMENTS.flatMap((moment) => (moment.victims ?? VICTIMS).map((make): Play => {
    const victim = make()
    return { driver, moment: moment.name, fault: victim.name, play: async (wares) => await playCell({ driver, moment, victim, tries, random, wares }) }
  })))
  const networks = drivers.flatMap((driver) => NETWORK_FAULTS.map((fault): Play =>
    ({ driver, moment: NETWORK, fault: fault.name, play: async (wares) => await playNetworkCell({ driver, fault, tries, wares }) })))
  return { kills: kills.filter(wanted), networks: networks.filter(wanted) }
}

async function playAll (options: Options, record: Record, wares: Wares): Promise<void> {
  const all = plays(options)
  const todo = ({ driver, moment, fault }: Play): boolean => !options.resume || record.find(driver, moment, fault)?.tries !== options.tries
  const [kills, networks] = [all.kills.filter(todo), all.networks.filter(todo)]
  const total = kills.length + networks.length
  let done = 0
  const take = async (queue: Play[]): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const began = performance.now()
      const row = await next.play(wares)
      const seconds = Math.round((performance.now() - began) / 1000)
      record.add({ ...row, seed: options.seed, seconds })
      const { driver, fault, moment, ...figures } = row
      say(`${++done}/${total} ${driver}: ${fault} during ${moment}, ${seconds} s: ${JSON.stringify(figures)}`)
    }
  }
  await Promise.all(Array.from({ length: NETWORKS_AT_ONCE }, async () => { await take(networks) }))
  await take(kills)
}

async function main (): Promise<number> {
  const options = parseOptions(process.argv.slice(2), Date.now())
  if (options.help) { say(USAGE); return 0 }
  if (whyNot !== null) throw new Error(whyNot)
  await preparePrograms()
  const began = new Date()
  const folder = mkdtempSync(join(tmpdir(), 'faults-'))
  try {
    say(`seed ${options.seed}, ${options.tries} tries a cell, rows in ${options.out}`)
    const record = new Record(options.out)
    await playAll(options, record, await makeWares(folder, options.tries))
    const { kills, networks } = plays(options)
    const asked = [...kills, ...networks].flatMap(({ driver, moment, fault }) => record.find(driver, moment, fault) ?? [])
    for (const driver of options.drivers) say(`\n${renderTable(tableOf(`Driver ${driver}`, asked.filter((row) => row.driver === driver)))}`)
    if (options.docs) {
      const everything = plays({ ...options, drivers: DRIVERS, moments: [], victims: [] })
      const rows = [...everything.kills, ...everything.networks].flatMap(({ driver, moment, fault }) => record.find(driver, moment, fault) ?? [])
      writeDocument(factLines(await machineFacts(`npm run faults -- ${process.argv.slice(2).join(' ')}`.trim(), began)), rows)
    }
    return asked.some(({ problems, wrongBytes }) => problems.length > 0 || wrongBytes > 0) ? 1 : 0
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
