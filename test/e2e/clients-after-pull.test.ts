// After our pull other clients find the image ready: they move hardly a block when they pull it again. With containerd's own
// content store that is not in anybody's hands where a client fetches layers whatever snapshots there are (`ctr` of 1.x, `--local`).
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { isOnPath } from '../peers/tools.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { type ClientNode, GoPrograms, nerdctl, startClientNode } from './client-node.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, type Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'
import { Table } from './table.ts'

const HARDLY = 0.1
const folder = shelf()
const programs = new GoPrograms(folder)
const versions = containerdVersions()
const table = new Table()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(8, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
  await programs.build('containerd-2.4/pull', 'containerd-2.4/cri')
}, PREPARE_MS)
afterEach(async () => { await scene.end() })
afterAll(async () => {
  await gateway.close()
  process.stdout.write(`${table.print(['pulled again by', 'content store'])}\n`)
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

interface Again {
  readonly client: string
  readonly pull: (node: ClientNode, name: string) => Promise<unknown>
  /** Whether it fetches layers that containerd has snapshots of. */
  readonly fetchesAll?: boolean
}

/** Those that fetch everything last: they leave nothing to fetch. */
function clientsOf (isModern: boolean): Again[] {
  const ctr = (client: string, ...flags: readonly string[]): Again => ({
    client,
    fetchesAll: !isModern || flags.length > 0,
    pull: async ({ scene: { containerd, plugin }, hosts }, name) =>
      await containerd.ctr('images', 'pull', ...flags, '--hosts-dir', hosts, '--snapshotter', plugin, name)
  })
  const needsGo: Again[] = [
    { client: 'CRI', pull: async ({ scene: { containerd } }, name) => await programs.run('containerd-2.4/cri', containerd.address, 'pull', name) },
    {
      client: 'Go, client 2.4',
      pull: async ({ scene: { containerd, plugin }, host }) =>
        await programs.run('containerd-2.4/pull', containerd.address, plugin, `${host}/ipfs/${published.cid}:latest`)
    }
  ]
  return [
    ...isOnPath('nerdctl') ? [{ client: 'nerdctl', pull: async (node: ClientNode, name: string) => await nerdctl(node, 'pull', name) }] : [],
    ...isOnPath('go') ? needsGo : [],
    ctr('ctr images pull'),
    ...isModern ? [ctr('ctr images pull --local', '--local')] : []
  ]
}

for (const binaries of versions.length > 0 ? versions : [{ version: 'none', directory: '' }]) {
  for (const ownContent of [true, false]) {
    const store = ownContent ? "containerd's" : 'ours'
    run(`who pulls again what our pull made finds it ready (containerd ${binaries.version}, content store: ${store})`, async () => {
      const name = `ipfs:0/${published.cid}:latest`
      const node = await startClientNode({ binaries, gateway: gateway.url, ownContent, sandboxImage: name }, (started) => { scene = started })
      for (const namespace of ['default', 'k8s.io']) await scene.pull(published.reference, '--name', name, '--namespace', namespace)
      const leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
      for (const { client, pull, fetchesAll = false } of clientsOf(Number(binaries.version.split('.')[0]) >= 2)) {
        const before = gateway.deliveries(leaves)
        await pull(node, name)
        const share = (gateway.deliveries(leaves) - before) / leaves.length
        table.put([client, store], binaries.version.replace(/[~+].*/, ''), `${(share * 100).toFixed(0)} %`)
        if (!fetchesAll || !ownContent) expect(share).toBeLessThan(HARDLY)
      }
      const paths = [...image.hashes.keys()]
      expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...paths))).toEqual(image.expected(paths))
    }, PREPARE_MS)
  }
}
