// A private Kubo node: own repository, no bootstrap, no swarm listener, gateway and API on free loopback ports. Its gateway
// answers trustless requests only; by default it serves what the node has and looks nowhere else.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../e2e/command.ts'

const COMMAND_TIMEOUT_MS = 60_000
const END_TIMEOUT_MS = 15_000

export interface KuboOptions {
  /** The gateway asks the network for what the node lacks (and, without peers, finds nothing and hangs). */
  readonly fetches?: boolean
}

export class Kubo {
  /** IPFS_PATH: nerdctl finds the API by the file `api` in it. */
  readonly path: string
  #daemon: ChildProcess | null = null
  #log = ''

  static async create (path: string, { fetches = false }: KuboOptions = {}): Promise<Kubo> {
    const kubo = new Kubo(path)
    await kubo.ipfs('init', '--empty-repo')
    await kubo.ipfs('config', 'profile', 'apply', 'test')
    await kubo.ipfs('config', 'profile', 'apply', 'unixfs-v1-2025')
    const settings: Readonly<Record<string, unknown>> = {
      'Addresses.Gateway': '/ip4/127.0.0.1/tcp/0',
      'Addresses.API': '/ip4/127.0.0.1/tcp/0',
      'Addresses.Swarm': [],
      'Routing.Type': 'dhtclient',
      'Gateway.NoFetch': !fetches,
      'Gateway.DeserializedResponses': false,
      'AutoConf.Enabled': false,
      'Discovery.MDNS.Enabled': false
    }
    for (const [key, value] of Object.entries(settings)) await kubo.ipfs('config', '--json', key, JSON.stringify(value))
    return kubo
  }

  private constructor (path: string) {
    this.path = path
  }

  /** Output of one command; it talks to the daemon while that runs. @throws with its stderr when it fails. */
  async ipfs (...args: readonly string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('ipfs', args, { env: this.#environment(), timeout: COMMAND_TIMEOUT_MS, maxBuffer: 64 << 20 })
    return stdout.trim()
  }

  /** Starts the daemon. @returns the gateway's URL. */
  async start (...flags: readonly string[]): Promise<string> {
    const child = spawn('ipfs', ['daemon', ...flags], { env: this.#environment(), stdio: ['ignore', 'pipe', 'pipe'] })
    this.#daemon = child
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { this.#log += text })
    await until('Kubo is ready', () => child.exitCode !== null || this.#log.includes('Daemon is ready'))
    const port = /Gateway server listening on \/ip4\/127\.0\.0\.1\/tcp\/(\d+)/.exec(this.#log)?.[1]
    if (child.exitCode !== null || port === undefined) throw new Error(`Kubo did not start:\n${this.#log}`)
    return `http://127.0.0.1:${port}`
  }

  /** Adds and pins; the roots of the CAR files. */
  async import (...cars: readonly string[]): Promise<string[]> {
    const printed = await this.ipfs('dag', 'import', '--enc=json', ...cars)
    return printed.split('\n').map((line) => JSON.parse(line) as { Root?: { Cid: { '/': string }, PinErrorMsg: string } })
      .flatMap(({ Root: root }) => root?.PinErrorMsg === '' ? [root.Cid['/']] : [])
  }

  /** Multiaddr of the API, as nerdctl's --ipfs-address takes it. */
  get api (): string {
    return readFileSync(join(this.path, 'api'), 'utf8').trim()
  }

  async end (): Promise<void> {
    const child = this.#daemon
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise<void>((resolve) => child.once('exit', () => { resolve() }))
    child.kill('SIGTERM')
    const late = setTimeout(() => { child.kill('SIGKILL') }, END_TIMEOUT_MS)
    await ended
    clearTimeout(late)
  }

  #environment (): NodeJS.ProcessEnv {
    return { ...process.env, IPFS_PATH: this.path, IPFS_TELEMETRY: 'off' }
  }
}
