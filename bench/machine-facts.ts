// What a reader must know of the machine and of the programs before he believes a figure.
import { execFile } from 'node:child_process'
import { cpus, hostname, loadavg, release, totalmem, version } from 'node:os'
import { promisify } from 'node:util'

export interface MachineFacts {
  readonly date: string
  readonly command: string
  readonly host: string
  readonly kernel: string
  readonly system: string
  readonly processor: string
  readonly cores: number
  readonly memoryBytes: number
  /** 1, 5 and 15 minutes, before the run. */
  readonly loadBefore: readonly number[]
  readonly revision: string
  readonly versions: Readonly<Record<string, string>>
}

const VERSIONS: Readonly<Record<string, readonly string[]>> = {
  containerd: ['containerd', '--version'],
  runc: ['runc', '--version'],
  go: ['go', 'version'],
  nerdctl: ['nerdctl', '--version'],
  kubo: ['ipfs', '--version'],
  'mkfs.erofs': ['mkfs.erofs', '--version']
}

export async function machineFacts (command: string, now: Date): Promise<MachineFacts> {
  const versions = await Promise.all(Object.entries(VERSIONS).map(async ([name, line]) => [name, await firstLine(line) ?? 'absent'] as const))
  return {
    date: now.toISOString(),
    command,
    host: hostname(),
    kernel: release(),
    system: version(),
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    loadBefore: loadavg(),
    revision: await firstLine(['git', '-C', import.meta.dirname, 'describe', '--always', '--dirty']) ?? 'unknown',
    versions: { node: process.version, ...Object.fromEntries(versions) }
  }
}

async function firstLine ([command = '', ...args]: readonly string[]): Promise<string | null> {
  return await promisify(execFile)(command, args).then(({ stdout, stderr }) => (stdout + stderr).trim().split('\n')[0] ?? '', () => null)
}
