// Starts a program that keeps running, with its output in files, and waits until it is ready.
import { spawn } from 'node:child_process'
import { existsSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { stop, until } from './demo/containerd.ts'

export interface Background { readonly stop: () => Promise<void> }

/** Output goes to `name`.out and `name`.log. @throws when it ends before it is ready, with its last line. */
export async function startProgram (
  [command = '', ...args]: readonly string[], name: string, ready: () => Promise<boolean>, env: NodeJS.ProcessEnv = process.env
): Promise<Background> {
  const child = spawn(command, args, { env, stdio: ['ignore', openSync(`${name}.out`, 'w'), openSync(`${name}.log`, 'w')] })
  const failed: Error[] = []
  child.on('error', (error) => { failed.push(error) })
  await until(`${command} ${args[0] ?? ''}`, async () => {
    if (failed[0] !== undefined) throw failed[0]
    if (child.exitCode !== null) {
      const log = await readFile(`${name}.log`, 'utf8')
      throw new Error(`${command} ${args[0] ?? ''} ended: ${log.trim().split('\n').at(-1) ?? ''}`)
    }
    return await ready()
  })
  return { stop: async () => { await stop(child) } }
}

export function onPath (program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => folder !== '' && existsSync(`${folder}/${program}`))
}
