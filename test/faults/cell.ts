// One cell of the matrix: a driver, a moment, a victim, and as many tries as asked for, on one node that must take them all.
import { performance } from 'node:perf_hooks'
import { messageOf } from '../../src/base/errors.ts'
import { quantile } from '../../bench/statistics.ts'
import type { ReadCount } from './obedient-container.ts'
import type { Moment } from './moments.ts'
import { type Driver, FILE_BYTES, Stage, type Wares } from './stage.ts'
import type { Victim } from './victims.ts'

export interface Row {
  readonly driver: Driver
  readonly moment: string
  readonly fault: string
  readonly tries: number
  /** Tries in which the work was under way when the fault came. */
  readonly hit: number
  readonly reads: number
  readonly failedReads: number
  readonly wrongBytes: number
  readonly bytesFetchedAgain: number
  /** Calls that failed and were made again, with success. */
  readonly repeatedCalls: number
  readonly recoveryMs: { readonly median: number, readonly worst: number } | null
  /** What must not be: one line each. */
  readonly problems: readonly string[]
  /** What another's snapshotter did, played to compare: one line each. */
  readonly findings: readonly string[]
  /** What reads failed with. */
  readonly errors: readonly string[]
}

export interface Cell {
  readonly driver: Driver
  readonly moment: Moment
  readonly victim: Victim
  readonly tries: number
  readonly random: () => number
  readonly wares: Wares
}

export async function playCell (cell: Cell): Promise<Row> {
  const { driver, moment, victim, wares, tries } = cell
  const tally = new Tally()
  const stage = await Stage.start(wares, { driver, ...moment.maxSize === undefined ? {} : { maxSize: moment.maxSize } })
  try {
    for (let attempt = 0; attempt < tries; attempt++) await playOnce(cell, stage, attempt, tally)
    tally.bytesFetchedAgain = stage.bytesFetchedAgain()
    await tally.judge(stage)
  } catch (error) {
    tally.problems.push(messageOf(error))
  }
  stage.gateway.release()
  await stage.end().catch((error: unknown) => { tally.problems.push(messageOf(error)) })
  return tally.row(driver, moment.name, victim.name)
}

async function playOnce ({ moment, victim, random }: Cell, stage: Stage, attempt: number, tally: Tally): Promise<void> {
  await victim.reset(stage)
  const underway = await moment.begin(stage, attempt, random)
  const hit = underway.open()
  const struck = performance.now()
  await victim.kill(stage)
  underway.proceed()
  const ms = await victim.recovered(stage, struck)
  const [count, { repeated, lost }] = await Promise.all([underway.job.count(), underway.finish()])
  tally.add(hit, ms, repeated)
  tally.addReads(count)
  if (moment.stock === true) tally.findings.push(...lost)
  else tally.problems.push(...lost)
}

export class Tally {
  readonly problems: string[] = []
  readonly findings: string[] = []
  bytesFetchedAgain = 0
  #hit = 0
  #reads = 0
  #failed = 0
  #wrongFiles = 0
  #repeated = 0
  readonly #recoveries: number[] = []
  readonly #errors = new Set<string>()

  add (hit: boolean, recoveryMs: number, repeated = 0): void {
    if (hit) this.#hit++
    this.#repeated += repeated
    this.#recoveries.push(recoveryMs)
  }

  addReads ({ reads, failed, wrongFiles, errors }: ReadCount): void {
    this.#reads += reads
    this.#failed += failed
    this.#wrongFiles += wrongFiles
    for (const error of errors) this.#errors.add(error)
  }

  /** What the node says of itself. */
  async judge (stage: Stage): Promise<void> {
    const { bytesServedUnverified, worker } = await stage.status()
    if (bytesServedUnverified > 0) this.problems.push(`${bytesServedUnverified} bytes were served unverified`)
    if (worker.violations > 0) this.problems.push(`${worker.violations} violations`)
  }

  row (driver: Driver, moment: string, fault: string): Row {
    const times = this.#recoveries
    return {
      driver,
      moment,
      fault,
      tries: times.length,
      hit: this.#hit,
      reads: this.#reads,
      failedReads: this.#failed,
      wrongBytes: this.#wrongFiles * FILE_BYTES,
      bytesFetchedAgain: this.bytesFetchedAgain,
      repeatedCalls: this.#repeated,
      recoveryMs: times.length === 0 ? null : { median: Math.round(quantile(times, 0.5)), worst: Math.round(Math.max(...times)) },
      problems: this.problems,
      findings: this.findings,
      errors: [...this.#errors]
    }
  }
}
