// A whole node in one temporary folder: our `serve` as a child process with its own root and state, a private containerd,
// gateways of our command. Everything ends when it is disposed of, whatever a test did to it; then it says what is left.
import { randomUUID } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ContainerdClient } from '../../src/grpc/containerd-client.ts'
import { mountsBelow } from '../suites/bind-layers.ts'
import { type ContainerdBinaries, containerdVersions, type CriInit, type CtrResult, PrivateContainerd } from '../suites/containerd.ts'
import { nativeUnderTest } from '../suites/data-plane-fixture.ts'
import { wipe, withMounts } from '../suites/mounts.ts'
import { command, commandJson, type Outcome, Service, until } from './command.ts'
import { filesBelow, kill, lives, loopsOn, processesOf } from './traces.ts'

export const PLUGIN = 'ipfs'
const versions = containerdVersions()

/** Null, or why no image can be run here. */
export const whyNot = versions.length > 0 ? null : 'needs root, containerd and runc'

export interface SceneOptions {
  /** Gateway URLs, in order. */
  readonly sources?: readonly string[]
  readonly driver?: 'auto' | 'erofs' | 'erofs-loop' | 'fuse'
  /** Of a gateway's silence. */
  readonly timeout?: string
  /** Of one read. */
  readonly deadline?: string
  readonly cacheKey?: 'disk' | 'boot'
  /** Of the cache. */
  readonly maxSize?: string
  readonly onFailure?: 'eio' | 'block' | 'kill'
  readonly onViolation?: 'eio' | 'kill'
  readonly prove?: 'background' | 'before-commit'
  /** Quiet before a background proof; by default none comes between a test's counts of what was fetched. */
  readonly proveAfter?: string
  /** HOST:PORT of the façade. */
  readonly registry?: string
  /** HOST:PORT of the RPC of Kubo. */
  readonly ipfsApi?: string
  /** HOST:PORT where blocks that were given to the node are offered. */
  readonly gateway?: string
  /** HOST:PORT of status page, metrics and health. */
  readonly http?: string
  /** Of `serve`, beside that of the test. */
  readonly environment?: Readonly<Record<string, string>>
}

export interface ContainerdOptions {
  readonly binaries?: ContainerdBinaries | undefined
  readonly ownContent?: boolean
  /** Names of our one socket; the first is that of `run`, `start` and the others. */
  readonly plugins?: readonly string[]
  /** Of each. */
  readonly capabilities?: readonly string[]
  readonly cri?: CriInit | undefined
  readonly unpacking?: 'limited' | 'rebasing' | undefined
}

export interface Pulled { readonly name: string, readonly manifestDigest: string, readonly layers: ReadonlyArray<{ readonly chainId: string }> }

export interface Status {
  readonly driver: string
  readonly layers: ReadonlyArray<{ readonly digest: string, readonly size: number, readonly cachedBytes: number, readonly readBytes: number, readonly state: string, readonly proven: boolean }>
  readonly worker: { readonly pid: number, readonly restarts: number, readonly waitingReads: number, readonly violations: number, readonly leafHashesChecked: number }
  readonly cache: { readonly bytes: number, readonly maxBytes: number, readonly evictedChunks: number }
  readonly totals: { readonly sharedBytes: number }
  readonly bytesServed: number
  readonly bytesServedUnverified: number
}

