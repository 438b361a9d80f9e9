// A node as clients find it: containerd with our plugin and CRI, our façade for a registry, by hosts.toml and by its address,
// and our RPC of Kubo. And the Go programs of ours that are clients.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isOnPath } from '../peers/tools.ts'
import type { ContainerdBinaries } from '../suites/containerd.ts'
import { execute } from './command.ts'
import { PLUGIN, Scene } from './harness.ts'

/** Whose names hosts.toml leads to the façade, as those of `ipfs:0`; nobody asks it. */
export const GATEWAY = 'gateway.invalid'

export interface ClientNode {
  readonly scene: Scene
  /** HOST:PORT of the façade. */
  readonly host: string
  /** Folder of hosts.toml files that lead `ipfs:0` and `GATEWAY` there. */
  readonly hosts: string
}

export interface ClientNodeInit {
  readonly binaries: ContainerdBinaries
  /** URL of the gateway that it has blocks from. */
  readonly gateway: string
  readonly plugin?: string | undefined
  /** False for our content store. */
  readonly ownContent?: boolean
  /** With it CRI runs; this image holds the pods. */
  readonly sandboxImage?: string | undefined
  readonly unpacking?: 'limited' | 'rebasing' | undefined
}

/** `onScene` gets the scene before anything in it can fail. */
export async function startClientNode (init: ClientNodeInit, onScene: (scene: Scene) => void): Promise<ClientNode> {
  const { binaries, gateway, plugin = PLUGIN, ownContent = true, sandboxImage, unpacking } = init
  const scene = new Scene()
  onScene(scene)
  scene.configure({ sources: [gateway], registry: '127.0.0.1:0', ipfsApi: '127.0.0.1:0' })
  await scene.serve()
  const url = /"url":"(http:[^"]+)","msg":"serving images as a registry"/.exec(scene.log)?.[1] ?? ''
  const hosts = join(scene.folder, 'hosts')
  for (const name of ['ipfs_0_', GATEWAY]) {
    mkdirSync(join(hosts, name), { recursive: true })
    writeFileSync(join(hosts, name, 'hosts.toml'), `server = "${url}"\ncapabilities = ["pull", "resolve"]\n[host]\n`)
  }
  const cri = sandboxImage === undefined ? undefined : { hosts, sandboxImage }
  await scene.startContainerd({ binaries, ownContent, cri, unpacking, plugins: [plugin] })
  return { scene, host: url.replace('http://127.0.0.1', 'localhost'), hosts }
}

/** What a program printed. @throws with what it said when it fails. */
export async function output (program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await execute(program, args, 120_000)
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${code}\n${stderr}${stdout}`)
  return stdout
}

/** Below test/conformance. */
export type GoProgram = 'containerd-1.7/pull' | 'containerd-2.4/pull' | 'containerd-2.4/cri'

export class GoPrograms {
  readonly #folder: string

  constructor (folder: string) {
    this.#folder = folder
  }

  /** Before they run. Nothing where there is no Go. */
  async build (...programs: readonly GoProgram[]): Promise<void> {
    for (const program of isOnPath('go') ? programs : []) {
      const [module = '', name = ''] = program.split('/')
      await output('go', ['-C', join(import.meta.dirname, '../conformance', module), 'build', '-o', this.#path(program), `./${name}`])
    }
  }

  async run (program: GoProgram, ...args: readonly string[]): Promise<string> {
    return await output(this.#path(program), args)
  }

  #path (program: GoProgram): string {
    return join(this.#folder, program.replace('/', '-'))
  }
}

export async function nerdctl ({ scene, hosts }: ClientNode, ...args: readonly string[]): Promise<string> {
  return await output('env', [`IPFS_PATH=${join(scene.state, 'ipfs')}`, 'nerdctl', '--address', scene.containerd.address, '--data-root',
    join(scene.folder, 'nerdctl'), '--cni-netconfpath', join(scene.folder, 'cni'), '--hosts-dir', hosts, '--snapshotter', scene.plugin, ...args])
}
