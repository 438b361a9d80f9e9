// Last resort of every run: ends processes and mounts that still name a run's folder. Only what carries that folder's name,
// which nobody else's does, is touched.
import { readFileSync } from 'node:fs'
import { rmdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from './demo/run.ts'
import { processesOf } from './process-usage.ts'

const TRIES = 20

/** Returns what was left behind, one line each; usually nothing. */
export async function sweep (folder: string): Promise<string[]> {
  const left: string[] = []
  for (let tries = 0; tries < TRIES; tries++) {
    const living = processesOf(folder)
    if (living.length === 0) break
    if (tries === 0) left.push(...living.map(({ pid, name }) => `process ${pid} ${name}`))
    for (const { pid } of living) {
      try { process.kill(pid, 'SIGKILL') } catch { /* ended meanwhile */ }
    }
    await sleep(50)
  }
  // Below the folder, or an overlay over it: `ctr run` has one for a moment in the system's temporary folder.
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter((line) => line.includes(`${folder}/`))
    .map((line) => (line.split(' ')[4] ?? '').replaceAll('\\040', ' ')).sort().reverse()
  for (const mount of mounts) {
    left.push(`mount ${mount}`)
    await run('umount', ['-l', mount], { mayFail: true })
    if (!mount.startsWith(`${folder}/`)) await rmdir(mount).catch(() => {})
  }
  return left
}
