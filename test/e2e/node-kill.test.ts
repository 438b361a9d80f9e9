// Node is not on the way of a cached read: it may be killed, and strace sees it do nothing. Reads that need the network
// wait for the next `serve` and end well.
import { afterAll, beforeAll, expect } from '@jest/globals'
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { execute, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, type Pulled, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const BYTES = 1 << 20
const folder = shelf()
const hasStrace = (process.env['PATH'] ?? '').split(':').some((directory) => existsSync(join(directory, 'strace')))
if (!hasStrace) process.stderr.write('the test that traces Node is skipped: no strace\n')

let image: ProgramImage
let published: Published
let gateway: GatedGateway
let leaves: string[]
let scene: Scene
let pulled: Pulled
let cached: string[]
let uncached: string[]

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(8, BYTES)])
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
  leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
  const all = [...image.hashes.keys()]
  cached = all.slice(0, 4)
  uncached = all.slice(5) // what lies between shares leaves with both
  scene = await Scene.start({ sources: [gateway.url], deadline: '60s' })
  pulled = await scene.pull(published.reference)
  expect(hashLines(await scene.run(pulled.name, '/bin/e2e', 'sha', ...cached))).toEqual(image.expected(cached))
}, PREPARE_MS)

afterAll(async () => {
  await gateway.close()
  await scene.end()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

/** Reads on a mount of the image, from the disk cache through the worker: the kernel's pages are dropped before. */
async function readFresh (directory: string, paths: readonly string[]): Promise<Record<string, string>> {
  const { stdout, stderr } = await execute(join(directory, 'bin/e2e'), ['fresh', ...paths.map((path) => `${directory}${path}`)])
  return hashLines((stdout + stderr).replaceAll(directory, ''))
}

run('strace sees Node do nothing during cached reads, and something during others', async () => {
  if (!hasStrace) return
  await scene.withMounted(pulled.layers.at(-1)?.chainId ?? '', async (directory) => {
    await readFresh(directory, cached)
    const before = (await scene.status()).bytesServed
    const quiet: string[][] = []
    for (let tries = 0; tries < 5 && quiet.at(-1)?.length !== 0; tries++) { // timers of idle connections end at some time
      quiet.push(await traced(async () => { expect(await readFresh(directory, cached)).toEqual(image.expected(cached)) }))
    }
    expect(quiet.at(-1)).toEqual([])
    expect((await scene.status()).bytesServed - before).toBeGreaterThanOrEqual(cached.length * BYTES)

    const more = uncached.slice(0, 1)
    const busy = await traced(async () => { expect(await readFresh(directory, more)).toEqual(image.expected(more)) })
    expect(busy.length).toBeGreaterThan(5)
  })
}, 60_000)

/** The system calls that `serve` made while `work` ran. */
async function traced (work: () => Promise<void>): Promise<string[]> {
  const log = join(scene.folder, 'strace.log')
  rmSync(log, { force: true })
  const strace = spawn('strace', ['-f', '-qq', '-o', log, '-p', String(scene.daemon.pid)], { stdio: 'ignore' })
  const ended = new Promise<void>((resolve) => strace.once('exit', () => { resolve() }))
  await until('every thread is traced', () => threadsOf(scene.daemon.pid).every((tracer) => tracer === strace.pid))
  await sleep(100) // the calls that threads wait in are written on attaching
  const attached = linesOf(log).length
  await work()
  const lines = linesOf(log).slice(attached)
  strace.kill('SIGINT')
  await ended
  return lines
}

/** Pid of each thread's tracer. */
function threadsOf (pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) =>
    Number(/^TracerPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))?.[1]))
}

function linesOf (path: string): string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter((line) => line !== '') : []
}

run('while Node is dead cached reads go on, others wait, and they end well when serve is back', async () => {
  await scene.withMounted(pulled.layers.at(-1)?.chainId ?? '', async (directory) => {
    await readFresh(directory, cached)
    const { bytesServed, worker } = await scene.status()
    const before = gateway.deliveries(leaves)
    await scene.daemon.end('SIGKILL')
    expect((await scene.tryPull(published.reference)).stderr).toMatch(/^UNAVAILABLE: no daemon answers on /m)

    expect(await readFresh(directory, cached)).toEqual(image.expected(cached))
    let ended = false
    const waiting = readFresh(directory, uncached).finally(() => { ended = true })
    await sleep(1000)
    expect(ended).toBe(false)
    expect(gateway.deliveries(leaves)).toBe(before)

    await scene.serve()
    expect(await waiting).toEqual(image.expected(uncached))
    const after = await scene.status()
    expect(after.worker).toMatchObject({ pid: worker.pid, restarts: worker.restarts })
    expect(after.bytesServed - bytesServed).toBeGreaterThanOrEqual((cached.length + uncached.length) * BYTES)
    expect(after.bytesServedUnverified).toBe(0)
  })
}, 60_000)
