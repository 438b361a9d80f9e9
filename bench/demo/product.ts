// Our own command as the demo runs it: the same script that a user types.
import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { stop, until } from './containerd.ts'
import { run } from './run.ts'

export const COMMAND = resolve(import.meta.dirname, '..', '..', 'scripts', 'ipfs-snapshotter')

export interface Service { readonly stdout: () => Promise<string>, readonly stop: () => Promise<void>, readonly pid: number }

/** Starts a long-running command; its output goes to files beside `name`. */
export async function startService (args: readonly string[], name: string, ready: (stdout: string) => Promise<boolean>): Promise<Service> {
  const child = spawn(COMMAND, args, { stdio: ['ignore', openSync(`${name}.out`, 'w'), openSync(`${name}.log`, 'w')] })
  const stdout = async (): Promise<string> => await readFile(`${name}.out`, 'utf8')
  await until(`ipfs-snapshotter ${args[0] ?? ''}`, async () => {
    if (child.exitCode !== null) throw new Error(`ipfs-snapshotter ${args[0] ?? ''} ended: ${(await readFile(`${name}.log`, 'utf8')).trim().split('\n').slice(-3).join(' | ')}`)
    return await ready(await stdout())
  })
  return { stdout, stop: async () => { await stop(child) }, pid: child.pid ?? 0 }
}

export async function product<Result> (args: readonly string[], options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Result> {
  return JSON.parse((await run(COMMAND, [...args, '--json'], { timeoutMs: 1_800_000, ...options })).stdout) as Result
}
