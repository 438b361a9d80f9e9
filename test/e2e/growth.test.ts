// Many layers: an image of 120 lazy ones, and one that is lazy and ordinary by turns, mounted by containerd and by us, before
// and after every process was killed. All options of such an overlay are longer than the page that mount(2) takes.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { createHash } from 'node:crypto'
import { cpSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ContainerdClient } from '../../src/grpc/containerd-client.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { withMounts } from '../suites/mounts.ts'
import { PLUGIN, publish, type Published, Scene, shelf } from './harness.ts'
import { type Files, hashLines, type ProgramImage, programImage } from './program-image.ts'
import { run } from './run.ts'

const LAYERS = 120
const MOUNT_PAGE_BYTES = 4096
const folder = shelf()
let image: ProgramImage
let published: Published
let scene: Scene

/** A file of each layer's own, one that every layer replaces, and one that every tenth layer does. */
const filesOf = (at: number): Files => ({
  [`/own/${at}`]: `own of ${at}\n`.repeat(at + 1), '/every': `every ${at}`, ...at % 10 === 0 ? { '/tenth': `tenth ${at}` } : {}
})

beforeAll(async () => {
  await preparePrograms()
  image = programImage(join(folder, 'image'), Array.from({ length: LAYERS - 1 }, (_, at) => filesOf(at)))
  published = await publish(image.layout, join(folder, 'image.car'))
}, PREPARE_MS)
afterEach(async () => { await scene.end() }, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

async function start (): Promise<Scene> {
  const started = await Scene.start({ sources: [] })
  const url = await started.gateway(published.car)
  started.configure({ sources: [url] })
  await started.daemon.end()
  await started.serve()
  return started
}

async function readsRight (name: string): Promise<void> {
  expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...image.hashes.keys()))).toEqual(image.expected([...image.hashes.keys()]))
}

run(`an image of ${LAYERS} lazy layers runs and reads right, also after everything was killed`, async () => {
  scene = await start()
  const { name, layers } = await scene.pull(published.reference)
  expect(published.layers.filter(({ lazy }) => lazy)).toHaveLength(LAYERS)
  expect(scene.layerMounts()).toHaveLength(LAYERS)
  await readsRight(name)
  const client = new ContainerdClient({ address: scene.containerd.address, namespace: 'default' })
  const top = layers.at(-1)?.chainId ?? ''
  const mounts = await client.prepare({ snapshotter: PLUGIN, key: 'looked-at', parent: top, labels: { 'containerd.io/gc.root': 'a test' } }, '')
  await client.removeSnapshot(PLUGIN, 'looked-at')
  client.close()
  expect(mounts[0]?.options.join(',').length).toBeGreaterThan(MOUNT_PAGE_BYTES) // else the limit was not met
  await scene.killNode()
  await scene.serve()
  expect(scene.layerMounts()).toHaveLength(LAYERS)
  await readsRight(name)
}, 120_000)

run(`${LAYERS} layers, lazy and ordinary by turns, show what all of them hold`, async () => {
  scene = await start()
  const { layers } = await scene.pull(published.reference)
  const client = new ContainerdClient({ address: scene.containerd.address, namespace: 'default' })
  const kept = { 'containerd.io/gc.root': 'a test' }
  let parent = ''
  for (const [at, { chainId }] of layers.entries()) {
    const isLazy = at % 2 === 0
    const key = `by-turns-${at}`
    if (isLazy) {
      await expect(client.prepare({ snapshotter: PLUGIN, key, parent, labels: { ...kept, 'containerd.io/snapshot.ref': chainId } }, ''))
        .rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
      parent = chainId
      continue
    }
    const mounts = await client.prepare({ snapshotter: PLUGIN, key, parent, labels: kept }, '')
    await withMounts(mounts, join(scene.folder, 'unpacked'), (root) => { cpSync(join(folder, 'image', `layer-${at - 1}`), root, { recursive: true }) })
    await scene.containerd.ctr('snapshots', '--snapshotter', PLUGIN, 'commit', `ordinary-${at}`, key)
    parent = `ordinary-${at}`
  }
  const mounts = await client.prepare({ snapshotter: PLUGIN, key: 'all', parent, labels: kept }, '')
  client.close()
  await withMounts(mounts, join(scene.folder, 'all'), async (root) => {
    const hashes: Record<string, string> = {}
    // Not in this thread: it empties the daemon's log pipe.
    for (const path of image.hashes.keys()) hashes[path] = createHash('sha256').update(await readFile(join(root, path))).digest('hex')
    expect(hashes).toEqual(image.expected([...image.hashes.keys()]))
  })
}, 120_000)
