// One step of growth on a fresh node: pulls the image, mounts its top as containerd would, starts containers, and looks at
// what each process holds then. Everything it started is down again when it returns.
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ContainerdClient } from '../../src/grpc/containerd-client.ts'
import { mountAll, unmountAll } from '../../test/suites/mounts.ts'
import { Cleanup } from '../demo/cleanup.ts'
import { type BenchNode, startGateway, startNode } from '../demo/node.ts'
import { product } from '../demo/product.ts'
import { run } from '../demo/run.ts'
import { type Held, heldBy } from '../soak/processes.ts'
import { type GrownImage, WAIT } from './images.ts'

export const PROCESSES = ['node', 'worker', 'guardian'] as const
const PLUGIN = 'ipfs'
const SETTLE_MS = 15_000 // after the proofs: threads that met large layers were replaced, and V8 has let go of their pages
const PROOF_MS_MAX = 120_000

export interface StepFigures {
  /** The command line included. */
  readonly pullMs: number
  /** Prepare, Mounts and mount(8) of a container's snapshot on the image. */
  readonly mountMs: number
  /** Of starting all containers; 0 when none was asked for. */
  readonly containersMs: number
  /** `serve` again, until it answers with every layer in service. */
  readonly adoptMs: number
  readonly held: Readonly<Record<typeof PROCESSES[number], Held>>
}

interface Step { readonly image: GrownImage, readonly containers: number, readonly folder: string }

export async function measureStep ({ image, containers, folder }: Step): Promise<StepFigures> {
  const cleanup = new Cleanup()
  try {
    const node = await startNode(folder, await startGateway([image.car], join(folder, 'gateway'), cleanup), cleanup)
    const [name, pullMs] = await timed(async () => await node.pull(image.reference))
    const top = await topOf(node)
    const [, mountMs] = await timed(async () => { await mountOnce(node, top, join(folder, 'mounted')) })
    const containersMs = await startContainers(node, name, containers, cleanup)
    await settled(node)
    const held = await heldNow(node)
    return { pullMs, mountMs, containersMs, adoptMs: await adopt(node, folder, image.layers, cleanup), held }
  } finally {
    await cleanup.run()
    await rm(folder, { recursive: true, force: true })
  }
}

async function timed<Result> (work: () => Promise<Result>): Promise<[Result, number]> {
  const began = performance.now()
  return [await work(), performance.now() - began]
}

/** The committed snapshot that no other lies on. */
async function topOf ({ containerd: { address } }: BenchNode): Promise<string> {
  const client = new ContainerdClient({ address, namespace: 'default' })
  try {
    const parents = await client.snapshotParents(PLUGIN)
    const below = new Set(parents.values())
    const top = [...parents.keys()].find((name) => !below.has(name))
    if (top === undefined) throw new Error('no snapshot is there')
    return top
  } finally {
    client.close()
  }
}

async function mountOnce ({ containerd: { address } }: BenchNode, parent: string, target: string): Promise<void> {
  const client = new ContainerdClient({ address, namespace: 'default' })
  await mkdir(target)
  try {
    const mounts = await client.prepare({ snapshotter: PLUGIN, key: 'grown', parent, labels: { 'containerd.io/gc.root': 'measured' } }, '')
    mountAll(mounts, target)
  } finally {
    unmountAll(target)
    await client.removeSnapshot(PLUGIN, 'grown')
    client.close()
  }
}

async function startContainers ({ containerd }: BenchNode, name: string, count: number, cleanup: Cleanup): Promise<number> {
  if (count === 0) return 0
  const ids = Array.from({ length: count }, (_, at) => `grown-${process.pid}-${at}`)
  cleanup.add('end the containers', async () => {
    for (const id of ids) {
      await containerd.ctr(['tasks', 'rm', '--force', id], { mayFail: true })
      await containerd.ctr(['containers', 'rm', id], { mayFail: true })
    }
  })
  const [, ms] = await timed(async () => {
    for (const id of ids) await containerd.ctr(['run', '--detach', '--snapshotter', PLUGIN, name, id, WAIT])
  })
  return ms
}

async function settled ({ config }: BenchNode): Promise<void> {
  for (const until = performance.now() + PROOF_MS_MAX; ; await new Promise((resolve) => setTimeout(resolve, 1000))) {
    const { proofs } = await product<{ proofs: { proven: number, waiting: number } }>(['status', '--config', config])
    if (proofs.proven > 0 && proofs.waiting === 0) break
    if (performance.now() > until) throw new Error('a layer is not proven')
  }
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
}

async function heldNow (node: BenchNode): Promise<StepFigures['held']> {
  const { worker } = await product<{ worker: { pid: number } }>(['status', '--config', node.config])
  const guardian = Number(await readFile(join(node.state, 'guardian.pid'), 'utf8'))
  const pids = { node: await nodeBelow(node.daemonPid), worker: worker.pid, guardian }
  const held = await Promise.all(PROCESSES.map(async (process) => [process, await heldBy(pids[process])] as const))
  const gone = held.find(([, figures]) => figures === null)
  if (gone !== undefined) throw new Error(`${gone[0]} ended`)
  return Object.fromEntries(held) as StepFigures['held']
}

/** The command is a shell script that ends in exec or waits for Node. */
async function nodeBelow (pid: number): Promise<number> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').filter((child) => child !== '')
  for (const candidate of [pid, ...children.map(Number)]) {
    if ((await readFile(`/proc/${candidate}/cmdline`, 'utf8')).includes('main.ts')) return candidate
  }
  return pid
}

async function adopt (node: BenchNode, folder: string, layers: number, cleanup: Cleanup): Promise<number> {
  process.kill(await nodeBelow(node.daemonPid), 'SIGTERM')
  const isDown = async (): Promise<boolean> => (await run('sh', ['-c', 'test -S "$0"', join(node.state, 'control.sock')], { mayFail: true })).code !== 0
  while (!await isDown()) await new Promise((resolve) => setTimeout(resolve, 20))
  const [, ms] = await timed(async () => { await serveAgain(node, folder, cleanup) })
  const { layers: served } = await product<{ layers: readonly unknown[] }>(['status', '--config', node.config])
  if (served.length !== layers) throw new Error(`${served.length} of ${layers} layers are served after a restart`)
  return ms
}

async function serveAgain ({ config }: BenchNode, folder: string, cleanup: Cleanup): Promise<void> {
  const { startService } = await import('../demo/product.ts')
  const { readFile: read } = await import('node:fs/promises')
  const again = await startService(['serve', '--config', config], join(folder, 'serve-again'),
    async () => (await read(join(folder, 'serve-again.log'), 'utf8')).includes('"msg":"ready"'))
  cleanup.add('stop the second daemon', async () => { await again.stop() })
}
