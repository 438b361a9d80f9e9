// A root of a Debian release as its installer would leave it, and a shell in it: own processes, mounts and an empty network,
// so that nothing can be downloaded. All that runs in it ends with the shell.
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { debianRoot } from '../../bench/images/debian-image.ts'
import { execute, type Outcome } from '../e2e/command.ts'
import { isOnPath } from '../peers/tools.ts'
import { wipe } from '../suites/mounts.ts'

const SCRIPT_MS = 200_000
// The root is mounted onto itself, so that it is a filesystem's root to whoever asks inside.
const ENTER = `
set -e
root=$1
busybox ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
for name in sys dev; do mount --rbind --make-rslave "/$name" "$root/$name"; done
mount -t tmpfs run "$root/run"
mount --bind "$2" "$root/mnt"
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive /bin/sh -e "/mnt/$3"
`

/** Null, or why there is none here. */
export function whyNoFreshRoot (): string | null {
  if (process.getuid?.() !== 0) return 'needs root'
  const missing = ['mmdebstrap', 'unshare', 'busybox', 'dpkg-deb'].filter((program) => !isOnPath(program))
  return missing.length === 0 ? null : `${missing.join(', ')} is not on PATH`
}

export class FreshRoot {
  readonly root: string
  readonly #share: string
  #scripts = 0

  private constructor (root: string, share: string) {
    this.root = root
    this.#share = share
  }

  /** Builds the root below `folder`. What is in `share` it sees in /mnt. */
  static async make (folder: string, share: string, packages: readonly string[], release?: string): Promise<FreshRoot> {
    mkdirSync(folder, { recursive: true })
    const root = join(folder, 'root')
    await debianRoot(root, packages, ...release === undefined ? [] : [release])
    return new FreshRoot(root, share)
  }

  /** Runs lines of POSIX sh, which end at the first that fails. Never throws. */
  async run (lines: string): Promise<Outcome> {
    const script = join(this.#share, `script-${this.#scripts++}`)
    writeFileSync(script, lines)
    const apart = ['--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child', 'sh', '-c', ENTER, 'sh']
    return await execute('unshare', [...apart, this.root, this.#share, basename(script)], SCRIPT_MS)
  }

  remove (): void {
    wipe(this.root)
  }
}
