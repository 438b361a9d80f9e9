// Runs targets in child processes, watches that they go on, starts them again behind an input that hung or killed them, and adds
// up what they found.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nameOf } from './fuzzer.ts'

export interface CampaignOptions {
  readonly seed: number
  /** Of each target. */
  readonly seconds: number
  /** Executions of each target, at most; 0: as many as there is time for. */
  readonly runs: number
  /** Of one input, after which it is a finding; a busy machine must not look like a loop. */
  readonly hangMs?: number
}

export interface TargetReport {
  readonly target: string
  readonly executions: number
  readonly blocks: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly findings: ReadonlyArray<{ readonly what: string, readonly name: string, readonly hex: string }>
  readonly pool: readonly string[]
  readonly seconds: number
}

const HANG_MS = 20_000
const START_MS = 60_000 // importing everything, on a slow machine
const LOOK_MS = 500
const HEAP_MIB = 384
const RESTARTS_MAX = 4

export async function fuzzTarget (target: string, options: CampaignOptions): Promise<TargetReport> {
  const started = performance.now()
  let report: TargetReport = { target, executions: 0, blocks: 0, outcomes: {}, findings: [], pool: [], seconds: 0 }
  for (let tries = 0; tries <= RESTARTS_MAX; tries++) {
    const left = options.seconds - (performance.now() - started) / 1000
    if (tries > 0 && left <= 1) break
    const part = await runChild(target, { ...options, seed: options.seed + tries, seconds: Math.max(left, 1) })
    report = merged(report, part)
    if (!part.broke) break
  }
  return { ...report, seconds: (performance.now() - started) / 1000 }
}

type Part = Omit<TargetReport, 'target' | 'seconds'> & { readonly broke: boolean }

async function runChild (target: string, { seed, runs, seconds, hangMs = HANG_MS }: CampaignOptions): Promise<Part> {
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'))
  const [current, result] = [join(folder, 'current'), join(folder, 'result')]
  try {
    const child = spawn(process.execPath, [
      `--max-old-space-size=${HEAP_MIB}`, '--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'child.ts'),
      target, String(seed), String(runs), String(seconds), current, result
    ], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: folder } })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { said = (said + text).slice(-4000) })
    const fate = { hung: false }
    const watch = watchman(current, hangMs, () => { fate.hung = true; child.kill('SIGKILL') })
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    clearInterval(watch)
    const last = lastInput(current)
    if (code === 0) return { ...JSON.parse(readFileSync(result, 'utf8')) as Part, broke: false }
    if (last === null) throw new Error(`the fuzzer of ${target} did not start: ${said}`)
    const what = fate.hung ? `hang: no end within ${hangMs} ms` : `death: ${/FATAL ERROR[^\n]*|[A-Za-z]*Error[^\n]*/.exec(said)?.[0] ?? `exit code ${code}`}`
    return {
      executions: last.number,
      blocks: 0,
      outcomes: {},
      findings: [{ what, name: nameOf(last.input), hex: last.input.toString('hex') }],
      pool: [],
      broke: true
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Calls `onHang` when the number in `current` stands still. */
function watchman (current: string, hangMs: number, onHang: () => void): NodeJS.Timeout {
  let number = -1
  let since = performance.now()
  return setInterval(() => {
    const now = lastInput(current)?.number ?? 0
    if (now !== number) {
      number = now
      since = performance.now()
    } else if (performance.now() - since > (number === 0 ? START_MS : hangMs)) onHang()
  }, LOOK_MS)
}

function lastInput (current: string): { readonly number: number, readonly input: Buffer } | null {
  try {
    const bytes = readFileSync(current)
    return bytes.byteLength < 8 ? null : { number: bytes.readUInt32LE(0), input: bytes.subarray(8, 8 + bytes.readUInt32LE(4)) }
  } catch {
    return null // it has not begun
  }
}

function merged (report: TargetReport, part: Part): TargetReport {
  const outcomes: Record<string, number> = { ...report.outcomes }
  for (const [outcome, count] of Object.entries(part.outcomes)) outcomes[outcome] = (outcomes[outcome] ?? 0) + count
  return {
    ...report,
    executions: report.executions + part.executions,
    blocks: Math.max(report.blocks, part.blocks),
    outcomes,
    findings: [...report.findings, ...part.findings],
    pool: [...report.pool, ...part.pool]
  }
}
