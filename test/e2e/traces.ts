// What processes, mounts and files a node has left on this machine.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'

export function lives (pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

export function kill (pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it is gone already
  }
}

/** `pid command line` of each process that names the folder in its arguments or holds a file below it. */
export function processesOf (folder: string): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid).flatMap((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      const holds = line.includes(folder) || readdirSync(`/proc/${pid}/fd`).some((fd) => target(`/proc/${pid}/fd/${fd}`).startsWith(folder))
      return holds && lives(Number(pid)) ? [`${pid} ${line}`] : []
    } catch {
      return []
    }
  })
}

function target (link: string): string {
  try {
    return readlinkSync(link)
  } catch {
    return ''
  }
}

export function loopsOn (folder: string): string[] {
  return readdirSync('/sys/block').filter((name) => name.startsWith('loop')).filter((name) => {
    try {
      return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').startsWith(folder)
    } catch {
      return false
    }
  })
}

export function filesBelow (folder: string): string[] {
  try {
    statSync(folder)
  } catch {
    return []
  }
  return execFileSync('find', [folder, '-ignore_readdir_race', '-xdev'], { encoding: 'utf8' }).trim().split('\n')
}
