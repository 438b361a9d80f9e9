// Unmodified clients and an image named by its CID, with no label of ours: client × containerd × reference. Lazy means that
// the container's first line came while less than half of the layers' blocks had been sent. Where the client's own code
// fetches everything (`ctr` of 1.x asks for no remote snapshot), the image works all the same. docs/CLIENTS.md has the table.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { isOnPath } from '../peers/tools.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { GoPrograms, startClientNode } from './client-node.ts'
import { CLIENTS, spelled } from './clients.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, type Scene, shelf, whyNot } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { Table } from './table.ts'

const FAMILIES = ['1.6', '1.7', '2.3', '2.4']
const folder = shelf()
const programs = new GoPrograms(folder)
const present = containerdVersions()
const absent = FAMILIES.filter((family) => !present.some(({ version }) => version.startsWith(`${family}.`)))
const versions = [...present, ...absent.map((version) => ({ version, directory: null }))]
const matrix = new Table()

let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene | null = null

for (const version of absent) process.stderr.write(`clients: rows with containerd ${version} are skipped: none is here\n`)
for (const need of ['go', 'nerdctl']) if (!isOnPath(need)) process.stderr.write(`clients: rows with ${need} are skipped: it is not on PATH\n`)

const suite = whyNot === null ? describe : describe.skip
suite('the matrix', () => {
  beforeAll(async () => {
    await preparePrograms()
    image = programImage(folder, [randomFiles(8, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
    published = await publish(image.layout, join(folder, 'image.car'))
    await programs.build('containerd-1.7/pull', 'containerd-2.4/pull', 'containerd-2.4/cri')
  }, PREPARE_MS)
  afterEach(async () => {
    await scene?.end()
    await gateway.close()
    scene = null
  })
  afterAll(() => {
    process.stdout.write(`${matrix.print(['client', 'reference'])}\n`)
    rmSync(folder, { recursive: true, force: true })
  })

  for (const { version, directory } of versions) {
    for (const client of CLIENTS) {
      const major = Number(version.split('.')[0])
      if (client.isFor?.(major) === false) continue
      const isLazy = client.isLazy(major)
      const row = directory !== null && (client.needs === undefined || isOnPath(client.needs)) ? test : test.skip
      row(`${client.name} of ${client.reference} with containerd ${version} is ${isLazy ? 'lazy' : 'whole, and right'}`, async () => {
        gateway = await GatedGateway.over(published.car)
        const leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
        const { plugin, hasOurContent = false, hasCri = false, unpacking } = client
        const node = await startClientNode({
          binaries: { version, directory: directory ?? '' }, gateway: gateway.url, plugin, unpacking, ownContent: !hasOurContent,
          sandboxImage: hasCri ? `ipfs:0/${published.cid}:latest` : undefined
        }, (started) => { scene = started })
        const name = spelled(client, node, published.cid)
        const run = async (...paths: readonly string[]): Promise<Record<string, string>> =>
          hashLines(await (client.run?.(node, name, { published, programs }, '/bin/e2e', 'sha', ...paths) ?? node.scene.run(name, '/bin/e2e', 'sha', ...paths)))

        await client.pull(node, name, { published, programs })
        const [first = '', ...others] = image.hashes.keys()
        expect(await run(first)).toEqual(image.expected([first]))
        const share = gateway.deliveries(leaves) / leaves.length
        matrix.put([client.name, client.reference], version.replace(/[~+].*/, ''), `${share < 0.5 ? 'lazy' : 'whole'}, ${(share * 100).toFixed(0)} %`)
        expect(share < 0.5).toBe(isLazy)
        expect(await run(...others)).toEqual(image.expected(others))
      }, PREPARE_MS)
    }
  }
})
