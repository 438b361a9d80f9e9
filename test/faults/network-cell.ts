// One cell of the table of network faults: a driver, a fault, and as many tries as asked for, on one node with one gateway.
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../../src/base/errors.ts'
import { READ_DEADLINE_MS } from '../../src/base/limits.ts'
import { Tally, type Row } from './cell.ts'
import { Network, type NetworkFault } from './network-faults.ts'
import { type Driver, Stage, type Wares } from './stage.ts'

export const NETWORK = 'network'
/** The kernel asks once more, page by page, when its readahead failed; and a busy machine is slow. */
const GRACE = { deadlines: 2, ms: 5_000 }

export interface NetworkCell {
  readonly driver: Driver
  readonly fault: NetworkFault
  readonly tries: number
  readonly wares: Wares
}

export async function playNetworkCell ({ driver, fault, tries, wares }: NetworkCell): Promise<Row> {
  const tally = new Tally()
  const network = new Network()
  const deadline = `${fault.deadlineMs ?? READ_DEADLINE_MS}ms`
  try {
    const stage = await Stage.start(wares, {
      driver, deadline, timeout: '10s', source: async (gateway) => await network.before(gateway), environment: network.host.environment
    })
    try {
      for (let turn = 0; turn < tries; turn++) await playOnce(stage, network, fault, turn, tally)
      tally.bytesFetchedAgain = stage.bytesFetchedAgain()
      await tally.judge(stage)
    } catch (error) {
      tally.problems.push(messageOf(error))
    }
    await fault.mend(network)
    await stage.end()
  } catch (error) {
    tally.problems.push(messageOf(error))
  } finally {
    await network.close()
  }
  return tally.row(driver, NETWORK, fault.name)
}

async function playOnce (stage: Stage, network: Network, fault: NetworkFault, turn: number, tally: Tally): Promise<void> {
  await fault.strike(network, turn)
  const began = performance.now()
  const files = stage.fresh(turn)
  const job = stage.container.read(files)
  const ended = job.count().then((count) => ({ count, ms: performance.now() - began }))
  ended.catch(() => {}) // told to whoever waits for it below
  await sleep(fault.lastsMs)
  const hit = fault.outlasts === true || !job.over()
  await fault.mend(network)
  const mended = performance.now()
  const { count, ms } = await ended
  tally.addReads(count)
  if (fault.outlasts === true) {
    const [least, most] = [fault.deadlineMs ?? 0, (fault.deadlineMs ?? 0) * GRACE.deadlines + GRACE.ms]
    if (count.failed === 0) tally.problems.push(`try ${turn}: no read failed: none was under the fault`)
    if (ms < least || ms > most) tally.problems.push(`try ${turn}: the reads ended after ${Math.round(ms)} ms instead of ${least} to ${most}`)
    if (count.errors.some((error) => error !== EIO)) tally.problems.push(`try ${turn}: reads failed with ${count.errors.join('; ')}`)
    tally.addReads(await untilRight(stage, files, turn, tally))
  } else if (count.failed > 0) {
    tally.problems.push(`try ${turn}: ${count.failed} reads failed after ${Math.round(ms)} ms, within their deadline: ${count.errors.join('; ')}`)
  }
  tally.add(hit, performance.now() - mended)
}

const EIO = 'Input/output error'

/** The same files, after the fault. */
async function untilRight (stage: Stage, files: readonly string[], turn: number, tally: Tally): ReturnType<ReturnType<Stage['container']['read']>['count']> {
  const count = await stage.container.read(files).count()
  if (count.failed > 0) tally.problems.push(`try ${turn}: after the fault ${count.failed} reads fail: ${count.errors.join('; ')}`)
  return count
}
