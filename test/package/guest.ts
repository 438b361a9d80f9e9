// A whole Debian with its own kernel and systemd, booted in QEMU without hardware help from a disk that has the package. It has no network.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { debianRoot } from '../../bench/images/debian-image.ts'
import { execute } from '../e2e/command.ts'
import { isOnPath } from '../peers/tools.ts'
import { wipe } from '../suites/mounts.ts'

const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'kmod', 'containerd', 'runc', 'linux-image-amd64']
const DISK = '4G'
const BOOT_SECONDS = 1200
const SCRIPT = 'usr/local/sbin/guest'
const LAST_WORDS = 6000
const ENDED = 'guest: all of it ran'
/** The script begins when all else is up. It has a serial line to itself, where the kernel cuts no line in two, and the machine goes off when it ends. */
const SERVICE = `[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/${SCRIPT}
ExecStopPost=/usr/bin/systemctl poweroff --no-block
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
[Install]
WantedBy=default.target
`
// thread=single: scripts/kernel-guest says why; a second CPU would only take turns with the first.
const MACHINE = [
  '-accel', 'tcg,thread=single', '-cpu', 'max', '-m', '2048', '-display', 'none', '-no-reboot', '-nodefaults', '-device', 'virtio-rng-pci'
]
const KERNEL_LINE = 'root=/dev/vda rw console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off systemd.getty_auto=no systemd.firstboot=no'

/** Null, or why none boots here. */
export function whyNoGuest (): string | null {
  if (process.arch !== 'x64') return 'the guest is an x64 machine'
  const missing = ['qemu-system-x86_64', 'mke2fs', 'mmdebstrap'].filter((program) => !isOnPath(program))
  return missing.length === 0 ? null : `${missing.join(', ')} is not on PATH`
}

/**
 * What `lines` printed. They are POSIX sh that runs in it when it is up, with the package installed and what `share` has in /mnt, and ends at
 * the first line that fails.
 * @throws with the console's last words when the lines do not come to their end
 */
export async function bootGuest (folder: string, share: string, lines: string): Promise<string> {
  const [disk, console, out] = ['disk', 'console', 'out'].map((name) => join(folder, name)) as [string, string, string]
  mkdirSync(folder, { recursive: true })
  try {
    const root = await guestRoot(join(folder, 'root'), share, lines)
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', root, disk, DISK])
    const boot = (start: string): string => join(root, 'boot', readdirSync(join(root, 'boot')).find((name) => name.startsWith(start)) ?? start)
    // timeout(1) ends it even when we are killed.
    const { code, stderr } = await execute('timeout', ['-k', '5', String(BOOT_SECONDS), 'qemu-system-x86_64', ...MACHINE,
      '-serial', `file:${console}`, '-serial', `file:${out}`, '-drive', `file=${disk},format=raw,if=virtio,cache=unsafe`,
      '-kernel', boot('vmlinuz-'), '-initrd', boot('initrd.img-'), '-append', KERNEL_LINE
    ], (BOOT_SECONDS + 10) * 1000)
    const [log, said] = [console, out].map((path) => existsSync(path) ? readFileSync(path, 'utf8') : '') as [string, string]
    if (code !== 0 || !said.includes(ENDED)) throw new Error(`the guest: exit ${code}\n${stderr}${log.slice(-LAST_WORDS)}\n${said.slice(-LAST_WORDS)}`)
    return said
  } finally {
    wipe(folder)
  }
}

async function guestRoot (root: string, share: string, lines: string): Promise<string> {
  await debianRoot(root, PACKAGES)
  cpSync(share, join(root, 'mnt'), { recursive: true })
  execFileSync('chroot', [root, 'dpkg', '--install', '/mnt/package.deb'], { stdio: ['ignore', 'ignore', 'pipe'] })
  writeFileSync(join(root, SCRIPT), `#!/bin/sh -e\nexport HOME=/root\n${lines}\necho '${ENDED}'\n`)
  chmodSync(join(root, SCRIPT), 0o755)
  writeFileSync(join(root, 'etc/machine-id'), `${randomBytes(16).toString('hex')}\n`) // without one it asks questions on its console
  const units = join(root, 'etc/systemd/system')
  writeFileSync(join(units, 'guest.service'), SERVICE)
  mkdirSync(join(units, 'default.target.wants'), { recursive: true })
  symlinkSync('/etc/systemd/system/guest.service', join(units, 'default.target.wants/guest.service'))
  return root
}
