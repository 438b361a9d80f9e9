// What `doctor` looks at around the daemon: which driver the kernel allows, loop devices, our sockets, the native program that
// runs, and how containerd itself would pull. Each check returns what it found, or throws what is wrong; changes nothing.
import { dirname, join } from 'node:path'
import type { Config } from '../config/load.ts'
import type { NodeFacts } from './doctor-node.ts'

export interface ServingFacts extends NodeFacts {
  /** Null when `path` can be opened for reading and writing, else the errno's name. */
  readonly openError: (path: string) => Promise<string | null>
  /** Where a symbolic link leads, null when there is none. */
  readonly link: (path: string) => Promise<string | null>
  /** @throws ENVIRONMENT when somebody serves this socket, or something else is there. */
  readonly requireFree: (socket: string) => Promise<void>
}

type Driver = 'erofs' | 'erofs-loop' | 'fuse'

const EROFS_FILE_BACKED = [6, 12] as const
const EROFS_LOOP = [5, 16] as const // erofs with several devices
const OLDEST = [4, 20] as const // FUSE caches directories and symbolic links
const BETTER: Readonly<Record<Driver, string>> = {
  erofs: '', 'erofs-loop': '; 6.12 or newer has the driver erofs', fuse: '; reads take longer with it, 5.16 or newer with EROFS has the driver erofs-loop'
}
const PUBLIC_WRITE = 0o022
const STICKY = 0o1000

/** @param release as uname says it */
export function kernel (release: string, hasErofs: boolean, wanted: Config['driver']): string {
  const newest = (['erofs', 'erofs-loop', 'fuse'] as const).find((driver) => allows(release, hasErofs, driver))
  if (newest === undefined) throw new Error(`Linux ${release}: no driver fits, not even fuse`)
  if (wanted === 'auto') return `Linux ${release}: driver ${newest} fits${BETTER[newest]}`
  if (!allows(release, hasErofs, wanted)) {
    const machine = `Linux ${release}${hasErofs ? '' : ' without EROFS'}`
    throw new Error(`${machine} has no place for the driver ${wanted} of the config file; ${newest} fits`)
  }
  return `Linux ${release}: driver ${wanted} fits, as the config file wants`
}

function allows (release: string, hasErofs: boolean, driver: Driver): boolean {
  if (driver === 'fuse') return atLeast(release, OLDEST)
  return hasErofs && atLeast(release, driver === 'erofs' ? EROFS_FILE_BACKED : EROFS_LOOP)
}

function atLeast (release: string, [wantedMajor, wantedMinor]: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = release.split('.').map((part) => parseInt(part, 10))
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
}

/** True when the kernel's list has it. @throws which of overlay and fuse is missing: no driver does without. */
export function fileSystems (list: string): { readonly hasErofs: boolean, readonly detail: string } {
  const known = new Set(list.split('\n').map((line) => line.split('\t')[1]))
  const missing = ['overlay', 'fuse'].filter((name) => !known.has(name))
  if (missing.length > 0) throw new Error(`the kernel does not know ${missing.join(', ')}`)
  const hasErofs = known.has('erofs')
  return { hasErofs, detail: hasErofs ? 'erofs, overlay and fuse are there' : 'overlay and fuse are there, erofs is not: the driver fuse serves' }
}

export async function loop (facts: ServingFacts): Promise<string> {
  const error = await facts.openError('/dev/loop-control')
  if (error === null) return '/dev/loop-control can be opened'
  throw new Error(`/dev/loop-control cannot be opened (${error}): the driver erofs-loop cannot work`)
}

/** Our sockets are root's alone, as are the folders that hold them; without a daemon they are free to be taken. */
export async function sockets ({ grpcAddress, state }: Config, daemonAnswers: boolean, facts: ServingFacts): Promise<string> {
  const ours = [grpcAddress, join(state, 'control.sock')]
  for (const socket of ours) {
    const folder = await facts.owner(dirname(socket))
    if (folder !== null && (folder.uid !== 0 || ((folder.mode & PUBLIC_WRITE) !== 0 && (folder.mode & STICKY) === 0))) {
      throw new Error(`others may replace ${socket}: ${dirname(socket)} has uid ${folder.uid} and mode 0${folder.mode.toString(8)}`)
    }
    const found = await facts.owner(socket)
    if (found !== null && (found.uid !== 0 || (found.mode & 0o077) !== 0)) {
      throw new Error(`${socket} is not root's alone (uid ${found.uid}, mode 0${found.mode.toString(8)}): who reaches it has the node`)
    }
    if (daemonAnswers && found === null) throw new Error(`the daemon answers, but ${socket} is gone: nobody can reach it there`)
    if (!daemonAnswers) await facts.requireFree(socket)
  }
  return daemonAnswers ? `${ours.join(' and ')} are root's alone` : `${ours.join(' and ')} can be taken`
}

/** The guardian outlives `serve` and its upgrades. Null pid: none runs. */
export async function sameBuild (program: string, state: string, facts: ServingFacts): Promise<string> {
  const pid = await facts.read(join(state, 'guardian.pid')).then((text) => text.trim(), () => '')
  const running = /^\d+$/.test(pid) ? await facts.link(`/proc/${pid}/exe`) : null
  if (running === null) return `${program} is built, none of it runs`
  if (running === program) return `${program} runs as it is built (guardian ${pid})`
  throw new Error(`guardian ${pid} runs ${running}, not ${program} as it is built now`)
}

/**
 * containerd 2 hands pulls of its own clients to its transfer service, which unpacks with overlayfs unless its configuration
 * names another snapshotter. `pull` of ours does without. `pid`: containerd's.
 */
export async function transfer (version: string, pid: number, snapshotter: string, facts: ServingFacts): Promise<string> {
  if (!(parseInt(version.replace(/^v/, ''), 10) >= 2)) return `containerd ${version} pulls without a transfer service`
  const line = (await facts.read(`/proc/${pid}/cmdline`)).split('\0')
  const at = line.findIndex((word) => /^--?c(onfig)?(=|$)/.test(word))
  const path = (line[at]?.includes('=') === true ? line[at].replace(/^[^=]*=/, '') : at < 0 ? undefined : line[at + 1]) ?? '/etc/containerd/config.toml'
  const text = await facts.read(path).catch(() => '')
  const [, unpack = ''] = /unpack_config([\s\S]*)/.exec(text.replace(/^\s*#.*$/gm, '')) ?? []
  if (new RegExp(`snapshotter\\s*=\\s*["']${snapshotter}["']`).test(unpack)) return `${path} lets the transfer service unpack with ${snapshotter}`
  throw new Error(`${path} names ${snapshotter} in no unpack_config: containerd's transfer service cannot pull with it, our pull can`)
}
