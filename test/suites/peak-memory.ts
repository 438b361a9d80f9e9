// The peak memory of this process. Not getrusage's ru_maxrss: exec keeps the spawning process's peak in it (fs/exec.c
// exec_mmap), and Jest's workers are large.
import { readFileSync } from 'node:fs'

/** KiB. */
export function peakMemoryKiB (): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
}
