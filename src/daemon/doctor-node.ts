// What `doctor` looks at on the machine itself: room and kind of the disks, open files, the clock, runc. Each check returns
// what it found, or throws what is wrong; facts come in from outside, so that tests can name machines that are not here.
import { spawn } from 'node:child_process'
import { readFile, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { NATIVE_JOB_DEADLINE_MS } from '../base/limits.ts'
import type { Config } from '../config/load.ts'

export interface NodeFacts {
  /** Of the file system that holds `path`, which exists; `type` is its magic number. */
  readonly fileSystem: (path: string) => Promise<{ readonly type: number, readonly freeBytes: number }>
  /** Permission bits and owner, or null when it is not there. */
  readonly owner: (path: string) => Promise<{ readonly mode: number, readonly uid: number } | null>
  readonly read: (path: string) => Promise<string>
  /** The first line that a program prints. @throws when it is not there or fails. */
  readonly firstLine: (program: string, ...args: readonly string[]) => Promise<string>
  readonly now: () => number
}

export const thisNode: NodeFacts = {
  fileSystem: async (path) => {
    const { type, bavail, bsize } = await statfs(path)
    return { type, freeBytes: bavail * bsize }
  },
  owner: async (path) => await stat(path).then(({ mode, uid }) => ({ mode: mode & 0o7777, uid }), () => null),
  read: async (path) => await readFile(path, 'utf8'),
  firstLine: async (program, ...args) => await new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], timeout: NATIVE_JOB_DEADLINE_MS, killSignal: 'SIGKILL' })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (part: string) => { text += part })
    child.once('error', reject)
    child.once('close', (status) => {
      if (status === 0) resolve(text.split('\n', 1)[0] ?? '')
      else reject(new Error(`${program} ends with ${status ?? 'a signal'}`))
    })
  }),
  now: () => systemClock.now()
}

/** Magic numbers of linux/magic.h. */
const MEMORY_FILE_SYSTEMS = new Map([[0x01021994, 'tmpfs'], [0x858458f6, 'ramfs']])
const NO_UPPER_FILE_SYSTEMS = new Map([[0x6969, 'nfs'], [0x65735546, 'fuse'], [0xff534d42, 'cifs'], [0x4d44, 'vfat'], [0xe0f5e1e2, 'erofs']])
const OVERLAY = 0x794c7630
const NOFILE_MIN = 16_384 // a worker of a node with a few hundred layers, and Node's sockets
const YEAR_2025_MS = 1_735_689_600_000 // certificates of gateways are not valid before they were made
const GIB = 2 ** 30

export async function storage ({ root, state, cacheMaxBytes }: Config, facts: NodeFacts): Promise<string> {
  for (const folder of [root, state]) {
    const found = await facts.owner(folder)
    if (found === null) continue
    if (found.uid === 0 && (found.mode & 0o022) === 0) continue
    throw new Error(`${folder} is not root's alone (uid ${found.uid}, mode 0${found.mode.toString(8)}): chown root: ${folder} && chmod 711 ${folder}`)
  }
  const place = await existing(root, facts)
  const { type } = await facts.fileSystem(place)
  const memory = MEMORY_FILE_SYSTEMS.get(type)
  if (memory !== undefined) throw new Error(`root ${root} lies on ${memory}: the cache takes memory and is gone after a reboot; choose a disk`)
  const unfit = NO_UPPER_FILE_SYSTEMS.get(type) ?? (type === OVERLAY ? 'overlay' : undefined)
  if (unfit !== undefined) throw new Error(`root ${root} lies on ${unfit}: overlayfs takes no upper directories there; choose a local ext4 or xfs`)
  return `root ${root} lies on a file system that serves, cache limit ${gib(cacheMaxBytes)}`
}

export async function space ({ root, cacheMaxBytes }: Config, facts: NodeFacts): Promise<string> {
  const { freeBytes } = await facts.fileSystem(await existing(root, facts))
  const free = `${gib(freeBytes)} are free at ${root}`
  if (freeBytes < cacheMaxBytes) throw new Error(`${free}, [cache] max_size is ${gib(cacheMaxBytes)} (what the cache has already counts as used)`)
  return free
}

export async function openFiles (facts: NodeFacts): Promise<string> {
  const limit = /^Max open files\s+(\S+)\s+(\S+)/m.exec(await facts.read('/proc/self/limits'))
  const hard = limit?.[2] === 'unlimited' ? Infinity : Number(limit?.[2])
  if (!(hard >= NOFILE_MIN)) throw new Error(`at most ${hard} open files, ${NOFILE_MIN} are needed`)
  return `${hard} open files`
}

export async function clock (facts: NodeFacts): Promise<string> {
  const now = facts.now()
  const said = Number.isFinite(now) ? new Date(now).toISOString() : 'nothing'
  if (!(now > YEAR_2025_MS)) throw new Error(`the clock says ${said}: certificates of gateways will be refused`)
  return await Promise.resolve(`the clock says ${said}`)
}

export async function runc (facts: NodeFacts): Promise<string> {
  const version = await facts.firstLine('runc', '--version').catch((cause: unknown) => { throw new Error('runc is not on PATH, or does not run', { cause }) })
  return version
}

/** The nearest folder that is there. */
async function existing (path: string, facts: NodeFacts): Promise<string> {
  return path === '/' || await facts.owner(path) !== null ? path : await existing(dirname(path), facts)
}

function gib (bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`
}
