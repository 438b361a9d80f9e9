// The driver fuse under a running container: an orderly restart of `serve` is not noticed; a killed tree server ends its reads
// with an error, never with wrong bytes, and the next `serve` mounts everything anew; `--stop` leaves nothing.
import { afterAll, afterEach, beforeAll, beforeEach, expect } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'
import { kill, lives } from './traces.ts'

const FILES = 24 // more than Node's thread pool has threads, and than libfuse keeps
const folder = shelf()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(FILES, 300_000), { '/etc/upper': 'from the upper layer\n' }])
  published = await publish(image.layout, join(folder, 'image.car'))
}, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

beforeEach(async () => {
  gateway = await GatedGateway.over(published.car)
  scene = await Scene.start({ sources: [gateway.url], driver: 'fuse' })
}, PREPARE_MS)
afterEach(async () => {
  await gateway.close()
  await scene.end()
}, PREPARE_MS)

run('says in its log which driver it took and why', async () => {
  expect(scene.log).toMatch(/mount driver fuse: as configured; it passed its self-test/)
  expect(await scene.status()).toMatchObject({ driver: 'fuse' })
}, 60_000)

run('a container that waits for bytes does not notice that serve is restarted', async () => {
  const { name } = await scene.pull(published.reference)
  const all = [...image.hashes.keys()]
  const container = scene.start(name, '/bin/e2e', 'hold', ...all)
  await until('the container runs', () => container.said.includes('ready'))
  const [server] = scene.treeServers()
  const mounts = scene.layerMounts()
  gateway.hold()
  container.say('\n')
  await until('reads wait', async () => (await scene.status()).worker.waitingReads > 0)
  await scene.daemon.end('SIGTERM')
  expect(scene.layerMounts()).toEqual(mounts)
  await scene.serve()
  expect(scene.treeServers()).toEqual([server])
  expect(scene.layerMounts()).toEqual(mounts)
  gateway.release()
  expect(await container.ended).toBe(0)
  expect(hashLines(container.lines())).toEqual(image.expected(all))
  expect(await scene.status()).toMatchObject({ bytesServedUnverified: 0, worker: { violations: 0 } })
}, 90_000)

run('a killed tree server ends reads with an error, and the next serve mounts everything anew', async () => {
  const { name } = await scene.pull(published.reference)
  const all = [...image.hashes.keys()]
  const container = scene.start(name, '/bin/e2e', 'hold', ...all)
  await until('the container runs', () => container.said.includes('ready'))
  const [server = 0] = scene.treeServers()
  kill(server)
  await until('the tree server is gone', () => !lives(server))
  container.say('\n')
  expect(await container.ended).not.toBe(0)
  for (const [path, hash] of Object.entries(hashLines(container.lines()))) {
    if (path !== 'unexpected') expect([path, hash]).toEqual([path, image.hashes.get(path)])
  }
  const { code, stderr } = await scene.tryRun('default', name, '/bin/e2e', 'sha', ...all)
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/nobody serves the lazy layer of .* \(driver fuse\); restart the daemon/) })

  await scene.daemon.end('SIGTERM')
  await scene.serve()
  expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
  expect(scene.layerMounts()).toHaveLength(published.layers.length)
}, 90_000)

run('--stop under a tree server leaves no mount, process, socket or temporary file', async () => {
  await scene.pull(published.reference)
  expect(scene.treeServers()).toHaveLength(1)
  expect(await scene.stopServe()).toMatchObject({ code: 0, stdout: '' })
  expect(scene.leftovers()).toEqual([])
}, 60_000)
