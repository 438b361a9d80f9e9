// Containers in a user namespace, on an image that only its owner may read, so that nothing works before ids are shifted: by
// our mounts where the plugin says that it can, in a copy that the client makes where not, and never not at all.
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { insideChroot } from '../suites/chroot.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, type SceneOptions, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const HOST_ROOT = 200_000
const SHIFTED = ['--uidmap', `0:${HOST_ROOT}:65536`, '--gidmap', `0:${HOST_ROOT}:65536`]
const folder = shelf()
if (insideChroot) process.stderr.write('user-namespaces: skipped: the kernel makes none for who lives in a chroot\n')
const shifted = insideChroot ? test.skip : run
const versions = containerdVersions()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let leaves: string[]
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  const before = process.umask(0o077)
  mkdirSync(folder)
  image = programImage(join(folder, 'image'), [randomFiles(8, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
  process.umask(before)
  published = await publish(image.layout, join(folder, 'image.car'))
}, PREPARE_MS)
afterEach(async () => {
  await scene.end()
  await gateway.close()
}, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

/** A node whose containerd was told what our plugin can do; the name of the image on it. */
async function pulledOn (binaries: (typeof versions)[number], capabilities: readonly string[], options: SceneOptions = {}): Promise<string> {
  gateway = await GatedGateway.over(published.car)
  leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
  scene = new Scene()
  chmodSync(scene.folder, 0o711) // the container's root is nobody on the way to its files
  scene.configure({ sources: [gateway.url], ...options })
  await scene.serve()
  await scene.startContainerd({ binaries, capabilities })
  return (await scene.pull(published.reference)).name
}

async function expectFiles (flags: readonly string[], name: string, ...paths: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await scene.tryRunWith({ flags }, name, '/bin/e2e', 'sha', ...paths)
  expect([hashLines(stdout), code === 0 ? '' : stderr]).toEqual([image.expected(paths), ''])
}

for (const binaries of versions.length > 0 ? versions : [{ version: 'none', directory: '' }]) {
  const isModern = Number(binaries.version.split('.')[0]) >= 2
  const paths = ['/etc/upper', '/data/0']

  if (isModern) {
    shifted(`are lazy with the capability remap-ids (containerd ${binaries.version})`, async () => {
      const name = await pulledOn(binaries, ['remap-ids'])
      await expectFiles([...SHIFTED, '--remap-labels'], name, ...paths)
      expect(gateway.deliveries(leaves)).toBeLessThan(leaves.length / 2)
      await expectFiles([], name, ...paths)
      await scene.removeImage(name)
      await scene.containerd.collectGarbage()
      await scene.noLayerMounts()
    }, PREPARE_MS)
  } else {
    shifted(`are refused where labels ask for what containerd ${binaries.version} cannot mount`, async () => {
      const name = await pulledOn(binaries, ['remap-ids'])
      const { code, stderr } = await scene.tryRunWith({ flags: [...SHIFTED, '--remap-labels'] }, name, '/bin/e2e', 'sha', ...paths)
      expect(code).not.toBe(0)
      expect(stderr).toContain(`UNSUPPORTED: containerd ${binaries.version} cannot mount with shifted ids, 2.0 can; leave out --remap-labels`)
      await expectFiles([], name, ...paths)
    }, PREPARE_MS)
  }

  shifted(`run on the copy that the client makes without it (containerd ${binaries.version})`, async () => {
    const name = await pulledOn(binaries, [])
    const labels = binaries.version.startsWith('1.6') ? [] : ['--remap-labels']
    await expectFiles([...SHIFTED, ...labels], name, ...paths)
  }, PREPARE_MS)
}

const [newest] = versions.filter(({ version }) => Number(version.split('.')[0]) >= 2)
if (newest !== undefined) {
  shifted('are refused on layers of the driver fuse, and in one line', async () => {
    const name = await pulledOn(newest, ['remap-ids'], { driver: 'fuse' })
    const { code, stderr } = await scene.tryRunWith({ flags: [...SHIFTED, '--remap-labels'] }, name, '/bin/e2e', 'sha', '/etc/upper')
    expect(code).not.toBe(0)
    expect(stderr).toContain('UNSUPPORTED: ids cannot be shifted on layers of the mount driver fuse')
  }, PREPARE_MS)
}
