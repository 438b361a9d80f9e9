// An image claims another one's diffIDs with files of its own. Its blocks match their CIDs, its TOCs match its own tars, and
// containerd knows committed layers by chain ID alone: still the victim never runs a byte that is not its own.
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { claiming, servedFrom } from './altered-image.ts'
import { until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, type SceneOptions, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
let victim: ProgramImage
let published: Published
let liar: string
let lyingLayer: string
let memory: MemoryBlocks
let gateway: GatedGateway
let scene: Scene
let all: string[]

beforeAll(async () => {
  await preparePrograms()
  victim = programImage(join(folder, 'victim'), [randomFiles(3, 1 << 20)])
  const other = programImage(join(folder, 'liar'), [randomFiles(3, 1 << 20)])
  all = [...victim.hashes.keys()]
  published = await publish(victim.layout, join(folder, 'victim.car'))
  const lying = await publish(other.layout, join(folder, 'liar.car'))
  lyingLayer = lying.layers.at(-1)?.cid ?? ''
  memory = await MemoryBlocks.fromCar(published.car)
  for (const [key, block] of (await MemoryBlocks.fromCar(lying.car)).blocks) memory.blocks.set(key, block)
  liar = `ipfs://${(await claiming(memory, CID.parse(lying.cid), lying.manifestDigest, CID.parse(published.cid), published.manifestDigest)).toString()}`
  gateway = await GatedGateway.start(servedFrom(memory))
}, PREPARE_MS)
afterEach(async () => {
  gateway.release()
  await scene.end()
}, PREPARE_MS)
afterAll(async () => {
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
})

const begin = async (options: SceneOptions = {}): Promise<void> => { scene = await Scene.start({ sources: [gateway.url], ...options }) }
const hashes = async (name: string): Promise<Record<string, string>> => hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))
const lines = (event: string): Array<Record<string, unknown>> => scene.log.split('\n').filter((line) => line.includes(`"msg":"${event}"`))
  .map((line) => JSON.parse(line) as Record<string, unknown>)

describe.each([
  ['by CID', [], []],
  ['through registry-shaped names', ['--name', 'registry.example/shop/liar:1'], ['--name', 'registry.example/shop/app:1']]
])('%s', (_how, liarName, victimName) => {
  run('pulled after the liar, the victim gets its own bytes and the liar is stopped', async () => {
    await begin()
    const { name } = await scene.pull(liar, ...liarName)
    const running = scene.start(name, '/bin/e2e', 'hold', ...all)
    await until('the liar runs', () => running.said.includes('ready'))
    const mine = await scene.pull(published.reference, ...victimName)
    expect(await hashes(mine.name)).toEqual(victim.expected(all))
    expect(await running.ended).not.toBe(0)
    expect(lines('container stopped by policy')).toMatchObject([{ namespace: 'default', code: 'DIFFID_MISMATCH', container: expect.any(String), image: name }])
    expect(running.lines()).toBe('')
    expect(await scene.status()).toMatchObject({ bytesServedUnverified: 0 })
  }, 90_000)

  run('pulled before the liar, the victim goes on with its own bytes, and so does whoever runs the liar', async () => {
    await begin()
    const mine = await scene.pull(published.reference, ...victimName)
    const { name } = await scene.pull(liar, ...liarName)
    expect(await hashes(mine.name)).toEqual(victim.expected(all))
    expect(await hashes(name)).toEqual(victim.expected(all))
    expect((await scene.status()).layers.at(-1)?.proven).toBe(true)
    expect(lines('container stopped by policy')).toEqual([])
  }, 90_000)
})

run('a liar alone is found out in the background: stopped, out of service, also after a restart', async () => {
  await begin({ proveAfter: '3s' })
  const { name, layers } = await scene.pull(liar)
  gateway.hold((path) => path.includes(lyingLayer))
  const running = scene.start(name, '/bin/e2e', 'hold', ...all)
  await until('the liar runs', () => running.said.includes('ready'))
  gateway.release()
  expect(await running.ended).not.toBe(0) // 137, or 1 when ctr cannot clean up after it
  expect(lines('container stopped by policy')).toMatchObject([{ code: 'DIFFID_MISMATCH', image: name }])
  await until('the mount of the lying layer is gone, not that of its base', () => scene.layerMounts().length === 1)
  const refused = async (): Promise<void> => {
    await expect(scene.withMounted(layers.at(-1)?.chainId ?? '', async () => {})).rejects.toThrow(/DIFFID_MISMATCH|DIGEST_MISMATCH/)
    expect((await scene.tryRun('default', name, '/bin/e2e', 'sha', ...all)).code).not.toBe(0)
  }
  await refused()
  await scene.daemon.end()
  await scene.serve()
  await refused()
  expect(scene.layerMounts()).toHaveLength(1)

  const mine = await scene.pull(published.reference)
  expect(await hashes(mine.name)).toEqual(victim.expected(all))
}, 120_000)

run('with prove = "before-commit" a liar gets no chain ID at all, and a good image is proven when its pull ends', async () => {
  await begin({ prove: 'before-commit' })
  const { code, stderr } = await scene.tryPull(liar)
  expect({ code, last: stderr.trim().split('\n').at(-1) }).toEqual({ code: 1, last: expect.stringMatching(/^DIFFID_MISMATCH: /) })
  expect(await scene.snapshots()).toEqual([])
  const mine = await scene.pull(published.reference)
  expect((await scene.status()).layers.map(({ proven }) => proven)).toEqual([true, true])
  expect(await hashes(mine.name)).toEqual(victim.expected(all))
}, 90_000)

run('a good image is proven behind its containers, once for all restarts', async () => {
  await begin({ proveAfter: '100ms' })
  const mine = await scene.pull(published.reference)
  await until('it is proven', async () => (await scene.status()).layers.every(({ proven }) => proven))
  expect(lines('layer proven')).toHaveLength(2)
  await scene.daemon.end()
  await scene.serve()
  expect((await scene.status()).layers.map(({ proven }) => proven)).toEqual([true, true])
  expect(await hashes(mine.name)).toEqual(victim.expected(all))
  expect(lines('layer proven')).toHaveLength(2)
}, 90_000)
