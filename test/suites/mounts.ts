// Mounts what a snapshotter answers, as containerd's clients do: flags apart from data, read-only binds in two steps,
// and long lower directories relative to their common parent. Needs root and mount(8).
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'

export interface AnyMount { readonly type: string, readonly source: string, readonly options: readonly string[] }

const OPTION_BYTES_MAX = 4096 - 512 // where containerd starts to shorten

export const canMount = process.getuid?.() === 0

export function mountAll (mounts: readonly AnyMount[], target: string): void {
  for (const mount of mounts) {
    const { cwd, options } = shorten(mount)
    // mount(8) since 2.39 hands options over one by one, at most 256 bytes each.
    execFileSync('mount', ['-n', '-t', mount.type === 'bind' ? 'none' : mount.type, '-o', options.join(','), mount.source, target], {
      cwd, stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, LIBMOUNT_FORCE_MOUNT2: 'always' }
    })
  }
}

export function unmountAll (target: string): void {
  execFileSync('umount', ['-n', target], { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** Runs `use` while the mounts are on a fresh directory `target`. */
export async function withMounts<Result> (mounts: readonly AnyMount[], target: string, use: (root: string) => Result | Promise<Result>): Promise<Result> {
  mkdirSync(target, { recursive: true })
  mountAll(mounts, target)
  try {
    return await use(target)
  } finally {
    unmountAll(target)
  }
}

/** Unmounts everything below `root` (lazily: a failed test may have left a process there) and deletes it. */
export function wipe (root: string): void {
  const points = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === root || point.startsWith(`${root}/`))
  for (const point of points.reverse()) execFileSync('umount', ['-n', '-l', point], { stdio: 'ignore' })
  rmSync(root, { recursive: true, force: true })
}

function shorten (mount: AnyMount): { cwd: string, options: readonly string[] } {
  const lower = mount.options.find((option) => option.startsWith('lowerdir='))
  if (lower === undefined || mount.options.join(',').length < OPTION_BYTES_MAX) return { cwd: '/', options: mount.options }
  const directories = lower.slice('lowerdir='.length).split(':')
  const first = directories[0] ?? '/'
  let cwd = dirname(first)
  while (!directories.every((path) => path.startsWith(`${cwd}/`))) cwd = dirname(cwd)
  const short = `lowerdir=${directories.map((path) => path.slice(cwd.length + 1)).join(':')}`
  return { cwd, options: mount.options.map((option) => option === lower ? short : option) }
}
