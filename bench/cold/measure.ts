// One run of one contender: fresh state, caches dropped, pull, run, first line; then everything is taken down. The clock
// starts with the pull command and stops when the first byte of the program's output is here.
import { mkdir, mkdtemp, rm, writeFile, cp } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Cleanup } from '../demo/cleanup.ts'
import { run } from '../demo/run.ts'
import type { StoredImage } from '../images/image-store.ts'
import type { PacingProxy } from '../pacing-proxy.ts'
import type { BenchContext } from '../part.ts'
import { endedChildrenSeconds, processesOf, type ProcessUsage, usageSince } from '../process-usage.ts'
import { sweep } from '../sweep.ts'
import type { Contender, Ready, Source } from './contender.ts'

export interface Measurement {
  readonly contender: string
  readonly ms: number
  readonly pullMs: number
  /** Down the line until the first output. */
  readonly bytes: number
  readonly requests: number
  /** CPU of all processes but the emulated network. */
  readonly cpuSeconds: number
  readonly processes: readonly Omit<ProcessUsage, 'pid'>[]
  /** Something that a reader must know of this run; null when all was as it should be. */
  readonly warning: string | null
}

export interface Line { readonly proxy: PacingProxy, readonly requests: string[] }

/** A contender, where its bytes come from, and the line between. */
export interface Taking { readonly contender: Contender, readonly source: Source, readonly line: Line }

/** @throws with one line: a command that failed, output that differs, a full pull that pulled less. */
export async function measureRun (taking: Taking, image: StoredImage, context: BenchContext, label: string): Promise<Measurement[]> {
  const { contender, source, line } = taking
  const cleanup = new Cleanup()
  const folder = await mkdtemp(join(context.scratch, 'run-'))
  cleanup.add(`remove ${folder}`, async () => {
    const left = await sweep(folder)
    if (left.length > 0) context.say(`  ${label} left behind and was swept: ${left.join(', ')}`)
    await rm(folder, { recursive: true, force: true })
  })
  let ready: Ready | null = null
  try {
    ready = await contender.start({ image, source, url: line.proxy.url, folder, cleanup, context })
    return await measureStarted(taking, image, ready, folder)
  } finally {
    if (context.trace !== null && ready !== null) await keepTrace(join(context.trace, label), folder, ready, line)
    await cleanup.run()
  }
}

async function measureStarted (taking: Taking, image: StoredImage, ready: Ready, folder: string): Promise<Measurement[]> {
  const { contender, source, line: { proxy, requests } } = taking
  await dropCaches(source)
  proxy.reset()
  requests.length = 0
  const before = { processes: processesOf(folder), children: endedChildrenSeconds(), began: performance.now() }
  await ready.pull()
  const pullMs = performance.now() - before.began
  const first = await firstLine(ready, `cold-${basename(folder)}`, () => ({
    bytes: proxy.bytes(),
    requests: proxy.requests(),
    usage: usageSince(before.processes, processesOf(folder)),
    ended: endedChildrenSeconds() - before.children
  }))
  const warning = check(contender, image, source, first)
  const { usage, ended } = first.counts
  const cold: Measurement = {
    contender: contender.name,
    ms: first.at - before.began,
    pullMs,
    bytes: first.counts.bytes,
    requests: first.counts.requests,
    cpuSeconds: usage.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, ended),
    processes: [...usage.map(({ pid: _, ...rest }) => rest), { name: 'ended commands', cpuSeconds: ended, peakBytes: 0 }],
    warning
  }
  if (contender.again === undefined) return [cold]

  await dropCaches(source)
  const began = performance.now()
  const children = endedChildrenSeconds()
  const second = await firstLine(ready, `again-${basename(folder)}`, () => null)
  const spent = endedChildrenSeconds() - children
  return [cold, { contender: contender.again, ms: second.at - began, pullMs: 0, bytes: 0, requests: 0, cpuSeconds: spent, processes: [], warning: null }]
}

interface First<Counts> { readonly at: number, readonly line: string, readonly counts: Counts }

/** @param id unlike any other on this machine: runc keeps the containers of all containerds in one place */
async function firstLine<Counts> (ready: Ready, id: string, count: () => Counts): Promise<First<Counts>> {
  const seen: Array<Omit<First<Counts>, 'line'>> = []
  let text = ''
  await ready.run(id, (piece) => {
    if (seen.length === 0) seen.push({ at: performance.now(), counts: count() })
    text += piece
  })
  const [first] = seen
  if (first === undefined) throw new Error('the container printed nothing')
  return { ...first, line: text.split('\n')[0] ?? '' }
}

function check (contender: Contender, image: StoredImage, source: Source, { line, counts: { bytes } }: First<{ bytes: number }>): string | null {
  if (line !== image.expected) throw new Error(`the container printed '${line.slice(0, 80)}' and not '${image.expected}'`)
  if (!contender.lazy && bytes < source.imageBytes) throw new Error(`not all was pulled: ${bytes} bytes came over the line, the image has ${source.imageBytes}`)
  return contender.lazy && bytes >= source.imageBytes ? `not lazy: ${bytes} bytes came over the line, the image has ${source.imageBytes}` : null
}

async function dropCaches ({ files }: Source): Promise<void> {
  await writeFile('/proc/sys/vm/drop_caches', '3')
  await run('sh', ['-c', 'cat -- "$@" > /dev/null', 'cat', ...files])
}

async function keepTrace (folder: string, from: string, { logs }: Ready, { requests }: Line): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const log of logs) await cp(join(from, log), join(folder, basename(log))).catch(() => {})
  await writeFile(join(folder, 'requests.txt'), requests.map((request) => `${request}\n`).join(''))
}
