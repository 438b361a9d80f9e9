// An image comes, is collected around, is shared, goes and comes again; `status` and `doctor` say what a user may rely on.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { command, commandJson } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let leaves: string[]
let scene: Scene
let all: string[]

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(4, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
  all = [...image.hashes.keys()]
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
  leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
  scene = await Scene.start({ sources: [gateway.url] })
}, PREPARE_MS)
afterEach(async () => {
  for (const namespace of ['default', 'first', 'second']) {
    for (const name of await imagesIn(namespace)) await scene.removeImage(name, namespace)
    expect(await scene.snapshots(namespace)).toEqual([])
  }
  await scene.noLayerMounts()
})
afterAll(async () => {
  await scene.end()
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

async function imagesIn (namespace: string): Promise<string[]> {
  return (await scene.containerd.ctr('-n', namespace, 'images', 'ls', '-q')).split('\n').filter((name) => name !== '')
}

run('a whole image is read with each leaf fetched once; removed and pulled again it costs nothing', async () => {
  const { name } = await scene.pull(published.reference)
  expect(gateway.deliveries(leaves)).toBeLessThan(leaves.length)
  expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
  expect(gateway.repeated(leaves)).toEqual([])
  const before = gateway.deliveries(leaves)

  await scene.removeImage(name)
  expect(await scene.snapshots()).toEqual([])
  await scene.noLayerMounts()
  await scene.daemon.end() // with what it held in memory
  await scene.serve()

  await scene.pull(published.reference)
  expect(scene.layerMounts()).toHaveLength(3)
  expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
  expect(gateway.deliveries(leaves)).toBe(before)
}, 60_000)

run('pulls of one image at once, with collections between, give one set of snapshots that runs', async () => {
  let collecting = true
  const collector = (async () => { while (collecting) await scene.containerd.collectGarbage() })()
  const pulls = await Promise.all([
    scene.pull(published.reference), scene.pull(published.reference), scene.pull(published.reference, '--name', 'example.test/other:latest')
  ])
  collecting = false
  await collector
  expect(new Set(pulls.map(({ manifestDigest }) => manifestDigest))).toEqual(new Set([published.manifestDigest]))
  await scene.containerd.collectGarbage()
  expect(await scene.snapshots()).toHaveLength(3)
  expect(scene.layerMounts()).toHaveLength(3)
  expect((await imagesIn('default')).length).toBe(2)
  expect(hashLines(await scene.run('example.test/other:latest', '/bin/e2e', 'sha', '/etc/upper'))).toEqual(image.expected(['/etc/upper']))
}, 60_000)

run('two namespaces share the mounts, and the second keeps them when the first lets go', async () => {
  const first = await scene.pull(published.reference, '--namespace', 'first')
  const mounts = scene.layerMounts()
  const second = await scene.pull(published.reference, '--namespace', 'second')
  expect(scene.layerMounts()).toEqual(mounts)
  await scene.removeImage(first.name, 'first')
  expect(await scene.snapshots('first')).toEqual([])
  expect(await scene.snapshots('second')).toHaveLength(3)
  expect(await scene.runIn('second', second.name, '/bin/e2e', 'sha', '/etc/upper')).toContain('/etc/upper')
}, 60_000)

run('status has the keys of the contract, for programs and for people', async () => {
  const { name } = await scene.pull(published.reference)
  await scene.run(name, '/bin/e2e', 'sha', ...all)
  const status = await commandJson<Record<string, unknown>>('status', '--config', scene.config)
  const digests = published.layers.map(({ digest }) => digest)
  expect(status).toMatchObject({
    layers: expect.arrayContaining(published.layers.map(({ digest, size }) => expect.objectContaining({
      digest, size, fetchedBytes: expect.any(Number), cachedBytes: expect.any(Number), state: expect.stringMatching(/^(lazy|complete)$/)
    }))),
    totals: { layers: 3, size: published.layers.reduce((sum, { size }) => sum + size, 0) },
    gateways: [expect.objectContaining({ name: gateway.gateway.host, budget: null, failures: 0 })],
    worker: { pid: expect.any(Number), restarts: 0 },
    bytesServedUnverified: 0
  })
  const { stdout } = await command(['status', '--config', scene.config])
  for (const digest of digests) expect(stdout).toContain(digest.slice(0, 19))
  expect(stdout).toContain('0 bytes served unverified')
}, 60_000)

run('doctor finds everything in order, and afterwards what is not', async () => {
  const { code, stdout } = await command(['doctor', '--config', scene.config, '--json'])
  expect({ code, report: JSON.parse(stdout) as unknown }).toMatchObject({ code: 0, report: { ok: true } })

  await scene.daemon.end()
  const ill = await command(['doctor', '--config', scene.config, '--json'])
  await scene.serve()
  expect(ill.code).toBe(1)
  expect(JSON.parse(ill.stdout)).toMatchObject({
    ok: false,
    checks: expect.arrayContaining([
      expect.objectContaining({ name: 'daemon', ok: false, needed: true, hint: expect.stringContaining('ipfs-snapshotter serve') as unknown })
    ])
  })
  expect(ill.stderr.trim()).toMatch(/^ENVIRONMENT: \d of \d+ checks failed: .*daemon/)
}, 60_000)
