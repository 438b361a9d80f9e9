// What users of one node do with lazy images beside running them: two namespaces and two names of the plugin, eager layers on
// lazy ones and lazy on eager, removal and collection at the wrong moment, snapshots of their own on top.
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ContainerdClient } from '../../src/grpc/containerd-client.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { withMounts } from '../suites/mounts.ts'
import { until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { PLUGIN, publish, type Published, Scene, shelf } from './harness.ts'
import { type Files, hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const OTHER = 'other'
const PLACES = [['default', PLUGIN], ['second', PLUGIN], ['default', OTHER]] as const
const folder = shelf()
const versions = containerdVersions()
/** Of two layers, of the same and one more, and of those and a fourth. */
const images: Record<'lower' | 'whole' | 'top', ProgramImage> = {} as never
const published: Record<'estargz' | 'lower' | 'whole', Published> = {} as never
let gateway: GatedGateway

beforeAll(async () => {
  await preparePrograms()
  const layers: Files[] = [
    randomFiles(4, 1 << 20), { '/etc/second': 'from the second\n', '/data/0': 'hides the first\n' }, { '/etc/third': 'from the third\n' }
  ]
  for (const [at, name] of (['lower', 'whole', 'top'] as const).entries()) images[name] = programImage(join(folder, name), layers.slice(0, at + 1))
  published.estargz = await publish(images.top.layout, join(folder, 'estargz.car'))
  for (const name of ['lower', 'whole'] as const) published[name] = await publish(images[name].layout, join(folder, `${name}.car`), 'keep')
  gateway = await GatedGateway.over(...Object.values(published).map(({ car }) => car))
}, PREPARE_MS)
afterAll(async () => {
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

describe.each(versions.length > 0 ? versions : [{ version: 'none', directory: '' }])('containerd $version', (binaries) => {
  let scene: Scene

  beforeAll(async () => {
    if (versions.length === 0) return
    scene = new Scene()
    scene.configure({ sources: [gateway.url] })
    await scene.serve()
    await scene.startContainerd({ binaries, plugins: [PLUGIN, OTHER] })
  }, PREPARE_MS)
  afterAll(async () => { await (scene as Scene | undefined)?.end() }, PREPARE_MS)
  afterEach(async () => {
    for (const namespace of ['default', 'second']) {
      const names = (await scene.containerd.ctr('-n', namespace, 'images', 'ls', '-q')).trim().split('\n').filter((name) => name !== '')
      for (const name of names) await scene.removeImage(name, namespace)
      await scene.containerd.collectGarbage(namespace)
    }
    for (const [namespace, plugin] of PLACES) expect(await scene.snapshots(namespace, plugin)).toEqual([])
    await scene.noLayerMounts()
  }, PREPARE_MS)

  async function expectFiles (image: ProgramImage, name: string, namespace = 'default', plugin = PLUGIN): Promise<void> {
    const paths = [...image.hashes.keys()]
    const { stdout, stderr } = await scene.tryRunWith({ namespace, plugin }, name, '/bin/e2e', 'sha', ...paths)
    expect([hashLines(stdout), stderr.replace(/^time=.*DEPRECATION.*$/m, '').trim()]).toEqual([image.expected(paths), ''])
  }

  /** Unpacks an image as its archive has it: into ordinary snapshots, where none are yet. */
  async function importImage ({ layout }: ProgramImage, name: string): Promise<string> {
    const archive = join(scene.folder, `${name}.tar`)
    execFileSync('tar', ['-cf', archive, '-C', layout, '.'])
    await scene.containerd.ctr('images', 'import', '--snapshotter', PLUGIN, '--digests', '--base-name', `${name}.example/image`, archive)
    const names = (await scene.containerd.ctr('images', 'ls', '-q')).split('\n')
    return names.find((found) => found.startsWith(`${name}.example`)) ?? ''
  }
  const lazyDigests = async (): Promise<string[]> => (await scene.status()).layers.map(({ digest }) => digest).sort()
  const digestsOf = ({ layers }: Published): string[] => layers.map(({ digest }) => digest).sort()

  run('two namespaces and two names on one socket share the layers, and none misses what another removes', async () => {
    const names: string[] = []
    for (const [namespace, plugin] of PLACES) {
      names.push((await scene.pull(published.estargz.reference, '--namespace', namespace, '--snapshotter', plugin)).name)
    }
    for (const [at, [namespace, plugin]] of PLACES.entries()) await expectFiles(images.top, names[at] ?? '', namespace, plugin)
    expect(new Set(await lazyDigests())).toEqual(new Set(digestsOf(published.estargz)))
    await scene.removeImage(names[1] ?? '', 'second')
    await scene.containerd.collectGarbage('second')
    expect(await scene.snapshots('second')).toEqual([])
    for (const plugin of [PLUGIN, OTHER]) await expectFiles(images.top, names[0] ?? '', 'default', plugin)
  }, PREPARE_MS)

  run('a lazy layer stands on eager ones', async () => {
    const eager = await importImage(images.lower, 'lower')
    const { name } = await scene.pull(published.whole.reference)
    expect(await lazyDigests()).toEqual([published.whole.layers.at(-1)?.digest])
    await expectFiles(images.whole, name)
    await expectFiles(images.lower, eager)
  }, PREPARE_MS)

  run('an eager layer stands on lazy ones: an image that was built on top', async () => {
    const { name } = await scene.pull(published.lower.reference)
    expect(await lazyDigests()).toEqual(digestsOf(published.lower))
    const built = await importImage(images.top, 'built')
    // The third may come from the cache, when containerd asks for it; nobody published the fourth.
    expect(digestsOf(published.whole)).toEqual(expect.arrayContaining(await lazyDigests()))
    await expectFiles(images.top, built)
    await scene.removeImage(name)
    await scene.containerd.collectGarbage()
    await expectFiles(images.top, built)
  }, PREPARE_MS)

  run('snapshots of a builder, with names of its own, stand on lazy layers, and changes alone are in their difference', async () => {
    const { layers } = await scene.pull(published.estargz.reference)
    const top = layers.at(-1)?.chainId ?? ''
    const client = new ContainerdClient({ address: scene.containerd.address, namespace: 'default' })
    const kept = { 'containerd.io/gc.root': 'a builder works on it' }
    try {
      // buildkit asks for remote snapshots by names that are no chain IDs; it goes on when it gets mounts.
      const asked = { ...kept, 'containerd.io/snapshot.ref': 'k3v9sx0cme11ceq0lqyxrdtbv' }
      await client.prepare({ snapshotter: PLUGIN, key: 'no-remote', parent: top, labels: asked }, '')
      const mounts = await client.prepare({ snapshotter: PLUGIN, key: 'k1', parent: top, labels: kept }, '')
      await withMounts(mounts, join(scene.folder, 'building'), (root) => {
        writeFileSync(join(root, 'etc/built'), 'by a builder\n')
        rmSync(join(root, 'etc/second'))
      })
      expect(tarNames(await differenceOf('k1'))).toEqual(['etc/', 'etc/.wh.second', 'etc/built'])

      await scene.containerd.ctr('snapshots', '--snapshotter', PLUGIN, 'commit', 'k1-committed', 'k1')
      const more = await client.prepare({ snapshotter: PLUGIN, key: 'k2', parent: 'k1-committed', labels: kept }, '')
      await withMounts(more, join(scene.folder, 'building'), (root) => {
        expect(execFileSync('ls', [join(root, 'etc')], { encoding: 'utf8' }).split('\n')).toEqual(['built', 'third', ''])
        mkdirSync(join(root, 'srv'))
      })
      expect(tarNames(await differenceOf('k2'))).toEqual(['srv/'])
    } finally {
      for (const key of ['no-remote', 'k2', 'k1-committed', 'k1']) await client.removeSnapshot(PLUGIN, key).catch(() => {})
      client.close()
    }
  }, PREPARE_MS)

  async function differenceOf (key: string): Promise<Buffer> {
    const child = scene.containerd.spawnCtr('snapshots', '--snapshotter', PLUGIN, 'diff', key)
    const pieces: Buffer[] = []
    child.stdout?.on('data', (piece: Buffer) => pieces.push(piece))
    expect(await new Promise((resolve) => { child.once('close', resolve) })).toBe(0)
    return Buffer.concat(pieces)
  }

  run('garbage is collected during a pull, and nothing of it is missing', async () => {
    const image = programImage(join(scene.folder, 'unknown'), [randomFiles(2, 1 << 19)]) // nothing of it is in the cache
    const { reference, layers, car } = await publish(image.layout, join(scene.folder, 'unknown.car'))
    const source = await GatedGateway.over(car)
    try {
      source.hold((path) => layers.some(({ cid }) => path.includes(cid)))
      const pulling = scene.pull(reference, '--gateway', source.url)
      await until('the pull waits', () => source.waiting > 0)
      for (const namespace of ['default', 'second']) await scene.containerd.collectGarbage(namespace)
      source.release()
      for (let times = 0; times < 3; times++) await scene.containerd.collectGarbage()
      const { name } = await pulling
      await scene.containerd.collectGarbage()
      await expectFiles(image, name)
    } finally {
      await source.close()
    }
  }, PREPARE_MS)

  run('an image that is removed while a container reads it is pulled again at once, and both containers read', async () => {
    const paths = [...images.top.hashes.keys()]
    const { name } = await scene.pull(published.estargz.reference)
    const holding = scene.start(name, '/bin/e2e', 'hold', ...paths)
    await until('the container runs', () => holding.said.includes('ready'))
    await scene.removeImage(name)
    const again = await scene.pull(published.estargz.reference)
    await expectFiles(images.top, again.name)
    await scene.removeImage(again.name)
    holding.say('\n')
    expect(await holding.ended).toBe(0)
    expect(hashLines(holding.lines())).toEqual(images.top.expected(paths))
  }, PREPARE_MS)
})

/** Entries of a compressed tar, sorted. */
function tarNames (archive: Buffer): string[] {
  return execFileSync('tar', ['-tzf', '-'], { input: archive, encoding: 'utf8' }).trim().split('\n').sort()
}
