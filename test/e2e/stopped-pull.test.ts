// A pull whose client goes away: the daemon stops it, too, takes back what it made in containerd, and disturbs nobody who pulls
// the same image. The same command then succeeds.
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { CarBlocks } from '../fakes/gateway.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { COMMAND, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
const served = new CarBlocks()
let gateway: GatedGateway
let scene: Scene
let images = 0

beforeAll(async () => {
  await preparePrograms()
  gateway = await GatedGateway.start(served)
  scene = await Scene.start({ sources: [gateway.url], timeout: '60s' })
}, PREPARE_MS)
afterEach(async () => {
  gateway.release()
  for (const name of await listed('images')) await scene.removeImage(name)
  await scene.noLayerMounts()
})
afterAll(async () => {
  await scene.end()
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

interface Pulling {
  readonly child: ChildProcess
  stderr: string
  stdout: string
  readonly ended: Promise<{ readonly code: number | null, readonly signal: NodeJS.Signals | null }>
}

interface Line { readonly event: string, readonly item?: string, readonly phase?: string }

function pull (reference: string, ...more: readonly string[]): Pulling {
  const child = spawn(COMMAND, ['pull', reference, '--config', scene.config, ...more], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended: Pulling['ended'] = new Promise((resolve) => child.once('close', (code, signal) => { resolve({ code, signal }) }))
  const pulling: Pulling = { child, stderr: '', stdout: '', ended }
  child.stdout.setEncoding('utf8').on('data', (text: string) => { pulling.stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { pulling.stderr += text })
  return pulling
}

async function listed (what: string): Promise<string[]> {
  return (await scene.containerd.ctr(what, 'ls', '-q')).split('\n').filter((name) => name !== '')
}

/** Another image each time, whose data layer waits at the gateway: whole (`keep`) or its table of contents. */
async function heldImage (format: 'keep' | 'estargz'): Promise<Published> {
  const at = ++images
  const image = programImage(join(folder, String(at)), [randomFiles(4, 1 << 20), { '/etc/upper': `from upper layer ${at}\n` }])
  const published = await publish(image.layout, join(folder, `${at}.car`), format)
  for (const { cid, bytes } of (await CarBlocks.load(published.car)).blocks.values()) served.put(cid, bytes)
  const held = published.layers.flatMap(({ cid, size }) => size > 1 << 20 ? [cid, ...gateway.leavesOf(cid)] : [])
  gateway.hold((path) => held.some((cid) => path.includes(cid)))
  return published
}

async function nothingLeft (): Promise<void> {
  await until('the lease is gone', async () => (await listed('leases')).length === 0)
  await until('snapshots are collected', async () => (await scene.snapshots()).length === 0)
  await scene.noLayerMounts()
  expect([await listed('images'), await listed('content'), scene.temporaryFiles()]).toEqual([[], [], []])
}

describe.each([['keep', 'SIGINT'], ['estargz', 'SIGTERM']] as const)('of %s layers', (format, signal) => {
  run(`${signal} stops the pull in the daemon, too, and the same command then succeeds`, async () => {
    const { reference } = await heldImage(format)
    const pulling = pull(reference)
    await until('the layer is asked for', () => gateway.waiting > 0)
    pulling.child.kill(signal)

    expect(await pulling.ended).toEqual({ code: null, signal })
    expect(pulling.stdout).toBe('')
    expect(pulling.stderr.trim().split('\n').at(-1)).toBe(`CANCELLED: stopped by ${signal}; the daemon takes back what it made of the image in containerd; ` +
      'layers that were open stay in the cache, the same command goes on with them')
    await until('nothing is asked for any more', () => gateway.waiting === 0)
    await nothingLeft()

    gateway.release()
    const again = pull(reference)
    expect(await again.ended).toEqual({ code: 0, signal: null })
    expect(await scene.run(again.stdout.trim(), '/bin/e2e', 'sha', '/etc/upper')).toContain('/etc/upper')
  }, 60_000)

  run.each(['first', 'second'])(`${signal} to the %s of two who pull the same image leaves the other's pull alone`, async (which) => {
    const { reference } = await heldImage(format)
    const first = pull(reference, '--name', 'first.test/x:1')
    await until('the layer is asked for', () => gateway.waiting > 0)
    const second = pull(reference, '--name', 'second.test/x:1')
    await until('both pull', () => second.stderr.includes('"phase":"open"'))
    const [stopped, other] = which === 'first' ? [first, second] : [second, first]
    stopped.child.kill(signal)
    expect(await stopped.ended).toEqual({ code: null, signal })
    await until('one lease is left', async () => (await listed('leases')).length === 1)
    expect(gateway.waiting).toBeGreaterThan(0)

    gateway.release()
    expect(await other.ended).toEqual({ code: 0, signal: null })
    expect(await listed('images')).toEqual([other.stdout.trim()])
    expect(await scene.run(other.stdout.trim(), '/bin/e2e', 'sha', '/etc/upper')).toContain('/etc/upper')
  }, 60_000)
})

run('a pull tells its phases, what it fetched, and what stays remote', async () => {
  const { reference, layers } = await heldImage('keep')
  gateway.release()
  const pulling = pull(reference)
  expect(await pulling.ended).toEqual({ code: 0, signal: null })
  const events = pulling.stderr.trim().split('\n').map((line) => JSON.parse(line) as Line)
  const of = (item: string): string[] => events.filter((event) => event.item === item && event.event !== 'progress').map(({ event, phase }) => phase ?? event)

  expect(of(reference)).toEqual(['resolve', 'pull', 'end'])
  for (const { digest } of layers) expect(of(digest)).toEqual(['open', 'end'])
  expect(events.at(-1)).toEqual({
    event: 'end', item: reference, text: expect.stringMatching(/^3 layers, 4\.\d MB, 4\.\d MB of it fetched; the rest comes when it is read$/)
  })
}, 60_000)
