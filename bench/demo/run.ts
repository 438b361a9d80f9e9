// Runs other programs to their end, with their output, and says which one failed and what it printed last.
import { spawn } from 'node:child_process'

export interface Finished { readonly stdout: string, readonly stderr: string, readonly code: number }

export async function run (command: string, args: readonly string[], options: {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  readonly timeoutMs?: number
  /** Return instead of throwing when the exit code is not 0. */
  readonly mayFail?: boolean
  /** Ends the program. */
  readonly signal?: AbortSignal | undefined
  /** Sees stdout as it comes. */
  readonly onStdout?: (text: string) => void
} = {}): Promise<Finished> {
  return await new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: options.cwd, env: options.env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'], timeout: options.timeoutMs, signal: options.signal })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text; options.onStdout?.(text) })
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0 || options.mayFail === true) resolve({ stdout, stderr, code: code ?? 1 })
      else reject(new Error(`${command} ${args[0] ?? ''} ended with ${code ?? 'a signal'}: ${stderr.trim().split('\n').slice(-3).join(' | ')}`))
    })
  })
}
