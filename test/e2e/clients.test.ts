// Unmodified clients and an image named by its CID, in a registry's spelling, with no label of ours: client × containerd ×
// reference. Lazy means that the container's first line came while less than half of the layers' blocks had been sent. Where
// the client's own code fetches everything (`ctr` of 1.x asks for no remote snapshot), the image works all the same.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isOnPath } from '../peers/tools.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { execute } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { PLUGIN, publish, type Published, Scene, shelf, whyNot } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'

const CONFORMANCE = join(import.meta.dirname, '../conformance')
const folder = shelf()
const versions = containerdVersions()

let image: ProgramImage
let published: Published
let gateway: GatedGateway
let leaves: string[]
let scene: Scene | null = null
const matrix: string[][] = []

interface Node {
  readonly scene: Scene
  /** HOST:PORT of the façade. */
  readonly host: string
  /** Folder of hosts.toml that leads `ipfs:0` there. */
  readonly hosts: string
}

interface Client {
  readonly name: string
  /** On PATH, else the row is skipped. */
  readonly needs?: string
  readonly isLazy: (major: number) => boolean
  readonly spelled: (node: Node) => string
  readonly pull: (node: Node, name: string) => Promise<unknown>
}

const byFacade = ({ host }: Node): string => `${host}/ipfs/${published.cid}:latest`
const byCid = (): string => `ipfs:0/${published.cid}:latest`
const always = (): boolean => true
const modern = (major: number): boolean => major >= 2
const goClient = (module: string): Client => ({
  name: `a Go client that calls Pull(WithPullUnpack), ${module}`,
  needs: 'go',
  isLazy: always,
  spelled: byFacade,
  pull: async ({ scene: { containerd } }, name) => await done('go', ['-C', join(CONFORMANCE, module), 'run', './pull', containerd.address, PLUGIN, name])
})
const CLIENTS: readonly Client[] = [
  { name: 'our pull', isLazy: always, spelled: byCid, pull: async ({ scene }, name) => await scene.pull(published.reference, '--name', name) },
  {
    name: 'ctr image pull',
    isLazy: modern,
    spelled: byFacade,
    pull: async ({ scene: { containerd } }, name) => await containerd.ctr('images', 'pull', '--plain-http', '--snapshotter', PLUGIN, name)
  },
  {
    name: 'ctr image pull',
    isLazy: modern,
    spelled: byCid,
    pull: async ({ scene: { containerd }, hosts }, name) => await containerd.ctr('images', 'pull', '--hosts-dir', hosts, '--snapshotter', PLUGIN, name)
  },
  goClient('containerd-1.7'),
  goClient('containerd-2.4'),
  {
    name: 'nerdctl pull',
    needs: 'nerdctl',
    isLazy: modern,
    spelled: byFacade,
    pull: async ({ scene }, name) => await done('nerdctl', ['--address', scene.containerd.address, '--data-root', join(scene.folder, 'nerdctl'),
      '--cni-netconfpath', join(scene.folder, 'cni'), '--snapshotter', PLUGIN, 'pull', name])
  }
]

async function done (program: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await execute(program, args, 120_000)
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${code}\n${stderr}${stdout}`)
}

async function nodeWith (binaries: (typeof versions)[number]): Promise<Node> {
  scene = new Scene()
  scene.configure({ sources: [gateway.url], registry: '127.0.0.1:0' })
  await scene.serve()
  await scene.startContainerd({ binaries })
  const url = /"url":"(http:[^"]+)","msg":"serving images as a registry"/.exec(scene.log)?.[1] ?? ''
  const hosts = join(scene.folder, 'hosts')
  mkdirSync(join(hosts, 'ipfs_0_'), { recursive: true })
  writeFileSync(join(hosts, 'ipfs_0_', 'hosts.toml'), `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`)
  return { scene, host: url.replace('http://127.0.0.1', 'localhost'), hosts }
}

const suite = whyNot === null ? describe : describe.skip
suite('the matrix', () => {
  beforeAll(async () => {
    await preparePrograms()
    image = programImage(folder, [randomFiles(8, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
    published = await publish(image.layout, join(folder, 'image.car'))
  }, PREPARE_MS)
  afterEach(async () => {
    await scene?.end()
    await gateway.close()
    scene = null
  })
  afterAll(() => {
    for (const row of matrix) process.stdout.write(`${row.join(' | ')}\n`)
    rmSync(folder, { recursive: true, force: true })
  })

  for (const binaries of versions) {
    for (const { name: client, needs, isLazy, spelled, pull } of CLIENTS) {
      const lazy = isLazy(Number(binaries.version.split('.')[0]))
      const why = needs === undefined || isOnPath(needs) ? null : `${needs} is not on PATH`
      if (why !== null) process.stderr.write(`clients: ${client} is skipped: ${why}\n`)
      const row = why === null ? test : test.skip
      const spelling = spelled === byCid ? 'ipfs:0/CID' : 'localhost/ipfs/CID'
      row(`${client} with containerd ${binaries.version} is ${lazy ? 'lazy' : 'right'} (${spelling})`, async () => {
        gateway = await GatedGateway.over(published.car)
        leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
        const node = await nodeWith(binaries)
        const name = spelled(node)
        await pull(node, name)
        const [path = ''] = image.hashes.keys()
        expect(hashLines(await node.scene.run(name, '/bin/e2e', 'sha', path))).toEqual(image.expected([path]))
        const share = gateway.deliveries(leaves) / leaves.length
        matrix.push([
          client, binaries.version, name.replace(published.cid, '<CID>'), share < 0.5 ? 'lazy' : 'whole', `${(share * 100).toFixed(0)} % of the blocks`
        ])
        if (lazy) expect(share).toBeLessThan(0.5)
        const paths = [...image.hashes.keys()]
        expect(hashLines(await node.scene.run(name, '/bin/e2e', 'sha', ...paths))).toEqual(image.expected(paths))
      }, PREPARE_MS)
    }
  }
})
