// A container that reads what it is told to, as often as it is told to, and says each hash: it outlives every daemon, since
// commands come through a FIFO and answers go into a file, both in a folder of the host.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, openSync, closeSync, readFileSync, writeFileSync, writeSync, constants } from 'node:fs'
import { join } from 'node:path'
import { PLUGIN, type Scene } from '../e2e/harness.ts'
import { until } from '../e2e/command.ts'
import { lives } from '../e2e/traces.ts'

const READ_PATIENCE_MS = 90_000

export interface ReadCount {
  /** Reads of a whole file that were asked for. */
  readonly reads: number
  /** Ended with an error, or never said anything. */
  readonly failed: number
  /** Files that had another hash than they must. */
  readonly wrongFiles: number
  /** Errors, each once. */
  readonly errors: readonly string[]
}

export interface ReadJob {
  readonly over: () => boolean
  /** Resolves when the container says that it is done, or has ended. @throws after 90 s: a read hangs. */
  readonly count: () => Promise<ReadCount>
}

export class ObedientContainer {
  readonly #scene: Scene
  readonly #id: string
  readonly #folder: string
  readonly #hashes: ReadonlyMap<string, string>
  #pid = 0
  #jobs = 0

  /** Runs when it resolves; containerd may need some seconds to find a plugin that was restarted. @throws its last words. */
  static async start (scene: Scene, image: string, hashes: ReadonlyMap<string, string>): Promise<ObedientContainer> {
    for (let tries = 0; ; tries++) {
      const container = new ObedientContainer(scene, hashes)
      const problem = await container.#run(image)
      if (problem === null) return container
      await container.stop()
      if (tries === 20 || !/connection error|UNAVAILABLE|Unavailable/i.test(problem)) throw new Error(`container: ${problem}`)
    }
  }

  private constructor (scene: Scene, hashes: ReadonlyMap<string, string>) {
    this.#scene = scene
    this.#hashes = hashes
    this.#id = `faults-${randomUUID()}`
    this.#folder = join(scene.folder, `out-${this.#id}`)
    mkdirSync(this.#folder)
    writeFileSync(join(this.#folder, 'said'), '')
    execFileSync('mkfifo', [join(this.#folder, 'commands')])
  }

  get running (): boolean {
    return this.#pid !== 0 && lives(this.#pid)
  }

  /** Reads each file `rounds` times, each time after its pages were dropped; files at once. */
  read (paths: readonly string[], rounds = 1): ReadJob {
    const job = ++this.#jobs
    this.#tell(`${job} ${rounds} ${paths.join(' ')}`)
    const over = (): boolean => !this.running || this.#said().includes(`\n${job} done\n`)
    return {
      over,
      count: async () => {
        await until(`job ${job} of the container ends; it said ${this.#said().slice(-500)}`, over, READ_PATIENCE_MS)
        return this.#countOf(job, paths, rounds)
      }
    }
  }

  /** Also when containerd or its mounts are gone. */
  async stop (): Promise<void> {
    this.#tell('quit')
    await this.#scene.containerd.tryCtr('tasks', 'rm', '-f', this.#id)
    await this.#scene.containerd.tryCtr('containers', 'rm', this.#id)
    if (this.#pid !== 0) await until('the container has ended', () => !this.running)
  }

  async #run (image: string): Promise<string | null> {
    const { code, stderr } = await this.#scene.containerd.tryCtr('run', '-d', '--null-io', '--mount',
      `type=bind,src=${this.#folder},dst=/out,options=rbind:rw`, '--snapshotter', PLUGIN, image, this.#id, '/bin/e2e', 'obey')
    if (code !== 0) return stderr
    const tasks = await this.#scene.containerd.ctr('tasks', 'ls')
    this.#pid = Number(tasks.split('\n').find((line) => line.startsWith(this.#id))?.split(/\s+/)[1] ?? 0)
    await until('the container is ready', () => this.#said().includes('ready\n') || !this.running)
    return this.running ? null : `it ended: ${this.#said()}`
  }

  /** Nobody reads: it is gone. */
  #tell (line: string): void {
    let fifo: number
    try {
      fifo = openSync(join(this.#folder, 'commands'), constants.O_WRONLY | constants.O_NONBLOCK)
    } catch {
      return
    }
    writeSync(fifo, `${line}\n`)
    closeSync(fifo)
  }

  #said (): string {
    return readFileSync(join(this.#folder, 'said'), 'utf8')
  }

  #countOf (job: number, paths: readonly string[], rounds: number): ReadCount {
    const lines = this.#said().split('\n').filter((line) => line.startsWith(`${job} `)).map((line) => line.slice(`${job} `.length))
    const hashes = lines.flatMap((line) => /^([0-9a-f]{64}) (\S+)$/.exec(line)?.slice(1) ?? [])
    let right = 0
    let wrongFiles = 0
    for (let at = 0; at < hashes.length; at += 2) {
      if (this.#hashes.get(hashes[at + 1] ?? '') === hashes[at]) right++
      else wrongFiles++
    }
    const reads = paths.length * rounds
    const errors = lines.filter((line) => line !== 'done' && !/^[0-9a-f]{64} /.test(line)).map((line) => line.replace(/^\S+: /, ''))
    return { reads, failed: reads - right - wrongFiles, wrongFiles, errors: [...new Set(errors)] }
  }
}
