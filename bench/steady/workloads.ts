// The five workloads, run by the native measure program: which files, how many, and what its figures are called.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../demo/run.ts'
import type { SteadyTree } from './tree.ts'

const RANDOM_READS = 8000
const FAULTS = 2000
const SEED = 7 // the same pages in every state: a cache filled once holds them all

export interface Metric {
  readonly key: string
  readonly label: string
  readonly unit: 'µs' | 'MB/s'
  /** lazy-pull-peers.md §11, of our bare mount, by state. */
  readonly targets: Readonly<Record<string, number>>
}

export const METRICS: readonly Metric[] = [
  { key: 'walk', label: 'walk, per entry', unit: 'µs', targets: { cold: 8, warm: 3, 'warm+overlay': 4.5 } },
  { key: 'small', label: 'small file', unit: 'µs', targets: { cold: 110, warm: 9 } },
  { key: 'seq', label: 'sequential', unit: 'MB/s', targets: { first: 250, cold: 700, warm: 10_000 } },
  { key: 'random50', label: 'random 4 KiB, p50', unit: 'µs', targets: { cold: 60 } },
  { key: 'random99', label: 'random 4 KiB, p99', unit: 'µs', targets: { cold: 200 } },
  { key: 'fault50', label: 'mmap fault, p50', unit: 'µs', targets: {} },
  { key: 'fault99', label: 'mmap fault, p99', unit: 'µs', targets: {} }
]

/** Compiles measure.cc into `folder`. */
export async function buildMeasure (folder: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  const program = join(folder, 'measure')
  await run('g++', ['-std=c++20', '-O2', join(import.meta.dirname, 'measure.cc'), '-o', program], { timeoutMs: 120_000 })
  return program
}

export interface Passes {
  /** Of the state in which the tree was mounted. */
  readonly here: Readonly<Record<string, number>>
  /** Of the same again, at once: other programs of this machine may drop caches at any time. */
  readonly warm: Readonly<Record<string, number>>
}

/** All workloads on the tree at `root`, one after the other, each twice. */
export async function runWorkloads (measure: string, root: string, tree: SteadyTree): Promise<Passes> {
  const [sequential, random, mapped] = tree.large.map((path) => join(root, path)) as [string, string, string]
  const plan = [
    { args: ['walk', root], names: { walk: 'usPerItem' } },
    { args: ['small', root, tree.smallFiles], names: { small: 'usPerItem' } },
    { args: ['seq', sequential], names: { seq: 'mbPerSecond' } },
    { args: ['random', random, String(RANDOM_READS), String(SEED)], names: { random50: 'p50', random99: 'p99' } },
    { args: ['fault', mapped, String(FAULTS), String(SEED)], names: { fault50: 'p50', fault99: 'p99' } }
  ]
  const passes = { here: {} as Record<string, number>, warm: {} as Record<string, number> }
  for (const { args, names } of plan) {
    for (const pass of ['here', 'warm'] as const) {
      const found = await figures(measure, args)
      for (const [key, name] of Object.entries(names)) passes[pass][key] = found[name] ?? NaN
    }
  }
  return passes
}

async function figures (measure: string, args: readonly string[]): Promise<Record<string, number>> {
  return JSON.parse((await run(measure, args, { timeoutMs: 300_000 })).stdout) as Record<string, number>
}
