// The cache keeps to its quota while containers read more than fits, and every byte that they read is right; with a disk
// that is full or read-only reads come from the network, slower, never wrong and never an error.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { execute } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, type SceneOptions, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const MIB = 1 << 20
const FILES = 24
const QUOTA = 8 * MIB
const ROUNDS = 3
const folder = shelf()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene
let all: string[]
/** Bytes on the disk, the most that was seen. */
let most = 0

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(FILES, MIB)])
  all = [...image.hashes.keys()]
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
}, PREPARE_MS)
afterEach(async () => { await scene.end() }, PREPARE_MS)
afterAll(async () => {
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
})

const begin = async (options: SceneOptions): Promise<void> => { scene = await Scene.start({ sources: [gateway.url], ...options }) }

function cacheBytes (): number {
  const layers = join(scene.root, 'layers')
  const files = readdirSync(layers, { recursive: true, encoding: 'utf8' })
  return files.reduce((sum, file) => {
    const found = statSync(join(layers, file), { throwIfNoEntry: false })
    return found?.isFile() === true ? sum + found.blocks * 512 : sum
  }, 0)
}

/** Reads every file through a fresh page cache, several at once, and compares; meanwhile looks at the disk. */
async function readAll (directory: string, rounds: number): Promise<void> {
  const watch = setInterval(() => { most = Math.max(most, cacheBytes()) }, 20)
  try {
    for (let round = 0; round < rounds; round++) {
      const { stdout, stderr } = await execute(join(directory, 'bin/e2e'), ['fresh', ...all.map((path) => `${directory}${path}`)])
      expect(hashLines((stdout + stderr).replaceAll(directory, ''))).toEqual(image.expected(all))
    }
  } finally {
    clearInterval(watch)
  }
}

run('a quota smaller than what is read is held within 1 %, also after a restart', async () => {
  most = 0
  await begin({ maxSize: `${QUOTA / MIB}MiB` })
  const { name, layers } = await scene.pull(published.reference)
  const top = layers.at(-1)?.chainId ?? ''
  await scene.withMounted(top, async (directory) => { await readAll(directory, ROUNDS) })
  expect(most).toBeGreaterThan(QUOTA / 2)
  expect(most).toBeLessThanOrEqual(QUOTA * 1.01)
  const status = await scene.status()
  expect(status.cache.evictedChunks).toBeGreaterThan(FILES)
  expect(status).toMatchObject({ bytesServedUnverified: 0, worker: { violations: 0 } })

  await scene.daemon.end()
  await scene.serve()
  expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all)) // containerd dials again
  await scene.withMounted(top, async (directory) => { await readAll(directory, 1) })
  expect(most).toBeLessThanOrEqual(QUOTA * 1.01)
  process.stdout.write(`cache quota ${QUOTA}: at most ${most} bytes on the disk, ${status.cache.evictedChunks} chunks evicted\n`)
}, 180_000)

run('what is read again and again stays, while what is read once goes', async () => {
  await begin({ maxSize: `${QUOTA / MIB}MiB` })
  const { layers } = await scene.pull(published.reference)
  const [hot = ''] = all
  const leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
  await scene.withMounted(layers.at(-1)?.chainId ?? '', async (directory) => {
    const read = async (path: string): Promise<void> => {
      const { stdout } = await execute(join(directory, 'bin/e2e'), ['fresh', `${directory}${path}`])
      expect(hashLines(stdout.replaceAll(directory, ''))).toEqual(image.expected([path]))
    }
    await read(hot)
    for (const cold of all.slice(1)) {
      await read(cold)
      const before = gateway.deliveries(leaves)
      await read(hot)
      expect(gateway.deliveries(leaves)).toBe(before)
    }
  })
}, 180_000)

run('the data of an image that was removed goes first', async () => {
  await begin({ maxSize: `${QUOTA / MIB}MiB` })
  const { name, layers } = await scene.pull(published.reference)
  await scene.withMounted(layers.at(-1)?.chainId ?? '', async (directory) => { await readAll(directory, 1) })
  await scene.removeImage(name)
  await scene.noLayerMounts()
  const again = await scene.pull(published.reference)
  await scene.withMounted(again.layers.at(-1)?.chainId ?? '', async (directory) => { await readAll(directory, 1) })
  expect(cacheBytes()).toBeLessThanOrEqual(QUOTA * 1.01)
}, 180_000)

run('on a disk that is full, and then read-only, reads come from the network, right; Prepare says RESOURCE_EXHAUSTED', async () => {
  const disk = join(folder, 'disk')
  execFileSync('truncate', ['-s', '24M', `${disk}.img`])
  execFileSync('mkfs.ext4', ['-q', '-m', '0', '-e', 'remount-ro', `${disk}.img`])
  scene = new Scene()
  mkdirSync(scene.root)
  execFileSync('mount', ['-o', 'loop', `${disk}.img`, scene.root])
  try {
    scene.configure({ sources: [gateway.url] })
    await scene.serve()
    await scene.startContainerd()
    const { name, layers } = await scene.pull(published.reference)
    await scene.withMounted(layers.at(-1)?.chainId ?? '', async (directory) => {
      fill(join(scene.root, 'filler'))
      await readAll(directory, 2)
      const refused = async (): Promise<void> => {
        const { code, stderr } = await scene.tryRun('default', name, '/bin/e2e', 'sha', all[0] ?? '')
        expect({ ran: code === 0, stderr }).toEqual({ ran: false, stderr: expect.stringContaining('RESOURCE_EXHAUSTED') })
      }
      await refused()
      rmSync(join(scene.root, 'filler'))
      expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
      execFileSync('mount', ['-o', 'remount,abort', scene.root]) // as ext4 does after an error
      await readAll(directory, 1)
      await refused()
      expect(await scene.status()).toMatchObject({ bytesServedUnverified: 0 })
    })
  } finally {
    await scene.containerd.stop()
    await scene.daemon.end()
    await scene.stopServe()
    execFileSync('umount', ['-l', scene.root])
  }
}, 180_000)

/** To the last block. */
function fill (path: string): void {
  for (let size = MIB; size >= 4096; size /= 4) {
    try {
      for (let at = 0; at < 1000; at++) writeFileSync(path, Buffer.alloc(size, at + 1), { flag: 'a' })
    } catch {
      continue // smaller pieces may still fit
    }
  }
}
