// A small Debian that boots beside us with systemd as its init (systemd-nspawn): its own processes, mounts, network and units, our kernel.
// The project's folder is there, read-only, under the same path, and /usr/bin/ipfs-snapshotter leads to it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createWriteStream, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { debianRoot } from '../../bench/images/debian-image.ts'
import { execute, type Outcome, until } from '../e2e/command.ts'
import { insideChroot } from './chroot.ts'
import { wipe } from './mounts.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const BOOT_MS = 120_000
const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'containerd', 'runc', 'procps', 'mount', 'zlib1g', 'libssl3', 'libdeflate0']

/** Null, or why no such machine can boot here. */
export function whyNoSystemd (): string | null {
  if (process.getuid?.() !== 0) return 'needs root'
  for (const program of ['systemd-nspawn', 'mmdebstrap', 'nsenter']) {
    try {
      execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' })
    } catch {
      return `${program} is not on PATH`
    }
  }
  if (insideChroot) return 'systemd-nspawn boots nothing from within a chroot'
  return readFileSync('/proc/mounts', 'utf8').includes(' cgroup2 ') ? null : 'no cgroup2 filesystem is mounted here'
}

export class SystemdMachine {
  /** Of its root, seen from outside. */
  readonly folder: string
  readonly #nspawn: ChildProcess
  #init = 0

  /** Builds the root in `folder`, puts `files` there (path → text), and boots. `share`: a folder of ours that it sees under its own path. */
  static async boot (folder: string, share: string, files: Readonly<Record<string, string>>): Promise<SystemdMachine> {
    const root = join(folder, 'root')
    mkdirSync(folder, { recursive: true })
    await debianRoot(root, PACKAGES)
    rmSync(join(root, 'etc/machine-id'), { force: true })
    writeFileSync(join(root, 'etc/machine-id'), `${randomBytes(16).toString('hex')}\n`) // without one it asks questions on its console
    symlinkSync(join(ROOT, 'scripts/ipfs-snapshotter'), join(root, 'usr/bin/ipfs-snapshotter'))
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    const machine = new SystemdMachine(root, share)
    try {
      await machine.#booted()
      return machine
    } catch (error) {
      await machine.end()
      throw error
    }
  }

  private constructor (root: string, share: string) {
    this.folder = root
    // One hierarchy of cgroups: runc could not use those of version 1, which are read-only there.
    this.#nspawn = spawn('systemd-nspawn', [
      '--quiet', '--boot', '--directory', root, '--register=no', '--keep-unit', '--capability=all', '--private-network', '--console=pipe',
      '--system-call-filter=@keyring bpf', // runc's
      '--bind=/dev/fuse', `--bind-ro=${ROOT}`, `--bind=${share}`
    ], {
      stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' }
    })
    const log = createWriteStream(join(dirname(root), 'console.log'))
    this.#nspawn.stdout?.pipe(log)
    this.#nspawn.stderr?.pipe(log)
  }

  /** Runs a program inside. Never throws. */
  async run (...args: readonly string[]): Promise<Outcome> {
    return await execute('nsenter', ['--target', String(this.#init), '--all', ...args])
  }

  /** Its stdout. @throws with what it said when it fails */
  async must (...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args)
    if (code !== 0) throw new Error(`${args.join(' ')}: exit ${code}\n${stderr}${stdout}`)
    return stdout
  }

  /** Powers it off. */
  async end (): Promise<void> {
    const ended = new Promise<void>((resolve) => { this.#nspawn.once('exit', () => { resolve() }) })
    if (this.#nspawn.exitCode === null && this.#nspawn.signalCode === null) {
      this.#nspawn.kill('SIGTERM')
      const late = setTimeout(() => { this.#nspawn.kill('SIGKILL') }, BOOT_MS)
      await ended
      clearTimeout(late)
    }
    wipe(dirname(this.folder))
  }

  async #booted (): Promise<void> {
    const { pid = 0 } = this.#nspawn
    await until('systemd is up', async () => {
      if (this.#nspawn.exitCode !== null) {
        throw new Error(`systemd-nspawn ended:\n${readFileSync(join(dirname(this.folder), 'console.log'), 'utf8').slice(-2000)}`)
      }
      this.#init = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0])
      return this.#init > 0 && /running|degraded/.test((await this.run('systemctl', 'is-system-running', '--wait')).stdout)
    }, BOOT_MS)
  }
}
