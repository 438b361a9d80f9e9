// What a process holds at a moment: resident and proportional memory, file descriptors, threads. From /proc.
import { readdir, readFile } from 'node:fs/promises'

export interface Held {
  readonly rssKb: number
  readonly pssKb: number
  readonly fds: number
  readonly threads: number
}

/** Null when it is gone. */
export async function heldBy (pid: number): Promise<Held | null> {
  try {
    const [status, rollup, fds] = await Promise.all([
      readFile(`/proc/${pid}/status`, 'utf8'), readFile(`/proc/${pid}/smaps_rollup`, 'utf8'), readdir(`/proc/${pid}/fd`)
    ])
    return { rssKb: number(status, 'VmRSS'), pssKb: number(rollup, 'Pss'), fds: fds.length, threads: number(status, 'Threads') }
  } catch {
    return null
  }
}

function number (text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1])
}
