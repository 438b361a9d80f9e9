// What a restart keeps: after SIGKILL of everything, after a reboot, after an orderly stop of `serve`; and what `--stop`
// leaves, which is nothing.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { mountsBelow } from '../suites/bind-layers.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { wipe } from '../suites/mounts.ts'
import { command, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, type Pulled, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'
import { kill, lives } from './traces.ts'

const folder = shelf()
let image: ProgramImage
let lazy: Published
let plain: Published

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(4, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
  ;[lazy, plain] = await Promise.all([
    publish(image.layout, join(folder, 'lazy.car')),
    publish(image.layout, join(folder, 'plain.car'), 'keep')
  ])
}, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

describe.each([
  ['estargz', 'erofs'], ['keep', 'erofs'], ['estargz', 'erofs-loop'], ['estargz', 'fuse']
] as const)('an image published with --format %s, mounted by %s', (format, driver) => {
  let gateway: GatedGateway
  let leaves: string[]
  let scene: Scene
  let pulled: Pulled
  let read: string[]
  let unread: string[]

  beforeEach(async () => {
    const published = format === 'keep' ? plain : lazy
    gateway = await GatedGateway.over(published.car)
    leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
    scene = await Scene.start({ sources: [gateway.url], driver })
    pulled = await scene.pull(published.reference)
    const all = [...image.hashes.keys()]
    read = all.slice(0, 2)
    unread = all.slice(2)
    expect(hashLines(await scene.run(pulled.name, '/bin/e2e', 'sha', ...read))).toEqual(image.expected(read))
  }, PREPARE_MS)
  afterEach(async () => {
    await scene.end()
    await gateway.close()
  }, PREPARE_MS)

  const expectRestored = async (before: number): Promise<void> => {
    expect(await scene.snapshots()).toHaveLength(3)
    expect(scene.layerMounts()).toHaveLength(3)
    expect(hashLines(await scene.run(pulled.name, '/bin/e2e', 'sha', ...read))).toEqual(image.expected(read))
    expect(gateway.deliveries(leaves)).toBe(before)
    expect(hashLines(await scene.run(pulled.name, '/bin/e2e', 'sha', ...unread))).toEqual(image.expected(unread))
    expect(await scene.status()).toMatchObject({ bytesServedUnverified: 0, worker: { violations: 0 } })
    expect(scene.temporaryFiles()).toEqual([])
  }

  run('comes back after SIGKILL of serve, guardian, worker and containerd, and fetches nothing again', async () => {
    const before = gateway.deliveries(leaves)
    await scene.killNode()
    await scene.containerd.halt('SIGKILL')
    await scene.serve()
    await scene.containerd.start()
    await expectRestored(before)
  }, 90_000)

  run('comes back after a reboot, which empties the state folder and unmounts everything', async () => {
    const before = gateway.deliveries(leaves)
    await reboot(scene)
    await scene.serve()
    await scene.containerd.start()
    await expectRestored(before)
  }, 90_000)
})

/** What a reboot leaves: durable files; no process, no mount, an empty state folder. containerd is down, too. */
async function reboot (scene: Scene): Promise<void> {
  await scene.containerd.halt('SIGKILL')
  await scene.killNode()
  wipe(scene.state)
  for (const point of mountsBelow(scene.root)) execFileSync('umount', ['-n', '-l', point])
  expect(mountsBelow(scene.folder)).toEqual([])
}

describe('serve', () => {
  let gateway: GatedGateway
  let scene: Scene

  beforeEach(async () => {
    gateway = await GatedGateway.over(lazy.car)
    scene = await Scene.start({ sources: [gateway.url] })
  }, PREPARE_MS)
  afterEach(async () => {
    await scene.end()
    await gateway.close()
  }, PREPARE_MS)

  run('keeps mounts, guardian and worker over SIGTERM, and a running container does not notice', async () => {
    const { name } = await scene.pull(lazy.reference)
    const all = [...image.hashes.keys()]
    const container = scene.start(name, '/bin/e2e', 'hold', ...all)
    await until('the container runs', () => container.said.includes('ready'))
    const { worker } = await scene.status()
    const mounts = scene.layerMounts()
    await scene.daemon.end('SIGTERM')
    expect(scene.daemon.child.exitCode).toBe(0)
    expect(lives(worker.pid)).toBe(true)
    expect(scene.layerMounts()).toEqual(mounts)

    await scene.serve()
    expect((await scene.status()).worker).toMatchObject({ pid: worker.pid, restarts: 0 })
    expect(scene.layerMounts()).toEqual(mounts)
    container.say('\n')
    expect(await container.ended).toBe(0)
    expect(hashLines(container.lines())).toEqual(image.expected(all))
  }, 60_000)

  run('keeps a running container on the driver it began with when the configured one changes', async () => {
    const { name } = await scene.pull(lazy.reference)
    const all = [...image.hashes.keys()]
    const container = scene.start(name, '/bin/e2e', 'hold', ...all)
    await until('the container runs', () => container.said.includes('ready'))
    await scene.daemon.end('SIGTERM')
    scene.configure({ sources: [gateway.url], driver: 'erofs-loop' })
    await scene.serve()
    expect(await scene.status()).toMatchObject({ driver: 'erofs-loop' })
    container.say('\n')
    expect(await container.ended).toBe(0)
    expect(hashLines(container.lines())).toEqual(image.expected(all))

    await scene.removeImage(name)
    await scene.noLayerMounts()
    await scene.pull(lazy.reference)
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
    expect((await scene.status()).layers.every(({ state }) => state !== 'missing')).toBe(true)
  }, 60_000)

  run('--stop ends a running daemon and leaves no mount, process, socket or temporary file; the next one starts', async () => {
    const { name } = await scene.pull(lazy.reference)
    expect(scene.layerMounts()).toHaveLength(3)
    const { code, stdout } = await scene.stopServe()
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    expect(scene.leftovers()).toEqual([])
    expect(scene.daemon.running).toBe(false)
    expect((await scene.stopServe()).code).toBe(0) // again: nothing to do

    await scene.serve()
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', '/etc/upper'))).toEqual(image.expected(['/etc/upper']))
  }, 60_000)

  run('--stop clears up after serve, guardian and worker were killed', async () => {
    await scene.pull(lazy.reference)
    await scene.killNode()
    expect(scene.layerMounts()).toHaveLength(3)
    expect(await scene.stopServe()).toMatchObject({ code: 0, stdout: '' })
    expect(scene.leftovers()).toEqual([])
  }, 60_000)

  run('refuses to start beside another one, in one line, and the other one goes on', async () => {
    const { code, stderr } = await command(['serve', '--config', scene.config])
    const lines = stderr.trim().split('\n')
    expect(code).toBe(1)
    expect(lines).toEqual([expect.stringMatching(/^FAILED_PRECONDITION: .*is in use by another daemon \(pid \d+\); stop it or choose other folders$/)])
    expect(await scene.pull(lazy.reference)).toMatchObject({ manifestDigest: lazy.manifestDigest })
  }, 60_000)

  run('ends reads with an error, not with a hang, when the guardian is killed, and restores at its next start', async () => {
    const { name, layers } = await scene.pull(lazy.reference)
    gateway.hold()
    const container = scene.start(name, '/bin/e2e', 'sha', ...image.hashes.keys())
    await until('reads wait', async () => (await scene.status()).worker.waitingReads > 0)
    kill(Number(readFileSync(join(scene.state, 'guardian.pid'), 'utf8')))
    expect(await container.ended).toBe(1)
    for (const [path, hash] of Object.entries(hashLines(container.lines()))) { // a failed page of the program itself is a signal: no words
      if (path !== 'unexpected') expect([path, hash]).toEqual([path, image.hashes.get(path)])
    }
    gateway.release()

    await scene.daemon.end()
    await scene.serve()
    const all = [...image.hashes.keys()]
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
    expect(layers).toHaveLength(3)
  }, 60_000)

  run('with key = "boot" nothing on the disk is believed after a reboot; a pull makes the image whole again, and lasting', async () => {
    scene.configure({ sources: [gateway.url], cacheKey: 'boot' })
    await scene.daemon.end()
    await scene.serve()
    const { name } = await scene.pull(lazy.reference)
    const all = [...image.hashes.keys()]
    await scene.run(name, '/bin/e2e', 'sha', ...all)
    await reboot(scene)
    await scene.serve()
    await scene.containerd.start()
    const { code, stderr } = await scene.tryRun('default', name, '/bin/e2e', 'sha', ...all)
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/STATE_INVALID: .*; pull the image again/) })

    await scene.pull(lazy.reference)
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
    await scene.daemon.end()
    await scene.serve()
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
  }, 60_000)

  run('an emptied cache costs a pull, and what that pull named as gateway is remembered', async () => {
    scene.configure({})
    await scene.daemon.end()
    await scene.serve()
    const { name } = await scene.pull(lazy.reference, '--gateway', gateway.url)
    await reboot(scene)
    rmSync(join(scene.root, 'layers'), { recursive: true })
    await scene.serve()
    await scene.containerd.start()
    expect((await scene.tryRun('default', name, '/bin/e2e', 'sha')).stderr).toMatch(/STATE_INVALID: .*; pull the image again/)
    await scene.pull(lazy.reference, '--gateway', gateway.url)
    await scene.daemon.end()
    await scene.serve()
    const all = [...image.hashes.keys()]
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
  }, 60_000)

  run('a pull that serve did not survive leaves nothing half written', async () => {
    const other = await GatedGateway.over(plain.car)
    try {
      const layer = plain.layers.find(({ size }) => size > 1 << 20)?.cid ?? ''
      const leaves = new Set(other.leavesOf(layer))
      other.hold((path) => path.includes('entity-bytes') || leaves.has(/bafkrei[a-z2-7]+/.exec(path)?.[0] ?? ''))
      const pulling = scene.tryPull(plain.reference, '--gateway', other.url)
      await until('the pass over the layer waits', () => other.waiting > 0 && scene.temporaryFiles().length > 0)
      await scene.daemon.end('SIGKILL')
      expect(await pulling).toMatchObject({ code: 1, stderr: expect.stringMatching(/^UNAVAILABLE: the daemon /m) })
      other.release()
      await scene.serve()
      expect(scene.temporaryFiles()).toEqual([])
      expect(await scene.snapshots()).toEqual([])
      expect(await scene.pull(plain.reference, '--gateway', other.url)).toMatchObject({ manifestDigest: plain.manifestDigest })
    } finally {
      await other.close()
    }
  }, 60_000)
})
