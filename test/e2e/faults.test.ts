// The short form of `npm run faults`: some of its cells, one try each, with the driver erofs. What reads of the worker's, of
// misses and of opens do when somebody dies is in worker-kill, node-kill, waiting-reads and restart.
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, expect } from '@jest/globals'
import { seededRandom } from '../../bench/statistics.ts'
import { playCell, type Row } from '../faults/cell.ts'
import { MOMENTS } from '../faults/moments.ts'
import { playNetworkCell } from '../faults/network-cell.ts'
import { NETWORK_FAULTS } from '../faults/network-faults.ts'
import type { Wares } from '../faults/stage.ts'
import { VICTIMS } from '../faults/victims.ts'
import { makeWares } from '../faults/wares.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { shelf } from './harness.ts'
import { run } from './run.ts'

const CELL_MS = 120_000
const folder = shelf()
let wares: Wares

beforeAll(async () => {
  await preparePrograms()
  wares = await makeWares(folder, 1)
}, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

async function play (victimName: string, momentName: string): Promise<Row> {
  const victim = VICTIMS.map((make) => make()).find(({ name }) => name === victimName)
  const moment = MOMENTS.find(({ name }) => name === momentName)
  if (victim === undefined || moment === undefined) throw new Error(`no cell ${victimName} during ${momentName}`)
  return await playCell({ driver: 'erofs', moment, victim, tries: 1, random: seededRandom(1), wares })
}

run.each([['worker', 'Prepare'], ['worker', 'pull'], ['worker', 'eviction'], ['node', 'Remove'], ['node', 'eviction'], ['containerd', 'Prepare']])(
  '%s killed during %s: no read fails, no byte is wrong, nothing that was answered is lost', async (victim, moment) => {
    const { reads, ...row } = await play(victim, moment)

    expect(row).toMatchObject({ tries: 1, failedReads: 0, wrongBytes: 0, problems: [] })
    expect(reads).toBeGreaterThan(0)
  }, CELL_MS)

run('guardian killed during pull: reads fail rather than lie, and the node serves again', async () => {
  expect(await play('guardian', 'pull')).toMatchObject({ tries: 1, wrongBytes: 0, problems: [] })
}, CELL_MS)

run.each(['dead for 2 s', 'wrong lengths', 'no name resolved', 'clock a day off, and back'])(
  'a network that is %s: reads wait, and end with the right bytes', async (name) => {
    const fault = NETWORK_FAULTS.find((one) => one.name === name)
    if (fault === undefined) throw new Error(`no fault ${name}`)

    expect(await playNetworkCell({ driver: 'erofs', fault, tries: 1, wares })).toMatchObject({ tries: 1, hit: 1, failedReads: 0, wrongBytes: 0, problems: [] })
  }, CELL_MS)