export class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'e2e-'))
  readonly root: string
  readonly state: string
  readonly config = join(this.folder, 'config.toml')
  readonly #services: Service[] = []
  #daemon: Service | null = null
  #containerd: PrivateContainerd | null = null
  /** Pids of guardians and workers, which outlive `serve`. */
  readonly #native = new Set<number>()
  #environment: Readonly<Record<string, string>> = {}
  /** Our name in containerd. */
  plugin = PLUGIN

  /** Root and state may be below `disk`, a path relative to the scene's folder. */
  constructor (disk = '') {
    this.root = join(this.folder, disk, 'root')
    this.state = join(this.folder, disk, 'state')
  }

  /** `serve` and containerd run when it resolves. */
  static async start (options: SceneOptions): Promise<Scene> {
    const scene = new Scene()
    try {
      scene.configure(options)
      await scene.serve()
      await scene.startContainerd()
      return scene
    } catch (error) {
      await scene.end().catch(() => {})
      throw error
    }
  }

  configure (options: SceneOptions): void {
    this.#environment = options.environment ?? {}
    const { sources = [], driver = 'auto', timeout = '10s', deadline = '30s', cacheKey = 'disk', maxSize = '20GiB' } = options
    const { onFailure = 'eio', onViolation = 'kill', prove = 'background', proveAfter = '1h' } = options
    writeFileSync(this.config, [
      `root = "${this.root}"`, `state = "${this.state}"`,
      '[containerd]', `address = "${join(this.folder, 'c', 'containerd.sock')}"`,
      '[mount]', `driver = "${driver}"`, '[cache]', `key = "${cacheKey}"`, `max_size = "${maxSize}"`,
      '[read]', `deadline = "${deadline}"`, `on_failure = "${onFailure}"`, `on_violation = "${onViolation}"`,
      '[trust]', `prove = "${prove}"`, `prove_after = "${proveAfter}"`,
      ...options.registry === undefined ? [] : ['[registry]', `address = "${options.registry}"`],
      ...options.ipfsApi === undefined ? [] : ['[ipfs_api]', `address = "${options.ipfsApi}"`],
      ...options.gateway === undefined ? [] : ['[gateway]', `address = "${options.gateway}"`],
      ...options.http === undefined ? [] : ['[http]', `address = "${options.http}"`],
      ...sources.flatMap((url) => ['[[source]]', 'type = "gateway"', `url = "${url}"`, `timeout = "${timeout}"`]), ''
    ].join('\n'))
  }

  get daemon (): Service {
    if (this.#daemon === null) throw new Error('serve does not run')
    return this.#daemon
  }

  get containerd (): PrivateContainerd {
    if (this.#containerd === null) throw new Error('containerd does not run')
    return this.#containerd
  }

  get log (): string {
    return readFileSync(join(this.folder, 'serve.err'), 'utf8')
  }

  /** Starts `serve` and waits until it is ready. @throws with its last words. */
  async serve (): Promise<void> {
    const path = join(this.folder, 'serve')
    const ready = (text: string): number => text.split('"msg":"ready"').length
    const before = this.#daemon === null ? 1 : ready(this.#daemon.stderr)
    this.#daemon = await Service.start(['serve', '--config', this.config, '--log-level', 'debug'], path, ({ stderr }) => ready(stderr) > before,
      this.#environment)
    this.#services.push(this.#daemon)
    await this.status()
  }

  /** With our content store instead of its own when `ownContent` is false. */
  async startContainerd (options: ContainerdOptions = {}): Promise<void> {
    const { binaries = versions[0], ownContent = true, plugins = [PLUGIN], capabilities = [], cri, unpacking } = options
    if (binaries === undefined) throw new Error('no containerd')
    const socket = join(this.state, 'snapshotter.sock')
    this.plugin = plugins[0] ?? PLUGIN
    this.#containerd = await PrivateContainerd.start({
      folder: join(this.folder, 'c'),
      binaries,
      snapshotters: Object.fromEntries(plugins.map((name) => [name, socket])),
      capabilities,
      ...ownContent ? {} : { content: socket },
      ...cri === undefined ? {} : { cri },
      unpacking
    })
  }

  /** `gateway` of our command over the CAR files; returns its URL. */
  async gateway (...cars: readonly string[]): Promise<string> {
    return await startGateway(this.folder, cars, (service) => { this.#services.push(service) })
  }

  async pull (reference: string, ...more: readonly string[]): Promise<Pulled> {
    return await commandJson<Pulled>('pull', reference, '--config', this.config, ...more)
  }

  async tryPull (reference: string, ...more: readonly string[]): Promise<Outcome> {
    return await command(['pull', reference, '--config', this.config, ...more])
  }

  async status (): Promise<Status> {
    const status = await commandJson<Status>('status', '--config', this.config)
    this.#native.add(status.worker.pid)
    return status
  }

  /** What the image's program printed in a container that runs to its end; containerd may need some seconds to find a plugin that was restarted. */
  async run (name: string, ...program: readonly string[]): Promise<string> {
    return await this.runIn('default', name, ...program)
  }

  async runIn (namespace: string, name: string, ...program: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tryRun(namespace, name, ...program)
    if (code !== 0) throw new Error(`container: exit ${code}\n${stderr}${stdout}`)
    return stdout
  }

  async tryRun (namespace: string, name: string, ...program: readonly string[]): Promise<CtrResult> {
    return await this.tryRunWith({ namespace }, name, ...program)
  }

  /** `flags` are those of `ctr run`. */
  async tryRunWith (how: { namespace?: string, plugin?: string, flags?: readonly string[] }, name: string, ...program: readonly string[]): Promise<CtrResult> {
    const { namespace = 'default', plugin = this.plugin, flags = [] } = how
    for (const end = Date.now() + 10_000; ;) {
      const id = this.#nextId()
      const { mount, lines } = this.#saidIn(id)
      const outcome = await this.containerd.tryCtr('-n', namespace, 'run', '--rm', ...mount, ...flags, '--snapshotter', plugin, name, id, ...program)
      if (!outcome.stderr.includes('connection error') || Date.now() > end) return { ...outcome, stdout: lines() }
    }
  }

  /** runc keeps the containers of every containerd of the machine in one place. */
  #nextId (): string {
    return `e2e-${randomUUID()}`
  }

  /** A folder that the container `id` sees as /out, where the image's program writes what it says. */
  #saidIn (id: string): { readonly mount: readonly string[], readonly lines: () => string } {
    const folder = join(this.folder, `out-${id}`)
    mkdirSync(folder)
    writeFileSync(join(folder, 'said'), '')
    chmodSync(join(folder, 'said'), 0o666) // also for a container in a user namespace
    return { mount: ['--mount', `type=bind,src=${folder},dst=/out,options=rbind:rw`], lines: () => readFileSync(join(folder, 'said'), 'utf8') }
  }

  /** Starts a container and leaves it. */
  start (name: string, ...program: readonly string[]): RunningContainer {
    const id = this.#nextId()
    const { mount, lines } = this.#saidIn(id)
    const child = this.containerd.spawnCtr('run', '--rm', ...mount, '--snapshotter', this.plugin, name, id, ...program)
    const running: RunningContainer = {
      said: '',
      lines,
      ended: new Promise((resolve) => child.once('close', (code) => { resolve(code ?? -1) })),
      say: (text) => { child.stdin?.write(text) }
    }
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text: string) => { running.said += text })
    return running
  }

  async snapshots (namespace = 'default', plugin = this.plugin): Promise<string[]> {
    const listed = await this.containerd.ctr('-n', namespace, 'snapshots', '--snapshotter', plugin, 'ls')
    return listed.trim().split('\n').slice(1).map((line) => line.split(/\s+/)[0] ?? '')
  }

  /** Runs `use` while a snapshot on `chainId` is mounted as containerd says it must be; it is kept from the collector. */
  async withMounted<Result> (chainId: string, use: (directory: string) => Promise<Result>): Promise<Result> {
    const key = this.#nextId()
    const client = new ContainerdClient({ address: this.containerd.address, namespace: 'default' })
    try {
      const labels = { 'containerd.io/gc.root': 'a test looks at it' }
      const mounts = await client.prepare({ snapshotter: this.plugin, key, parent: chainId, labels }, '')
      return await withMounts(mounts, join(this.folder, `mounted-${key}`), use)
    } finally {
      await client.removeSnapshot(this.plugin, key).catch(() => {})
      client.close()
    }
  }

  async removeImage (name: string, namespace = 'default'): Promise<void> {
    await this.containerd.ctr('-n', namespace, 'images', 'rm', '--sync', name)
  }

  /** Mount points of layers. */
  layerMounts (): string[] {
    return mountsBelow(join(this.root, 'snapshots'))
  }

  /** Waits for removals that go on in the background. */
  async noLayerMounts (): Promise<void> {
    await until('layers are unmounted', () => this.layerMounts().length === 0)
  }

  /** Of the driver fuse. */
  treeServers (): number[] {
    return processesOf(this.state).filter((line) => line.includes('tree-server')).map((line) => parseInt(line, 10))
  }

  /** SIGKILL to serve, guardian, worker and tree server, in this order. */
  async killNode (): Promise<void> {
    const { worker } = await this.status()
    const guardian = Number(readFileSync(join(this.state, 'guardian.pid'), 'utf8'))
    await this.daemon.end('SIGKILL')
    const others = [guardian, worker.pid, ...this.treeServers()]
    for (const pid of others) kill(pid)
    await until('guardian, worker and tree server are gone', () => !others.some(lives))
  }

  async stopServe (): Promise<Outcome> {
    return await command(['serve', '--stop', '--config', this.config])
  }

  /** Names below root and state that look temporary. */
  temporaryFiles (): string[] {
    return [this.root, this.state].flatMap((folder) => filesBelow(folder)).filter((path) => /\.new-|\/new-|\/old-|self-test|\.tmp/.test(path))
  }

  /** What is left of the product: mounts, loop devices, processes, temporary files, sockets. */
  leftovers (): string[] {
    const sockets = ['control.sock', 'data.sock', 'snapshotter.sock'].filter((name) => filesBelow(this.state).includes(join(this.state, name)))
    return [
      ...[this.root, this.state].flatMap(mountsBelow).map((point) => `mount ${point}`),
      ...loopsOn(this.folder).map((loop) => `loop device ${loop}`),
      ...processesOf(this.folder).filter((line) => !line.includes('containerd')).map((line) => `process ${line}`),
      ...[...this.#native].filter(lives).map((pid) => `native process ${pid}`),
      ...this.temporaryFiles().map((path) => `file ${path}`),
      ...sockets.map((name) => `socket ${name}`)
    ]
  }

  /** Ends everything, in the order of an operator. @throws when something is left or `serve --stop` fails. */
  async end (): Promise<void> {
    const problems: string[] = []
    try {
      await this.#containerd?.stop()
      for (const service of this.#services) await service.end()
      const { code, stderr } = await this.stopServe()
      if (code !== 0) problems.push(`serve --stop: exit ${code}: ${stderr}`)
      problems.push(...this.leftovers())
    } finally {
      await this.#clear()
    }
    if (problems.length > 0) throw new Error(`left behind:\n${problems.join('\n')}`)
  }

  /** By force, for the case that the product did not. */
  async #clear (): Promise<void> {
    for (const service of this.#services) await service.end('SIGKILL')
    const native = await nativeUnderTest()
    if (mountsBelow(join(this.state, 'data')).length > 0) await native.run(['abort', join(this.state, 'data')]).catch(() => {})
    for (const pid of [...this.#native, ...this.treeServers()]) kill(pid)
    wipe(this.folder)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export interface RunningContainer {
  /** Grows with its output. */
  said: string
  /** What the image's program printed. */
  readonly lines: () => string
  /** Its exit code. */
  readonly ended: Promise<number>
  readonly say: (text: string) => void
}

/** A gateway of our command over CAR files; returns its URL. */
export async function startGateway (folder: string, cars: readonly string[], register: (service: Service) => void): Promise<string> {
  const log = join(folder, `gateway-${cars.length}-${Math.trunc(process.uptime() * 1e6)}`)
  const service = await Service.start(['gateway', ...cars.flatMap((car) => ['--car', car]), '--listen', '127.0.0.1:0'], log,
    ({ stdout }) => stdout.includes('\n'))
  register(service)
  return service.stdout.trim()
}

/** Name of a folder for images and CAR files that several scenes share; made by whoever writes into it. */
export function shelf (): string {
  return join(tmpdir(), `e2e-shelf-${randomUUID()}`)
}

export interface Published {
  readonly cid: string
  readonly reference: string
  readonly manifestDigest: string
  readonly layers: ReadonlyArray<{ readonly digest: string, readonly cid: string, readonly lazy: boolean, readonly size: number }>
  readonly car: string
}

export async function publish (source: string, car: string, format: 'keep' | 'estargz' = 'estargz', ...more: readonly string[]): Promise<Published> {
  return await commandJson<Published>('publish', source, '--format', format, '--car', car, ...more)
}
