// Soak: our daemon under containerd serves two images for minutes while readers go over one, its pages are evicted, and
// the other is removed and pulled again, over and over. Memory, descriptors and threads of each process are sampled; the
// part fails when one of them grows by more than its bound.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from '../demo/run.ts'
import { RECIPES } from '../images/catalogue.ts'
import { published, storedImage } from '../images/image-store.ts'
import type { BenchContext, Part, PartResult } from '../part.ts'
import type { Table } from '../table.ts'
import { steadyTree, type SteadyTree } from '../steady/tree.ts'
import { buildMeasure, runWorkloads } from '../steady/workloads.ts'
import { type LoadedNode, startLoadedNode } from './node.ts'
import { type Held, heldBy } from './processes.ts'
import { growth, slopePerHour } from './slope.ts'

const MINUTES = Number(process.env['IPFS_SNAPSHOTTER_SOAK_MINUTES'] ?? 3)
const SAMPLE_MS = 1000
const PAUSE_MS = 2000 // between a pull and its removal
const CYCLED = 'python'
/** Of the growth of the last third's median over the middle third's: Node's heap breathes, the data plane's does not. */
const BOUNDS: Readonly<Record<string, Held>> = {
  'node (serve)': { rssKb: 24 * 1024, pssKb: 24 * 1024, fds: 4, threads: 1 },
  guardian: { rssKb: 256, pssKb: 256, fds: 4, threads: 0 },
  worker: { rssKb: 2048, pssKb: 2048, fds: 8, threads: 0 }
}

interface Series { readonly process: string, readonly pid: number, readonly samples: Array<Held & { readonly atSeconds: number }> }

interface Work {
  readonly node: LoadedNode
  readonly over: () => boolean
  readonly done: { reads: number, pulls: number }
}

async function runSoak ({ cache, scratch, cleanup, signal, say }: BenchContext): Promise<PartResult> {
  const folder = join(scratch, 'soak')
  const tree = await steadyTree(cache, say)
  const recipe = RECIPES.find(({ name }) => name === CYCLED)
  if (recipe === undefined) throw new Error(`there is no recipe ${CYCLED}`)
  const cycled = await published(cache, await storedImage(cache, recipe, say), [], say)
  const node = await startLoadedNode(folder, [tree.car, cycled.car], cleanup)
  const measure = await buildMeasure(folder)
  await node.pull(tree.reference)
  const root = await lazyMount(node.state)
  const series = await watched(node)

  say(`soak: ${MINUTES} minutes`)
  const began = performance.now()
  const seconds = (): number => (performance.now() - began) / 1000
  const work: Work = { node, over: () => signal.aborted || seconds() > MINUTES * 60, done: { reads: 0, pulls: 0 } }
  await Promise.all([sampleAll(series, seconds, work), readAndEvict(measure, root, tree, work), pullAndRemove(cycled.reference, work)])
  const { bytesServed, bytesServedUnverified, worker } = await node.status()
  if (worker.restarts > 0 || worker.violations > 0) throw new Error(`${worker.restarts} restarts, ${worker.violations} violations: something went wrong`)
  return resultOf(series, { minutes: MINUTES, ...work.done, bytesServed, bytesServedUnverified })
}

/** The first mount of ours: the large layer's. */
async function lazyMount (state: string): Promise<string> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  const found = lines.find((line) => / - erofs /.test(line) && line.includes(join(state, 'meta')))
  if (found === undefined) throw new Error('no EROFS mount of ours: the soak needs the driver erofs')
  return found.split(' ')[4] ?? ''
}

async function watched (node: LoadedNode): Promise<Series[]> {
  const guardian = Number((await readFile(join(node.state, 'guardian.pid'), 'utf8')).trim())
  const { worker } = await node.status()
  return Object.entries({ 'node (serve)': await nodeBelow(node.daemonPid), guardian, worker: worker.pid }).map(([process, pid]) => ({ process, pid, samples: [] }))
}

/** The command is a shell script that ends in exec or waits for Node. */
async function nodeBelow (pid: number): Promise<number> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').filter((child) => child !== '')
  for (const candidate of [pid, ...children.map(Number)]) {
    if ((await readFile(`/proc/${candidate}/cmdline`, 'utf8')).includes('main.ts')) return candidate
  }
  return pid
}

async function sampleAll (series: readonly Series[], seconds: () => number, { over }: Work): Promise<void> {
  while (!over()) {
    for (const { process, pid, samples } of series) {
      const held = await heldBy(pid)
      if (held === null) throw new Error(`${process} (${pid}) ended`)
      samples.push({ ...held, atSeconds: seconds() })
    }
    await sleep(SAMPLE_MS)
  }
}

async function readAndEvict (measure: string, root: string, tree: SteadyTree, { over, done }: Work): Promise<void> {
  while (!over()) {
    await runWorkloads(measure, root, tree)
    await run(measure, ['forget', root], { timeoutMs: 300_000 })
    done.reads++
  }
}

async function pullAndRemove (reference: string, { node, over, done }: Work): Promise<void> {
  while (!over()) {
    const name = await node.pull(reference)
    await sleep(PAUSE_MS)
    await node.remove(name)
    done.pulls++
  }
}

function resultOf (series: readonly Series[], facts: Readonly<Record<string, number>>): PartResult {
  const rows = series.flatMap(({ process, samples }) => (['rssKb', 'pssKb', 'fds', 'threads'] as const).map((what) => {
    const values = samples.map((sample) => ({ atSeconds: sample.atSeconds, value: sample[what] }))
    const numbers = values.map(({ value }) => value)
    const bound = BOUNDS[process]?.[what] ?? 0
    const grown = growth(values)
    return { process, what, first: numbers[0] ?? 0, least: Math.min(...numbers), most: Math.max(...numbers), last: numbers.at(-1) ?? 0, grown, bound, perHour: slopePerHour(values.slice(Math.floor(values.length / 2))) }
  }))
  const table: Table = {
    title: `soak of ${facts['minutes'] ?? 0} minutes: ${facts['reads'] ?? 0} rounds of reads, ${facts['pulls'] ?? 0} pulls and removals`,
    columns: ['process', 'of', 'first', 'least', 'most', 'last', 'growth', 'bound', 'per hour'],
    rows: rows.map(({ process, what, first, least, most, last, grown, bound, perHour }) =>
      [process, what, ...[first, least, most, last, grown, bound, perHour].map((value) => value.toFixed(0))]),
    notes: ['growth: median of the last third less that of the middle third; per hour: median slope over the second half; a few minutes cannot resolve less than some MiB an hour']
  }
  const growing = rows.filter(({ grown, bound }) => grown > bound)
  if (growing.length > 0) process.exitCode = 1
  return { tables: [table], charts: [], data: { ...facts, flat: growing.length === 0, rows, series } }
}

export const part: Part = { name: 'soak', run: runSoak }
