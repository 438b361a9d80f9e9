// What clients' own grammars refuse never reaches us; what reaches us and cannot work is refused with a status, and the log says why.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { mkdirSync, rmSync } from 'node:fs'
import { isOnPath } from '../peers/tools.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { until } from './command.ts'
import { type ClientNode, GATEWAY, GoPrograms, nerdctl, startClientNode } from './client-node.ts'
import { type Scene, shelf } from './harness.ts'
import { run } from './run.ts'

const NO_GATEWAY = 'http://127.0.0.1:9'
const CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
const OLD_CID = 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG'
const IPNS = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'
const folder = shelf()
const programs = new GoPrograms(folder)
const versions = containerdVersions()
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  mkdirSync(folder, { recursive: true })
  await programs.build('containerd-2.4/cri')
}, PREPARE_MS)
afterEach(async () => { await scene.end() })
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

type Pull = (node: ClientNode, name: string) => Promise<unknown>
const ctr: Pull = async ({ scene: { containerd, plugin }, hosts }, name) =>
  await containerd.ctr('images', 'pull', '--hosts-dir', hosts, '--snapshotter', plugin, name)
const cri: Pull = async ({ scene: { containerd } }, name) => await programs.run('containerd-2.4/cri', containerd.address, 'pull', name)
const nerd: Pull = async (node, name) => await nerdctl(node, 'pull', name)

const REFUSED: ReadonlyArray<readonly [pull: Pull, names: readonly string[], why: RegExp]> = [
  [ctr, [`ipfs://${CID}`, `https://${GATEWAY}/ipfs/${CID}`], /invalid reference/],
  [ctr, [CID, `ipfs:0/${CID}`, `${GATEWAY}/ipfs/${CID}`], /object required/],
  ...isOnPath('go')
    ? [[cri, [`ipfs://${CID}`, `https://${GATEWAY}/ipfs/${CID}`, `ipfs:0/${OLD_CID}:latest`], /invalid reference format/] as const]
    : [],
  ...isOnPath('nerdctl') ? [[nerd, [`https://${GATEWAY}/ipfs/${CID}`, `ipfs:0/${OLD_CID}:latest`], /invalid reference format/] as const] : []
]
const ALL = [ctr, ...isOnPath('go') ? [cri] : [], ...isOnPath('nerdctl') ? [nerd] : []]
const ASKED: ReadonlyArray<readonly [pulls: readonly Pull[], name: string, status: string, why: RegExp]> = [
  [ALL, `ipfs:0/${CID}:latest`, '502 Bad Gateway', new RegExp(`ROOT_UNREACHABLE: [^"]*${CID}`)],
  [[ctr], `ipfs:0/${OLD_CID}:latest`, '400 Bad Request', /REF_INVALID: .*lower-case CIDv1; write ipfs:0\/bafy/],
  [ALL, `ipfs:0/${IPNS}:latest`, '400 Bad Request', /REF_MUTABLE: .*k51/]
]

for (const binaries of versions.length > 0 ? versions : [{ version: 'none', directory: '' }]) {
  run(`what cannot work is refused with a reason, by the client or by us (containerd ${binaries.version})`, async () => {
    const node = await startClientNode({ binaries, gateway: NO_GATEWAY, sandboxImage: `ipfs:0/${CID}:latest` }, (started) => { scene = started })
    for (const [pull, names, why] of REFUSED) {
      for (const name of names) await expect(pull(node, name)).rejects.toThrow(why)
    }
    expect(scene.log).not.toMatch(new RegExp(`${CID}|${OLD_CID}`))
    for (const [pulls, name, status, why] of ASKED) {
      for (const pull of pulls) {
        const refusal = await pull(node, name).then(() => 'none', String)
        expect(refusal).toContain(status)
        expect(refusal).not.toContain('lookup ipfs') // nobody goes on to a host of that name
      }
      await until('the log says why', () => why.test(scene.log))
    }
  }, PREPARE_MS)
}
