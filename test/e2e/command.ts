// Our own command as a user types it, each call in a process of its own with an end in sight.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createWriteStream, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export const COMMAND = resolve(import.meta.dirname, '../../scripts/ipfs-snapshotter')

export interface Outcome { readonly code: number, readonly stdout: string, readonly stderr: string }

const PATIENCE_MS = 90_000

/** Never throws: -1 stands for a signal or a timeout. */
export async function command (args: readonly string[], timeoutMs = PATIENCE_MS): Promise<Outcome> {
  return await execute(COMMAND, args, timeoutMs)
}

/** The object that the command prints. @throws with its stderr when it fails. */
export async function commandJson<Result> (...args: readonly string[]): Promise<Result> {
  const { code, stdout, stderr } = await command([...args, '--json'])
  if (code !== 0) throw new Error(`ipfs-snapshotter ${args.join(' ')}: exit ${code}\n${stderr}`)
  return JSON.parse(stdout) as Result
}

export async function execute (program: string, args: readonly string[], timeoutMs = PATIENCE_MS): Promise<Outcome> {
  return await new Promise((resolve) => {
    execFile(program, args, { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 64 << 20, encoding: 'utf8' }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr })
    })
  })
}

/** A long-running command of ours; stdout and stderr go to `<log>.out` and `<log>.err`. */
export class Service {
  readonly child: ChildProcess
  readonly #log: string

  private constructor (child: ChildProcess, log: string) {
    this.child = child
    this.#log = log
  }

  /** Resolves when `ready` says so of what it printed. @throws with its last words when it ends before that. */
  static async start (
    args: readonly string[], log: string, ready: (service: Service) => boolean, environment: Readonly<Record<string, string>> = {}
  ): Promise<Service> {
    const child = spawn(COMMAND, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } })
    child.stdout.pipe(createWriteStream(`${log}.out`, { flags: 'a' }))
    child.stderr.pipe(createWriteStream(`${log}.err`, { flags: 'a' }))
    const service = new Service(child, log)
    try {
      await until(`${args[0] ?? ''} is ready`, () => child.exitCode !== null || (exists(`${log}.err`) && ready(service)))
      if (child.exitCode !== null) throw new Error(`ipfs-snapshotter ${args.join(' ')} ended with ${child.exitCode}: ${service.stderr.slice(-2000)}`)
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
    return service
  }

  get pid (): number {
    return this.child.pid ?? 0
  }

  get stdout (): string {
    return exists(`${this.#log}.out`) ? readFileSync(`${this.#log}.out`, 'utf8') : ''
  }

  /** Of all services with this log so far. */
  get stderr (): string {
    return readFileSync(`${this.#log}.err`, 'utf8')
  }

  get running (): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Sends the signal and waits for the end; SIGKILL after 15 s. */
  async end (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!this.running) return
    const ended = new Promise<void>((resolve) => this.child.once('exit', () => { resolve() }))
    this.child.kill(signal)
    const late = setTimeout(() => { this.child.kill('SIGKILL') }, 15_000)
    await ended
    clearTimeout(late)
  }
}

/** Polls. @throws after 30 s, naming what did not come. */
export async function until (what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const end = Date.now() + timeoutMs
  while (!await condition()) {
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`)
    await sleep(20)
  }
}

function exists (path: string): boolean {
  try {
    readFileSync(path)
    return true
  } catch {
    return false
  }
}
