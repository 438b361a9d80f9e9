// What processes cost: CPU seconds and peak resident memory from /proc. A run's processes are those whose command line
// names its folder, which is unlike any other, and their descendants; so nothing has to be told what a contender starts.
import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'

export interface ProcessUsage {
  readonly pid: number
  /** The program, and its first word when one program has several lives: `node serve`. */
  readonly name: string
  readonly cpuSeconds: number
  /** VmHWM: most it ever had resident. */
  readonly peakBytes: number
}

const TICKS_PER_SECOND = 100 // USER_HZ of every Linux ABI that Node runs on

interface Seen { readonly pid: number, readonly parent: number, readonly words: readonly string[], readonly cpuSeconds: number }

/** Living processes of the run in `folder`. */
export function processesOf (folder: string, self = process.pid): ProcessUsage[] {
  const seen = new Map<number, Seen>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const found = look(Number(entry))
    if (found !== null) seen.set(found.pid, found)
  }
  const ours = new Set([...seen.values()].filter(({ words }) => words.some((word) => word.includes(folder))).map(({ pid }) => pid))
  ours.delete(self)
  for (let before = -1; before !== ours.size;) {
    before = ours.size
    for (const { pid, parent } of seen.values()) if (ours.has(parent)) ours.add(pid)
  }
  return [...ours].map((pid) => {
    const { words, cpuSeconds } = seen.get(pid) as Seen
    return { pid, name: nameOf(words), cpuSeconds, peakBytes: peakOf(pid) }
  })
}

/** CPU seconds of children that have ended, of the calling process. */
export function endedChildrenSeconds (): number {
  const fields = statOf('self')
  return (Number(fields?.[13] ?? 0) + Number(fields?.[14] ?? 0)) / TICKS_PER_SECOND
}

/** What was spent since `before`, processes of one name added up, dearest first. */
export function usageSince (before: readonly ProcessUsage[], after: readonly ProcessUsage[]): ProcessUsage[] {
  const then = new Map(before.map(({ pid, cpuSeconds }) => [pid, cpuSeconds]))
  const names = new Map<string, ProcessUsage>()
  for (const { pid, name, cpuSeconds, peakBytes } of after) {
    const sum = names.get(name)
    const spent = cpuSeconds - (then.get(pid) ?? 0)
    names.set(name, { pid: sum?.pid ?? pid, name, cpuSeconds: (sum?.cpuSeconds ?? 0) + spent, peakBytes: Math.max(sum?.peakBytes ?? 0, peakBytes) })
  }
  return [...names.values()].sort((a, b) => b.cpuSeconds - a.cpuSeconds)
}

function look (pid: number): Seen | null {
  const fields = statOf(String(pid))
  if (fields === null) return null
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter((word) => word !== '')
    return words.length === 0 ? null : { pid, parent: Number(fields[1]), words, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND }
  } catch {
    return null // ended meanwhile
  }
}

/** Fields of /proc/PID/stat after the name, which may hold blanks: state is the first. */
function statOf (pid: string): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

function peakOf (pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

function nameOf (words: readonly string[]): string {
  const program = basename(words[0] ?? '').replace(/^ipfs-snapshotter-/, '')
  if (program !== 'node' && program !== 'native') return program
  const life = words.slice(1).find((word) => /^[a-z][a-z-]*$/.test(word))
  return life === undefined ? program : `${program} ${life}`
}
