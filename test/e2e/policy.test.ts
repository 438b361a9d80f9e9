// `kill` in [read]: containers whose layer lied or cannot be read are stopped within seconds, each with a line in the log, in
// whatever namespace; those of other images go on.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { servedFrom, withAlteredBlob } from './altered-image.ts'
import { until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const MIB = 1 << 20
const folder = shelf()
let image: ProgramImage
let bystander: ProgramImage
let published: Published
let other: Published
let memory: MemoryBlocks
let gateway: GatedGateway
let scene: Scene
let all: string[]

beforeAll(async () => {
  await preparePrograms()
  image = programImage(join(folder, 'image'), [randomFiles(6, 4 * MIB)])
  bystander = programImage(join(folder, 'bystander'), [randomFiles(3, MIB)])
  all = [...image.hashes.keys()]
  published = await publish(image.layout, join(folder, 'image.car'))
  other = await publish(bystander.layout, join(folder, 'bystander.car'))
  memory = await MemoryBlocks.fromCar(published.car)
  for (const [key, block] of (await MemoryBlocks.fromCar(other.car)).blocks) memory.blocks.set(key, block)
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

const stopped = (): Array<Record<string, unknown>> => scene.log.split('\n').filter((line) => line.includes('"msg":"container stopped by policy"'))
  .map((line) => JSON.parse(line) as Record<string, unknown>)

run('on_violation: a chunk that is not what its TOC says stops the containers of its layer, and no others', async () => {
  scene = await Scene.start({ sources: [gateway.url], onViolation: 'kill' })
  const layer = published.layers.at(-1)
  const changed = await withAlteredBlob(memory, CID.parse(published.cid), layer?.digest ?? '', (blob) => {
    const middle = Math.floor(blob.byteLength / 2)
    blob[middle] = (blob[middle] ?? 0) ^ 1
    return blob
  })
  const { name } = await scene.pull(`ipfs://${changed.toString()}`)
  const theirs = await scene.pull(other.reference)
  const innocent = scene.start(theirs.name, '/bin/e2e', 'hold', ...bystander.hashes.keys())
  const guilty = scene.start(name, '/bin/e2e', 'hold', ...all)
  await until('both run', () => innocent.said.includes('ready') && guilty.said.includes('ready'))
  guilty.say('\n')
  expect(await guilty.ended).not.toBe(0) // 137, or 1 when ctr cannot clean up after it
  expect(stopped()).toMatchObject([{ namespace: 'default', image: name, code: 'DIGEST_MISMATCH', layer: layer?.digest }])
  const hashes = hashLines(guilty.lines())
  expect(Object.entries(hashes).filter(([path, hash]) => image.hashes.get(path) !== undefined && image.hashes.get(path) !== hash)).toEqual([])
  expect(guilty.lines()).not.toContain('Input/output error') // it was stopped before it could act on one
  innocent.say('\n')
  expect(await innocent.ended).toBe(0)
  expect(hashLines(innocent.lines())).toEqual(bystander.expected([...bystander.hashes.keys()]))
}, 120_000)

run('on_failure: a read that is not answered until its deadline stops its container, not the others', async () => {
  scene = await Scene.start({ sources: [gateway.url], onFailure: 'kill', deadline: '2s', timeout: '1s' })
  const { name } = await scene.pull(published.reference)
  const theirs = await scene.pull(other.reference)
  const innocent = scene.start(theirs.name, '/bin/e2e', 'hold', ...bystander.hashes.keys())
  const starved = scene.start(name, '/bin/e2e', 'hold', ...all)
  await until('both run', () => innocent.said.includes('ready') && starved.said.includes('ready'))
  gateway.hold()
  starved.say('\n')
  expect(await starved.ended).not.toBe(0)
  gateway.release()
  expect(stopped()).toMatchObject([{ namespace: 'default', image: name, code: 'UNAVAILABLE', layer: published.layers.at(-1)?.digest }])
  expect(starved.lines()).not.toContain('Input/output error')
  innocent.say('\n')
  expect(await innocent.ended).toBe(0)
}, 120_000)
