// The façade as containerd's clients use it: an image named by its CID, in the spelling of a registry, with no label of ours.
// Where the client unpacks in the daemon (containerd 2) it is lazy; where it fetches everything itself it works all the same.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
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
let leaves: string[]
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(8, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
  leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
}, PREPARE_MS)
afterEach(async () => { await scene.end() })
afterAll(async () => {
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

/** A node with the façade, and a folder of hosts.toml that leads `ipfs:0` to it. */
async function nodeWith (binaries: (typeof versions)[number]): Promise<{ node: Scene, host: string, hosts: string }> {
  const node = new Scene()
  node.configure({ sources: [gateway.url], registry: '127.0.0.1:0' })
  await node.serve()
  await node.startContainerd({ binaries })
  const url = /"url":"(http:[^"]+)","msg":"serving images as a registry"/.exec(node.log)?.[1] ?? ''
  const hosts = join(node.folder, 'hosts')
  mkdirSync(join(hosts, 'ipfs_0_'), { recursive: true })
  writeFileSync(join(hosts, 'ipfs_0_', 'hosts.toml'), `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`)
  return { node, host: url.replace('http://127.0.0.1', 'localhost'), hosts }
}

for (const binaries of versions.length > 0 ? versions : [{ version: 'none', directory: '' }]) {
  const isLazy = Number(binaries.version.split('.')[0]) >= 2
  run(`ctr pulls ${isLazy ? 'lazily' : 'everything, and that works,'} by either name (containerd ${binaries.version})`, async () => {
    const { node, host, hosts } = await nodeWith(binaries)
    scene = node
    const paths = [...image.hashes.keys()]
    for (const [at, name] of [`${host}/ipfs/${published.cid}:latest`, `ipfs:0/${published.cid}:latest`].entries()) {
      const before = gateway.deliveries(leaves)
      const named = name.startsWith('ipfs:0') ? ['--hosts-dir', hosts] : ['--plain-http']
      await node.containerd.ctr('images', 'pull', ...named, '--snapshotter', PLUGIN, name)
      const printed = await node.run(name, '/bin/e2e', 'sha', paths[0] ?? '')
      expect(hashLines(printed)).toEqual(image.expected([paths[0] ?? '']))
      if (isLazy && at === 0) expect(gateway.deliveries(leaves) - before).toBeLessThan(leaves.length / 2)
      if (isLazy) expect(node.layerMounts().length).toBeGreaterThan(0)
      expect(hashLines(await node.run(name, '/bin/e2e', 'sha', ...paths))).toEqual(image.expected(paths))
    }
    expect(readFileSync(join(node.folder, 'serve.err'), 'utf8')).not.toContain('"level":"error"')
  }, PREPARE_MS)
}
