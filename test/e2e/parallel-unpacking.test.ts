// Parallel unpacking of containerd 2, for plugins that are said to rebase: each layer is prepared on nothing and gets its parent at
// Commit. We are not said to; where somebody says it all the same, layers are refused with a reason and no image of one layer comes out.
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { isOnPath } from '../peers/tools.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { GoPrograms, startClientNode } from './client-node.ts'
import { publish, type Published, type Scene, shelf, startGateway } from './harness.ts'
import { command, type Service, until } from './command.ts'
import { hashLines, type ProgramImage, programImage } from './program-image.ts'

const folder = shelf()
const programs = new GoPrograms(folder)
const services: Service[] = []
const modern = containerdVersions().filter(({ version }) => Number(version.split('.')[0]) >= 2)
const isRunnable = modern.length > 0
const run = isRunnable ? test : test.skip
if (!isRunnable) process.stderr.write('parallel-unpacking: tests are skipped: no containerd 2 is here\n')
let image: ProgramImage
let published: Published
let gateway: string
let scene: Scene

beforeAll(async () => {
  if (!isRunnable) return
  await preparePrograms()
  image = programImage(folder, [{ '/etc/upper': 'from the upper layer\n' }])
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await startGateway(folder, [published.car], (service) => { services.push(service) })
  await programs.build('containerd-2.4/pull')
}, PREPARE_MS)
afterEach(async () => { if (isRunnable) await scene.end() })
afterAll(async () => {
  for (const service of services) await service.end()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

for (const binaries of isRunnable ? modern : [{ version: '2', directory: '' }]) {
  // Up to 2.3 containerd forgets that a Prepare failed and says that the pull went well; to run the image fails then.
  const isTold = Number(binaries.version.split('.')[1] ?? 4) >= 4
  run(`a plugin that is said to rebase refuses layers, doctor says so, and our own pull works (containerd ${binaries.version})`, async () => {
    const node = await startClientNode({ binaries, gateway, unpacking: 'rebasing' }, (started) => { scene = started })
    const name = `ipfs:0/${published.cid}:latest`
    const why = /FAILED_PRECONDITION.*"rebase.*proxy_plugins/s
    const { code, stderr } = await scene.containerd.tryCtr('images', 'pull', '--hosts-dir', node.hosts, '--snapshotter', scene.plugin, name)
    if (isTold) expect([code, stderr]).toEqual([1, expect.stringMatching(why)])
    else expect(await scene.tryRun('default', name, '/bin/e2e', 'sha', '/etc/upper')).toMatchObject({ code: 1, stdout: '' })
    await until('the log says why', () => why.test(scene.log))
    if (isOnPath('go')) {
      const other = `${node.host}/ipfs/${published.cid}:latest`
      await expect(programs.run('containerd-2.4/pull', scene.containerd.address, scene.plugin, other, 'parallel')).rejects.toThrow(why)
    }
    expect((await command(['doctor', '--config', scene.config])).stdout).toMatch(/say that ipfs can rebase/)

    if (!isTold) await scene.removeImage(name)
    await scene.containerd.collectGarbage()
    expect([await scene.snapshots(), (await scene.containerd.ctr('images', 'ls', '-q')).trim()]).toEqual([[], ''])
    await scene.pull(published.reference, '--name', name)
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', '/etc/upper'))).toEqual(image.expected(['/etc/upper']))
  }, PREPARE_MS)
}
