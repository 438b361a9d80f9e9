// Steady state: five workloads, first from the network, cold from the cache, warm, for each contender; medians over runs
// in random order. Baselines are measured in the same run: overlayfs on the unpacked tree, and EROFS by mkfs.erofs.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BarChart } from '../chart.ts'
import { run } from '../demo/run.ts'
import type { BenchContext, Part, PartResult } from '../part.ts'
import { seededRandom, shuffled, type Spread, spread } from '../statistics.ts'
import type { Table } from '../table.ts'
import { type Contender, contenders, type State } from './contenders.ts'
import { LazyPlane } from './lazy-plane.ts'
import { steadyTree } from './tree.ts'
import { buildMeasure, type Metric, METRICS, type Passes, runWorkloads } from './workloads.ts'

/** contender → state → metric → values of all runs. */
type Samples = Map<string, Map<string, Map<string, number[]>>>

interface Row {
  readonly metric: string
  readonly unit: string
  readonly state: string
  readonly contender: string
  readonly value: Spread
  /** Of the baseline's median; below 1 is better, whatever the unit. */
  readonly toOverlay: number | null
  readonly toErofs: number | null
  readonly target: number | null
}

interface Memory { readonly what: string, readonly guardianKb: number, readonly workerKb: number }

async function runSteady (context: BenchContext): Promise<PartResult> {
  const { cache, scratch, cleanup, say, signal } = context
  const tree = await steadyTree(cache, say)
  const folder = join(scratch, 'steady')
  const measure = await buildMeasure(folder)
  const lazy = await LazyPlane.start(folder, tree, cleanup)
  const filled = lazy.newCache()
  const all = contenders({ folder, tree, lazy, measure, filled })
    .filter(({ name }) => context.contenders.length === 0 || context.contenders.some((wanted) => name.includes(wanted)))
  const memory: Memory[] = []
  const target = join(folder, 'filling')
  await lazy.mount('erofs', filled, target)
  memory.push(await memoryOf(lazy, 'mounted'))
  await runWorkloads(measure, target, tree)
  memory.push(await memoryOf(lazy, 'first reads done'))
  await lazy.unmount('erofs', target)
  await run(measure, ['forget', join(filled, 'data')]) // written back: what is dirty cannot be dropped later

  const samples: Samples = new Map()
  const random = seededRandom(context.seed)
  for (let round = 0; round < context.runs; round++) {
    say(`steady: run ${round + 1} of ${context.runs}`)
    for (const contender of shuffled(all, random)) {
      for (const states of contender.mounts) {
        if (signal.aborted) throw new Error('stopped')
        await sample(samples, contender, states, async (root) => await runWorkloads(measure, root, tree))
      }
    }
  }
  memory.push(await memoryOf(lazy, 'all runs done'))
  const status = await lazy.plane.status()
  if (status.violations > 0) throw new Error(`${status.violations} chunks of the cache did not match: the figures mean nothing`)
  const rows = rowsOf(samples)
  return {
    tables: [...METRICS.map((metric) => tableOf(metric, rows)), memoryTable(memory)],
    charts: [chartOf('warm', rows), chartOf('cold', rows)],
    data: { tree: { entries: tree.entries, bytes: tree.bytes }, rows, memory }
  }
}

async function sample (
  samples: Samples, contender: Contender, states: readonly State[], workloads: (root: string) => Promise<Passes>
): Promise<void> {
  const root = await contender.mount(states[0] ?? 'cold')
  try {
    for (const state of states) {
      await contender.enter(state)
      const { here, warm } = await workloads(root)
      note(samples, contender.name, state, here)
      if (states === contender.mounts.at(-1) && state === states.at(-1)) note(samples, contender.name, 'warm', warm)
    }
  } finally {
    await contender.unmount()
  }
}

function note (samples: Samples, contender: string, state: string, figures: Readonly<Record<string, number>>): void {
  const states = samples.get(contender) ?? new Map<string, Map<string, number[]>>()
  samples.set(contender, states)
  const metrics = states.get(state) ?? new Map<string, number[]>()
  states.set(state, metrics)
  for (const [metric, value] of Object.entries(figures)) metrics.set(metric, [...metrics.get(metric) ?? [], value])
}

function rowsOf (samples: Samples): Row[] {
  const median = (contender: string, state: string, metric: string): number | null => {
    const values = samples.get(contender)?.get(state)?.get(metric)
    return values === undefined ? null : spread(values).median
  }
  return METRICS.flatMap(({ key, unit, targets }) => [...samples].flatMap(([contender, states]) => [...states].map(([state, metrics]): Row => {
    const value = spread(metrics.get(key) ?? [])
    const ratio = (baseline: number | null): number | null =>
      baseline === null ? null : unit === 'MB/s' ? baseline / value.median : value.median / baseline
    const bare = contender === 'ours erofs'
    return {
      metric: key,
      unit,
      state,
      contender,
      value,
      toOverlay: ratio(median('overlay on unpacked', state, key)),
      toErofs: ratio(median('plain EROFS', state, key)),
      target: (bare ? targets[state] : contender === 'ours erofs + overlay' ? targets[`${state}+overlay`] : undefined) ?? null
    }
  })))
}

const STATES = ['first', 'disk', 'restart', 'cold', 'warm']

function tableOf ({ key, label, unit }: Metric, rows: readonly Row[]): Table {
  const chosen = rows.filter(({ metric }) => metric === key).sort((a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state))
  const number = (value: number | null): string => value === null ? '-' : value.toFixed(value < 100 ? 2 : 0)
  return {
    title: `${label}, ${unit} (ratios: above 1 is slower than the baseline)`,
    columns: ['state', 'contender', 'median', 'p25', 'p75', 'of overlayfs', 'of plain EROFS', 'target'],
    rows: chosen.map(({ state, contender, value, toOverlay, toErofs, target }) => [
      state, contender, number(value.median), number(value.p25), number(value.p75), number(toOverlay), number(toErofs), number(target)
    ])
  }
}

function chartOf (state: string, rows: readonly Row[]): BarChart {
  return {
    name: `steady-${state}`,
    title: `Steady state, ${state}: time as a multiple of overlayfs on the unpacked tree`,
    axis: state === 'warm' ? 'ratio of medians; 1 = the same' : 'ratio of medians to plain EROFS; 1 = the same',
    groups: METRICS.map(({ key, label }) => ({
      label,
      bars: rows.filter((row) => row.metric === key && row.state === state).map((row) =>
        ({ series: row.contender, value: state === 'warm' ? row.toOverlay : row.toErofs }))
    })),
    mark: { at: 1, label: 'baseline' }
  }
}

async function memoryOf (lazy: LazyPlane, what: string): Promise<Memory> {
  const worker = lazy.plane.worker
  return { what, guardianKb: await proportionalKb(worker?.guardianPid ?? 0), workerKb: await proportionalKb(worker?.pid ?? 0) }
}

async function proportionalKb (pid: number): Promise<number> {
  return Number(/^Pss:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])
}

function memoryTable (memory: readonly Memory[]): Table {
  return {
    title: 'memory of the data plane, Pss in MiB (target 24, tree mounted)',
    columns: ['when', 'guardian', 'worker', 'both'],
    rows: memory.map(({ what, guardianKb, workerKb }) => [what, ...[guardianKb, workerKb, guardianKb + workerKb].map((kb) => (kb / 1024).toFixed(1))])
  }
}

export const part: Part = { name: 'steady', run: runSteady }
