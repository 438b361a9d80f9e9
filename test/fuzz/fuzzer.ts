// The coverage-guided loop over one target: change an input that reached something, run it, keep it when it reached something new.
// Runs go in batches, since a look at the coverage costs more than a run; what was new in a batch is found by running it again.
import { createHash } from 'node:crypto'
import type { Coverage } from './coverage.ts'
import { type Material, mutate } from './mutate.ts'
import type { Random } from './random.ts'
import { describe, judge, type Target } from './target.ts'

export interface Finding {
  readonly what: string
  readonly input: Buffer
}

export interface FuzzOptions {
  readonly target: Target
  readonly coverage: Coverage
  readonly random: Random
  readonly kept: readonly Buffer[]
  /** Executions, at most. */
  readonly runs: number
  /** True when time is over. */
  readonly over: () => boolean
  /** Called before each run: whoever watches must know what hangs. */
  readonly before: (input: Buffer) => void
}

export interface FuzzResult {
  readonly executions: number
  readonly blocks: number
  readonly outcomes: ReadonlyMap<string, number>
  readonly findings: readonly Finding[]
  /** Inputs that reached something new, in the order of finding. */
  readonly pool: readonly Buffer[]
}

const CPU_MS_MAX = 1_000 // of one run, on this thread
const MEMORY_KIB_MAX = 256 * 1024 // by which one run may raise the peak of the process
const FINDINGS_MAX = 20
const BYTES_MAX = 8 * 1024

export class Fuzzer {
  readonly #options: FuzzOptions
  readonly #outcomes = new Map<string, number>()
  readonly #findings = new Map<string, Finding>()
  readonly #pool: Buffer[] = []
  readonly #tokens: readonly Uint8Array[]
  #executions = 0
  #stray: unknown = null

  constructor (options: FuzzOptions) {
    this.#options = options
    this.#tokens = (options.target.tokens ?? []).map((token) => Buffer.from(token as string))
  }

  /** An error that nobody caught: it is the fault of the input that runs. */
  readonly onStray = (error: unknown): void => { this.#stray = error }

  async run (): Promise<FuzzResult> {
    const { target, coverage, kept } = this.#options
    for (const seed of [...kept, ...target.seeds.map((bytes) => Buffer.from(bytes))]) {
      await this.#execute(seed)
      if (coverage.take(true) || this.#pool.length === 0) this.#pool.push(seed)
    }
    while (!this.#isOver()) {
      await this.#alone(this.#next())
      const batch = Array.from({ length: target.batch ?? 31 }, () => this.#next())
      await this.#together(batch)
    }
    await target.end?.()
    return {
      executions: this.#executions, blocks: coverage.blocks, outcomes: this.#outcomes, findings: [...this.#findings.values()], pool: this.#pool
    }
  }

  #isOver (): boolean {
    return this.#executions >= this.#options.runs || this.#findings.size >= FINDINGS_MAX || this.#options.over()
  }

  /** Newer inputs more often than older ones: there is more left to find behind them. */
  #next (): Buffer {
    const { random, target } = this.#options
    const newest = Math.min(this.#pool.length, 16)
    const parent = random.once(2) ? random.of(this.#pool) : this.#pool[this.#pool.length - 1 - random.under(newest)] ?? random.of(this.#pool)
    const material: Material = { random, tokens: this.#tokens, other: random.of(this.#pool), bytesMax: target.bytesMax ?? BYTES_MAX }
    const mutated = mutate(parent, material)
    return target.repair === undefined || random.once(8) ? mutated : target.repair(mutated)
  }

  async #alone (input: Buffer): Promise<void> {
    await this.#execute(input)
    await this.#settle(input)
    if (this.#options.coverage.take(true)) this.#pool.push(input)
  }

  async #together (batch: readonly Buffer[]): Promise<void> {
    for (const input of batch) {
      if (this.#options.over()) break
      await this.#execute(input)
    }
    await nextTurn()
    if (!this.#options.coverage.take(false) && this.#stray === null) return
    this.#stray = null
    for (const input of batch) {
      if (this.#options.over()) break
      await this.#execute(input)
      await this.#settle(input)
      // Coverage is merged already, so look at how often: the first run of something new in the batch mostly differs in that, too.
      if (this.#options.coverage.take(true)) this.#pool.push(input)
    }
  }

  async #execute (input: Buffer, again = false): Promise<void> {
    const { target, before } = this.#options
    before(input)
    this.#executions++
    const memory = process.resourceUsage().maxRSS
    const cpu = process.threadCpuUsage()
    const { outcome, finding } = await judge(target, Buffer.from(input))
    const { user, system } = process.threadCpuUsage(cpu)
    this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1)
    if (finding !== null) this.#note(finding, input)
    const late = (user + system) / 1000 > CPU_MS_MAX
    if (late && !again) await this.#execute(input, true) // the first run of all may import or compile something
    if (late && again) this.#note(`time: ${Math.round((user + system) / 1000)} ms of processor time`, input)
    const grown = process.resourceUsage().maxRSS - memory
    if (grown > MEMORY_KIB_MAX) this.#note(`memory: ${Math.round(grown / 1024)} MiB`, input)
  }

  /** Errors that nobody caught come to light when the event loop turns. */
  async #settle (input: Buffer): Promise<void> {
    await nextTurn()
    if (this.#stray === null) return
    this.#note(`uncaught: ${describe(this.#stray)}`, input)
    this.#stray = null
  }

  /** One for each kind: digits and quoted texts differ between inputs. */
  #note (what: string, input: Buffer): void {
    const [, place] = / at ((?:src|test)\/.*)$/.exec(what) ?? []
    const kind = place !== undefined && what.startsWith('exception') ? place : what.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\d+/g, '0').slice(0, what.startsWith('property') ? 40 : 160)
    if (!this.#findings.has(kind)) this.#findings.set(kind, { what, input: Buffer.from(input) })
  }
}

export function nameOf (input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16)
}

async function nextTurn (): Promise<void> {
  await new Promise((resolve) => { setImmediate(resolve) })
}
