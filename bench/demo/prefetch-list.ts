// Which files a run of the program opens: strace of the same program in the image's tree, so that publish can put them
// first. Paths are resolved through the tree's own symbolic links.
import { lstat, readlink, writeFile } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { run } from './run.ts'

/** What strace of the program does not see: containerd and runc look users up, the kernel loads the program's interpreter. */
const READ_BY_OTHERS = ['/etc/passwd', '/etc/group', '/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1']
const LINKS_MAX = 40 // as the kernel's ELOOP
/** In its own mount and network namespace, as a container is: nothing of it outlives the run. */
export const WITH_DEVICES = 'mkdir -p "$0/dev" && mount --rbind /dev "$0/dev" && exec "$@"'

/** Writes one path a line, in the order of first use; returns how many. */
export async function recordPrefetchList (rootfs: string, program: readonly string[], file: string): Promise<number> {
  const strace = ['strace', '-f', '-qq', '-s', '4096', '-e', 'trace=open,openat,execve', 'chroot', rootfs, ...program]
  const trace = await run('unshare', ['-m', '-n', 'sh', '-c', WITH_DEVICES, rootfs, ...strace], { timeoutMs: 120_000 })
  const opened = new Set<string>()
  const traced = trace.stderr.split('\n').map((line) => /(?:openat\([A-Z_]+, |open\(|execve\()"(\/[^"]+)".*\)\s+= \d+/.exec(line)?.[1] ?? '/proc')
  for (const path of [...READ_BY_OTHERS, ...traced]) {
    if (path.startsWith(rootfs) || path.startsWith('/proc') || path.startsWith('/dev') || path.endsWith('/chroot')) continue
    const real = await resolveIn(rootfs, path)
    if (real !== null && (await lstat(join(rootfs, real))).isFile()) opened.add(real)
  }
  await writeFile(file, [...opened].map((path) => `${path}\n`).join(''))
  return opened.size
}

async function resolveIn (rootfs: string, path: string): Promise<string | null> {
  let resolved = '/'
  let rest = normalize(path).split('/').filter((part) => part !== '')
  for (let links = 0; rest.length > 0 && links < LINKS_MAX;) {
    const [part = '', ...others] = rest
    const next = join(resolved, part)
    const found = await lstat(join(rootfs, next)).catch(() => null)
    if (found === null) return null
    if (found.isSymbolicLink()) {
      links++
      const target = await readlink(join(rootfs, next))
      rest = [...normalize(target.startsWith('/') ? target : join(dirname(next), target)).split('/').filter((name) => name !== ''), ...others]
      resolved = '/'
    } else {
      resolved = next
      rest = others
    }
  }
  return rest.length === 0 ? resolved : null
}
