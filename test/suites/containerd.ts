// A private containerd for tests: own root, state, sockets and configuration below one temporary folder, any version
// that is there. Versions: `containerd`, `ctr` and the shim on PATH, and those in each folder that the environment
// variable IPFS_SNAPSHOTTER_CONTAINERD names (colon-separated).
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { wipe } from './mounts.ts'

export interface ContainerdBinaries {
  /** As it says itself, e.g. `1.6.20~ds1`. */
  readonly version: string
  readonly directory: string
}

export interface PrivateContainerdInit {
  /** Empty and short: socket paths end at 107 bytes. */
  readonly folder: string
  readonly binaries: ContainerdBinaries
  /** Plugin name → socket of our snapshotter. */
  readonly snapshotters: Readonly<Record<string, string>>
  /** Socket of the content store that takes the place of containerd's own. */
  readonly content?: string
  /** What the snapshotters are said to be able to. */
  readonly capabilities?: readonly string[]
  /** With it CRI runs, too, on the first of the snapshotters. */
  readonly cri?: CriInit
  /** Of the transfer service: several layers at once, and with plugins that are said to rebase. */
  readonly unpacking?: 'limited' | 'rebasing' | undefined
}

export interface CriInit {
  /** Folder of hosts.toml files. */
  readonly hosts: string
  /** What holds a pod; its own command must wait for ever. */
  readonly sandboxImage: string
}

export interface CtrResult { readonly code: number, readonly stdout: string, readonly stderr: string }

const CTR_TIMEOUT_MS = 120_000
const START_TIMEOUT_MS = 20_000
const CRI = [
  'io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.podsandbox.controller.v1.podsandbox'
]
const DISABLED = [
  'io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt', 'io.containerd.internal.v1.tracing',
  ...['aufs', 'btrfs', 'devmapper', 'zfs', 'blockfile', 'erofs'].map((name) => `io.containerd.snapshotter.v1.${name}`)
]

/** Every containerd that tests can use, PATH's first; empty (with a printed reason) without root, runc or containerd. */
export function containerdVersions (): ContainerdBinaries[] {
  const path = (process.env['PATH'] ?? '').split(delimiter)
  const onPath = path.find((directory) => existsSync(join(directory, 'containerd')))
  const extra = (process.env['IPFS_SNAPSHOTTER_CONTAINERD'] ?? '').split(delimiter).filter((directory) => directory !== '')
  const candidates = [...onPath === undefined ? [] : [onPath], ...extra]
  const hasRunc = path.some((directory) => existsSync(join(directory, 'runc')))
  const missing = process.getuid?.() !== 0 ? 'root' : !hasRunc ? 'runc' : candidates.length === 0 ? 'containerd' : null
  if (missing !== null) {
    process.stderr.write(`tests with a real containerd are skipped: no ${missing}\n`)
    return []
  }
  return candidates.map((directory) => ({ directory, version: versionOf(join(directory, 'containerd')) }))
}

function versionOf (binary: string): string {
  const printed = execFileSync(binary, ['--version'], { encoding: 'utf8' })
  return /\bv?(\d+\.\d+\.\d+\S*)/.exec(printed)?.[1] ?? printed.trim()
}

export class PrivateContainerd {
  readonly folder: string
  readonly address: string
  readonly version: string
  readonly #binaries: ContainerdBinaries
  #process: ChildProcess | null = null

