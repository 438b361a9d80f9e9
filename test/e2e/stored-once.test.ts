// Two images with files in common: those are fetched once and stand on the disk once; the image that stays is complete without
// the network when the other is removed; a quota counts them once and is held.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { execute } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'
import { until } from './command.ts'

const MIB = 1 << 20
const FILES = 12
const QUOTA = 6 * MIB
const folder = shelf()
interface Image { readonly image: ProgramImage, readonly published: Published, readonly paths: readonly string[] }
let images: readonly [Image, Image]
let gateway: GatedGateway
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  const common = randomFiles(FILES, MIB)
  const make = async (own: string): Promise<Image> => {
    const image = programImage(join(folder, own), [{ ...common, [`/only/${own}`]: own }])
    return { image, published: await publish(image.layout, join(folder, `${own}.car`)), paths: [...image.hashes.keys()] }
  }
  images = [await make('one'), await make('two')]
}, PREPARE_MS)
afterEach(async () => {
  await scene.end()
  await gateway.close()
}, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

const begin = async (maxSize?: string): Promise<void> => {
  gateway = await GatedGateway.over(...images.map(({ published }) => published.car))
  scene = await Scene.start({ sources: [gateway.url], ...maxSize === undefined ? {} : { maxSize }, deadline: '5s' })
}

/** Of the file bytes in the caches, on the disk. */
function dataBytes (): number {
  const layers = join(scene.root, 'layers')
  return readdirSync(layers).reduce((sum, layer) => sum + (statSync(join(layers, layer, 'data'), { throwIfNoEntry: false })?.blocks ?? 0) * 512, 0)
}

const readIn = async (directory: string, { image }: Image, paths: readonly string[]): Promise<void> => {
  const { stdout, stderr } = await execute(join(directory, 'bin/e2e'), ['fresh', ...paths.map((path) => `${directory}${path}`)])
  expect(hashLines((stdout + stderr).replaceAll(directory, ''))).toEqual(image.expected(paths))
}

run('common files are fetched and stored once, and stay with the image that stays', async () => {
  const [one, two] = images
  await begin()
  const pulled = [await scene.pull(one.published.reference), await scene.pull(two.published.reference)] as const
  const top = pulled[1].layers.at(-1)?.chainId ?? ''
  expect(hashLines(await scene.run(pulled[0].name, '/bin/e2e', 'sha', ...one.paths))).toEqual(one.image.expected(one.paths))
  const alone = dataBytes()
  const leaves = two.published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
  const before = gateway.deliveries(leaves)
  expect(hashLines(await scene.run(pulled[1].name, '/bin/e2e', 'sha', ...two.paths))).toEqual(two.image.expected(two.paths))
  const both = dataBytes()
  process.stdout.write(`two images, ${FILES} MiB in common: ${alone} bytes on the disk after one, ${both} after both; ` +
    `${gateway.deliveries(leaves) - before} of ${leaves.length} leaves fetched for the second\n`)
  expect(both).toBeLessThan(alone + MIB / 4)
  expect(gateway.deliveries(leaves) - before).toBeLessThan(leaves.length / 4)
  expect((await scene.status()).totals.sharedBytes).toBe(FILES * MIB)

  gateway.hold() // the network is gone
  const mounts = scene.layerMounts().length
  await scene.removeImage(pulled[0].name)
  await until('the first image is unmounted', () => scene.layerMounts().length < mounts)
  await scene.withMounted(top, async (directory) => { await readIn(directory, two, two.paths) })
  process.kill((await scene.status()).worker.pid, 'SIGKILL')
  await scene.daemon.end()
  await scene.serve()
  await scene.withMounted(top, async (directory) => { await readIn(directory, two, two.paths) })
  expect(dataBytes()).toBeLessThan(alone + MIB / 4)
  expect(await scene.status()).toMatchObject({ bytesServedUnverified: 0, worker: { violations: 0 }, layers: [{ state: 'complete' }, { state: 'complete' }] })
}, 180_000)

run('a quota smaller than what they share is held, and no byte is wrong', async () => {
  const [one, two] = images
  await begin(`${QUOTA / MIB}MiB`)
  const tops = [await scene.pull(one.published.reference), await scene.pull(two.published.reference)].map(({ layers }) => layers.at(-1)?.chainId ?? '')
  let most = 0
  const watch = setInterval(() => { most = Math.max(most, dataBytes()) }, 20)
  try {
    await scene.withMounted(tops[0] ?? '', async (first) => {
      await scene.withMounted(tops[1] ?? '', async (second) => {
        for (let round = 0; round < 2; round++) {
          await Promise.all([readIn(first, one, one.paths), readIn(second, two, two.paths.toReversed())])
        }
      })
    })
  } finally {
    clearInterval(watch)
  }
  const { cache, worker, bytesServedUnverified } = await scene.status()
  process.stdout.write(`two images, quota ${QUOTA}: at most ${most} bytes on the disk, ${cache.evictedChunks} chunks evicted\n`)
  expect(most).toBeGreaterThan(QUOTA / 2)
  expect(most).toBeLessThanOrEqual(QUOTA * 1.01)
  expect(cache.evictedChunks).toBeGreaterThan(FILES)
  expect([bytesServedUnverified, worker.violations]).toEqual([0, 0])
}, 180_000)
