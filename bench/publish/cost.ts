// What one command costs: wall time, processor time of all its processes, the largest resident set of one of them.
import { spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'

export interface Cost {
  readonly seconds: number
  readonly cpuSeconds: number
  readonly peakBytes: number
  readonly bytes: number
}

const WATCH_MS = 50

/** The shell's `times` (POSIX) counts children that it waited for. @throws when the command fails. */
export async function costOf (command: readonly string[]): Promise<Cost> {
  const began = performance.now()
  const child = spawn('sh', ['-c', '"$@" >/dev/null && times', 'sh', ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  let peakBytes = 0
  const watch = setInterval(() => { void peakBelow(child.pid ?? 0).then((bytes) => { peakBytes = Math.max(peakBytes, bytes) }) }, WATCH_MS)
  const code = await new Promise<number | null>((resolve, reject) => { child.on('error', reject).on('close', resolve) }).finally(() => { clearInterval(watch) })
  const seconds = (performance.now() - began) / 1000
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code ?? 'a signal'}: ${stderr.trim().split('\n').slice(-2).join(' | ')}`)
  const [user = 0, system = 0] = [...(stdout.trim().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)].map(([, minutes, rest]) => Number(minutes) * 60 + Number(rest))
  return { seconds, cpuSeconds: user + system, peakBytes, bytes: 0 }
}

/** VmHWM (proc(5)) of the process and of those below it. */
async function peakBelow (pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const own = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024
  const threads = await readdir(`/proc/${pid}/task`).catch(() => [])
  const children = (await Promise.all(threads.map(async (thread) =>
    (await readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')).trim().split(' ')))).flat().filter((text) => text !== '')
  return Math.max(own, ...await Promise.all(children.map(async (child) => await peakBelow(Number(child)))))
}