  static async start (init: PrivateContainerdInit): Promise<PrivateContainerd> {
    const containerd = new PrivateContainerd(init)
    mkdirSync(init.folder, { recursive: true })
    writeFileSync(join(init.folder, 'config.toml'), containerd.#config(init))
    await containerd.start()
    return containerd
  }

  private constructor ({ folder, binaries }: PrivateContainerdInit) {
    this.folder = folder
    this.address = join(folder, 'containerd.sock')
    this.version = binaries.version
    this.#binaries = binaries
  }

  async start (): Promise<void> {
    const log = createWriteStream(join(this.folder, 'containerd.log'), { flags: 'a' })
    const child = spawn(join(this.#binaries.directory, 'containerd'), ['--config', join(this.folder, 'config.toml')], {
      stdio: ['ignore', 'pipe', 'pipe'], env: this.#environment()
    })
    child.stdout.pipe(log, { end: false })
    child.stderr.pipe(log, { end: false })
    this.#process = child
    for (let waited = 0; waited < START_TIMEOUT_MS; waited += 100) {
      if (child.exitCode !== null) break
      const { code } = await this.tryCtr('version')
      if (code === 0) return
      await sleep(100)
    }
    throw new Error(`containerd ${this.version} did not start:\n${readFileSync(join(this.folder, 'containerd.log'), 'utf8').slice(-4000)}`)
  }

  /** Ends the daemon; containers and state stay, as after an upgrade or a crash. */
  async halt (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#process
    this.#process = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill(signal)
    await ended
  }

  /** Ends the daemon and its shims, unmounts and deletes everything. */
  async stop (): Promise<void> {
    await this.halt()
    for (const pid of this.#shims()) process.kill(pid, 'SIGKILL')
    wipe(this.folder)
  }

  /** Output of `ctr`; throws with its stderr when it fails. */
  async ctr (...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tryCtr(...args)
    if (code !== 0) throw new Error(`ctr ${args.join(' ')}: exit ${code}\n${stderr}${stdout}`)
    return stdout
  }

  async tryCtr (...args: string[]): Promise<CtrResult> {
    return await new Promise((resolve) => {
      execFile(join(this.#binaries.directory, 'ctr'), ['--address', this.address, ...args], {
        timeout: CTR_TIMEOUT_MS, maxBuffer: 64 << 20, env: this.#environment(), encoding: 'utf8'
      }, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        resolve({ code, stdout, stderr: stderr + (error !== null && code === -1 ? error.message : '') })
      })
    })
  }

  /** Starts `ctr` and leaves it running. */
  spawnCtr (...args: string[]): ChildProcess {
    return spawn(join(this.#binaries.directory, 'ctr'), ['--address', this.address, ...args], {
      env: this.#environment(), stdio: ['pipe', 'pipe', 'pipe']
    })
  }

  /** Creates and sync-deletes an empty lease: that waits for a whole garbage collection. */
  async collectGarbage (namespace = 'default'): Promise<void> {
    await this.ctr('-n', namespace, 'leases', 'create', '--id', 'force-gc')
    await this.ctr('-n', namespace, 'leases', 'delete', '--sync', 'force-gc')
  }

  #environment (): NodeJS.ProcessEnv {
    return { ...process.env, PATH: `${this.#binaries.directory}${delimiter}${process.env['PATH'] ?? ''}` }
  }

  #shims (): number[] {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        return command.includes('containerd-shim') && command.includes(this.address)
      } catch {
        return false
      }
    })
  }

  #config ({ snapshotters, content, capabilities = [], cri, unpacking }: PrivateContainerdInit): string {
    const able = [...capabilities, ...unpacking === 'rebasing' ? ['rebase'] : []]
    const disabled = [...DISABLED, ...cri === undefined ? CRI : [], ...content === undefined ? [] : ['io.containerd.content.v1.content']]
    const lines = [
      'version = 2',
      `root = "${this.folder}/root"`,
      `state = "${this.folder}/state"`,
      `disabled_plugins = ${JSON.stringify(disabled)}`,
      '[grpc]',
      `  address = "${this.address}"`,
      '[ttrpc]',
      `  address = "${this.address}.ttrpc"`,
      ...content === undefined ? [] : ['[proxy_plugins.ipfs-content]', '  type = "content"', `  address = "${content}"`],
      ...Object.entries(snapshotters).flatMap(([name, address]) => [
        `[proxy_plugins."${name}"]`,
        '  type = "snapshot"',
        `  address = "${address}"`,
        `  capabilities = ${JSON.stringify(able)}`,
        ...this.#isModern ? [`  [proxy_plugins."${name}".exports]`, '    enable_remote_snapshot_annotations = "true"'] : []
      ])
    ]
    if (unpacking !== undefined) lines.push('[plugins."io.containerd.transfer.v1.local"]', '  max_concurrent_unpacks = 3')
    if (this.#isModern) lines.push(...['overlayfs', ...Object.keys(snapshotters)].flatMap(unpackConfig))
    if (cri !== undefined) lines.push(...this.#criConfig(cri, Object.keys(snapshotters)[0] ?? ''))
    return `${lines.join('\n')}\n`
  }

  /** For pods on the host's network, on machines where nobody may lower a process's oom_score_adj, too. */
  #criConfig ({ hosts, sandboxImage }: CriInit, snapshotter: string): string[] {
    const [images, runtime] = this.#isModern ? ['io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime'] : Array<string>(2).fill('io.containerd.grpc.v1.cri')
    const cni = join(this.folder, 'cni')
    return [
      ...this.#isModern
        ? [`[plugins."${images}"]`, `  snapshotter = "${snapshotter}"`, `[plugins."${images}".pinned_images]`, `  sandbox = "${sandboxImage}"`]
        : [`[plugins."${images}".containerd]`, `  snapshotter = "${snapshotter}"`],
      `[plugins."${runtime}"]`, '  restrict_oom_score_adj = true', ...this.#isModern ? [] : [`  sandbox_image = "${sandboxImage}"`],
      `[plugins."${images}".registry]`, `  config_path = "${hosts}"`,
      `[plugins."${runtime}".cni]`, `  conf_dir = "${cni}"`, `  bin_dir = "${cni}"`
    ]
  }

  get #isModern (): boolean {
    return Number(this.version.split('.')[0]) >= 2
  }
}

/** `ctr image pull` of containerd 2 unpacks in the daemon, which must be told for which snapshotters. */
function unpackConfig (snapshotter: string): string[] {
  return ['[[plugins."io.containerd.transfer.v1.local".unpack_config]]', '  platform = "linux"', `  snapshotter = "${snapshotter}"`]
}
