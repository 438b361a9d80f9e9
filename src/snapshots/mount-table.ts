// What the kernel has mounted, as this process sees it: proc_pid_mountinfo(5). Read before anything is deleted, so
// that no removal ever walks into a mount.
import { readFile } from 'node:fs/promises'
import { sep } from 'node:path'
import { parseMountInfo } from '../mount/mount-info.ts'

/** Mount points at or below `directory`, deepest first. */
export async function mountPointsBelow (directory: string): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  return mountPoints(table)
    .filter((point) => point === directory || point.startsWith(directory + sep))
    .sort((a, b) => b.length - a.length)
}

export function mountPoints (mountinfo: string): string[] {
  return parseMountInfo(mountinfo).map(({ target }) => target)
}
