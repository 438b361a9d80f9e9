// Growth: what more files, layers, containers and bytes cost, in time and in what our processes hold, with a slope for each
// figure and a verdict. Fails when one of them grows worse than its cause.
import { join } from 'node:path'
import type { BenchContext, Part, PartResult } from '../part.ts'
import { spread } from '../statistics.ts'
import type { Table } from '../table.ts'
import { fileImage, filesImage, type GrownImage, layersImage } from './images.ts'
import { measureStep, PROCESSES, type StepFigures } from './step.ts'
import { growthOf } from './verdict.ts'

interface Axis {
  readonly cause: string
  readonly steps: readonly number[]
  readonly image: (cache: string, step: number, say: (text: string) => void) => Promise<GrownImage>
  readonly containers: (step: number) => number
}

const none = (): number => 0
const AXES: readonly Axis[] = [
  { cause: 'files', steps: [1000, 10_000, 100_000], image: filesImage, containers: none },
  { cause: 'layers', steps: [5, 20, 60, 120], image: layersImage, containers: none },
  { cause: 'containers', steps: [1, 10, 50], image: async (cache, _, say) => await layersImage(cache, 5, say), containers: (step) => step },
  { cause: 'MiB', steps: [64, 1024, 4096], image: fileImage, containers: none }
]
const TIMES = ['pull', 'mount', 'containers', 'adopt'] as const
/** What two measurements of the same differ by. */
const NOISE = { ms: 150, pssKb: 24 * 1024, fds: 8, threads: 4 } as const

interface Figure { readonly what: string, readonly unit: keyof typeof NOISE, readonly of: (step: StepFigures) => number }

const FIGURES: readonly Figure[] = [
  ...TIMES.map((what): Figure => ({ what, unit: 'ms', of: (step) => step[`${what}Ms`] })),
  ...PROCESSES.flatMap((process) =>
    (['pssKb', 'fds', 'threads'] as const).map((unit): Figure => ({ what: process, unit, of: ({ held }) => held[process][unit] })))
]

interface Row {
  readonly cause: string
  readonly what: string
  readonly unit: string
  readonly values: ReadonlyArray<{ readonly x: number, readonly y: number }>
  readonly slope: number
  readonly allowed: number
  readonly isLinear: boolean
}

async function runGrowth (context: BenchContext): Promise<PartResult> {
  const rows: Row[] = []
  const tables: Table[] = []
  const wanted = AXES.filter(({ cause }) => context.images.length === 0 || context.quick || context.images.includes(cause))
  for (const axis of wanted) {
    const steps = context.quick ? axis.steps.slice(0, 3).map((step) => Math.ceil(step / 4)) : axis.steps
    const measured: Array<{ step: number, samples: StepFigures[] }> = []
    for (const step of steps) measured.push({ step, samples: await samplesOf(axis, step, context) })
    const found = FIGURES.map((figure) => rowOf(axis.cause, figure, measured)).filter(({ values }) => values.some(({ y }) => y > 0))
    rows.push(...found)
    tables.push(tableOf(axis.cause, steps, found))
  }
  const worse = rows.filter(({ isLinear }) => !isLinear)
  if (worse.length > 0) process.exitCode = 1
  return { tables, charts: [], data: { verdict: worse.length === 0 ? 'no worse than linear' : 'worse than linear', rows } }
}

async function samplesOf (axis: Axis, step: number, { cache, scratch, runs, quick, signal, say }: BenchContext): Promise<StepFigures[]> {
  const image = await axis.image(cache, step, say)
  const samples: StepFigures[] = []
  for (let round = 0; round < (quick ? 1 : Math.min(runs, 3)); round++) {
    if (signal.aborted) throw new Error('stopped')
    say(`growth: ${step} ${axis.cause}, run ${round + 1}`)
    samples.push(await measureStep({ image, containers: axis.containers(step), folder: join(scratch, `g-${axis.cause}-${step}-${round}`) }))
  }
  return samples
}

function rowOf (cause: string, { what, unit, of }: Figure, measured: ReadonlyArray<{ readonly step: number, readonly samples: readonly StepFigures[] }>): Row {
  const values = measured.map(({ step, samples }) => ({ x: step, y: spread(samples.map(of)).median }))
  return { cause, what, unit, values, ...growthOf(values, NOISE[unit]) }
}

function tableOf (cause: string, steps: readonly number[], rows: readonly Row[]): Table {
  const text = (unit: string, value: number): string => unit === 'pssKb' ? (value / 1024).toFixed(1) : value.toFixed(0)
  return {
    title: `growth with ${cause}`,
    columns: ['of', 'unit', ...steps.map(String), `per 1000 ${cause}`, 'allowed', 'verdict'],
    rows: rows.map(({ what, unit, values, slope, allowed, isLinear }) => [
      what, unit === 'pssKb' ? 'MiB' : unit, ...values.map(({ y }) => text(unit, y)),
      (unit === 'pssKb' ? slope / 1024 * 1000 : slope * 1000).toFixed(1), text(unit, allowed), isLinear ? 'linear' : 'WORSE'
    ]),
    notes: ['allowed: of the last step, when it may be 1.5 times as steep as those before',
      'mount: Prepare, Mounts and mount(8) of a container; adopt: serve again']
  }
}

export const part: Part = { name: 'growth', run: runGrowth }
