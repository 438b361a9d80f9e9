// Our content store in the place of containerd's own, in every containerd that is here: what containerd keeps, it keeps with
// us, and an image that was pulled lazily has all of its blobs.
import { afterAll, afterEach, beforeAll, beforeEach, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { PushRegistry } from '../fakes/push-registry.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { GatedGateway } from './gated-gateway.ts'
import { PLUGIN, publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
const versions = containerdVersions()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene
let registry: PushRegistry

beforeEach(async () => { registry = await PushRegistry.start() })
beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(4, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
}, PREPARE_MS)
afterEach(async () => {
  await scene.end()
  await registry.close()
})
afterAll(async () => {
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

async function nodeWith (binaries: (typeof versions)[number], ownContent = false): Promise<Scene> {
  const node = new Scene()
  node.configure({ sources: [gateway.url] })
  await node.serve()
  await node.startContainerd({ binaries, ownContent })
  return node
}

/** Unpacks an archive as `ctr image export` writes it; digests of its blobs, each checked against its name. */
function blobsOf (archive: string): string[] {
  const out = `${archive}.d`
  mkdirSync(out)
  execFileSync('tar', ['-xf', archive, '-C', out])
  return readdirSync(join(out, 'blobs/sha256')).sort().map((name) => {
    expect(createHash('sha256').update(readFileSync(join(out, 'blobs/sha256', name))).digest('hex')).toBe(name)
    return `sha256:${name}`
  })
}

for (const binaries of versions.length > 0 ? versions : [{ version: 'none', directory: '' }]) {
  run(`a lazily pulled image can be exported whole, imported again and run with overlayfs (containerd ${binaries.version})`, async () => {
    scene = await nodeWith(binaries)
    const { name } = await scene.pull(published.reference)
    const ownFiles = join(scene.root, 'content/blobs/sha256')
    const digests = published.layers.map(({ digest }) => digest)
    const isHere = (digest: string): boolean => existsSync(join(ownFiles, digest.slice(7)))
    expect(digests.filter(isHere)).toEqual([])
    expect(await scene.containerd.ctr('images', 'check', `name==${name}`)).toContain(' complete')

    const archive = join(scene.folder, 'image.tar')
    await scene.containerd.ctr('images', 'export', '--local', archive, name).catch(async () => await scene.containerd.ctr('images', 'export', archive, name))
    expect(blobsOf(archive)).toEqual(expect.arrayContaining(digests))
    expect(digests.filter(isHere)).toEqual(digests)

    await scene.removeImage(name)
    await scene.containerd.collectGarbage()
    expect(digests.filter(isHere)).toEqual([])
    await scene.containerd.ctr('images', 'import', '--snapshotter', 'overlayfs', archive)
    const [imported = ''] = (await scene.containerd.ctr('images', 'ls', '-q')).split('\n')
    const paths = [...image.hashes.keys()]
    const { stdout } = await scene.tryRunWith({ plugin: 'overlayfs' }, imported, '/bin/e2e', 'sha', ...paths)
    expect(hashLines(stdout)).toEqual(image.expected(paths))
    expect(scene.layerMounts()).toEqual([])
  }, PREPARE_MS)

  run(`a lazily pulled image can be pushed whole, and others pull it from there (containerd ${binaries.version})`, async () => {
    scene = await nodeWith(binaries)
    const { name } = await scene.pull(published.reference)
    const pushed = `${registry.host}/pushed:latest`
    await scene.containerd.ctr('images', 'push', '--plain-http', pushed, name)
    for (const { digest } of published.layers) expect(registry.objects.has(digest)).toBe(true)

    await scene.removeImage(name)
    await scene.containerd.collectGarbage()
    await scene.containerd.ctr('images', 'pull', '--plain-http', '--snapshotter', 'overlayfs', pushed)
    const paths = [...image.hashes.keys()]
    const { stdout } = await scene.tryRunWith({ plugin: 'overlayfs' }, pushed, '/bin/e2e', 'sha', ...paths)
    expect(hashLines(stdout)).toEqual(image.expected(paths))
  }, PREPARE_MS)

  run(`with containerd's own store, export and push name the layer that is not there, and push no image (containerd ${binaries.version})`, async () => {
    scene = await nodeWith(binaries, true)
    const { name } = await scene.pull(published.reference)
    const pushed = `${registry.host}/half:half`
    const outcomes = [
      await scene.containerd.tryCtr('images', 'export', join(scene.folder, 'image.tar'), name),
      await scene.containerd.tryCtr('images', 'push', '--plain-http', pushed, name)
    ]
    for (const { code, stderr } of outcomes) {
      expect(code).not.toBe(0)
      expect(stderr).toMatch(new RegExp(`(${published.layers.map(({ digest }) => digest).join('|')}): not found`))
    }
    expect(registry.objects.has('half')).toBe(false)
  }, PREPARE_MS)

  run(`an image that was eagerly unpacked through us stays whole over a restart of both (containerd ${binaries.version})`, async () => {
    scene = await nodeWith(binaries)
    execFileSync('tar', ['-cf', join(scene.folder, 'plain.tar'), '-C', image.layout, '.'])
    await scene.containerd.ctr('images', 'import', '--snapshotter', PLUGIN, '--digests', '--base-name', 'plain.example/image', join(scene.folder, 'plain.tar'))
    await scene.containerd.halt()
    await scene.daemon.end()
    await scene.serve()
    await scene.containerd.start()
    const [name = ''] = (await scene.containerd.ctr('images', 'ls', '-q')).split('\n')
    expect(await scene.containerd.ctr('images', 'check')).toContain(' complete')
    const paths = [...image.hashes.keys()]
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...paths))).toEqual(image.expected(paths))
  }, PREPARE_MS)
}
