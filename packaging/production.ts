// The packages of the lock file that run in production on a machine, and of their files those that can matter when they run.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, extname, join, relative } from 'node:path'

interface Locked {
  readonly version?: string
  readonly integrity?: string
  readonly dev?: boolean
  readonly peer?: boolean
  readonly optional?: boolean
  readonly os?: string | readonly string[]
  readonly cpu?: string | readonly string[]
  readonly libc?: string | readonly string[]
}

export interface ProductionPackage {
  /** From the project's folder: "node_modules/undici". */
  readonly place: string
  readonly name: string
  readonly version: string
  /** As its author writes it: an SPDX expression, mostly. */
  readonly license: string
  /** Where its files lie now. */
  readonly folder: string
}

/** Named by others for machines that we do not run on, without saying so in the lock file. */
const OTHER_MACHINES: ReadonlySet<string> = new Set(['fuse-shared-library-darwin', 'fuse-shared-library-linux-arm'])
const CODE: ReadonlySet<string> = new Set(['.js', '.mjs', '.cjs', '.json', '.node', '.so', '.wasm', '.proto'])
const LICENCE = /^(licen[cs]e|copying|notice|copyright)/i
/** Folders of a package's root that its tests, makers or readers need; fuse-native has the libfuse that it loads among its own prebuilds. */
const NOT_RUN = /^(tests?|__tests__|docs?|examples?|benchmarks?|libfuse|include|share)\//

/** Sorted by place. What this machine did not install, since it is another's, is fetched into `fetched` and held against the lock file. */
export function productionPackages (root: string, arch: string, fetched: string): ProductionPackage[] {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, Locked> }
  return Object.keys(packages).sort().flatMap((place) => {
    const locked = packages[place]
    const name = place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)
    if (place === '' || locked === undefined || locked.dev === true || locked.peer === true || OTHER_MACHINES.has(name)) return []
    if (!(suits(locked.os, 'linux') && suits(locked.cpu, arch) && suits(locked.libc, 'glibc')) || /-musl$/.test(name)) return []
    const here = join(root, place)
    const folder = existsSync(here) ? here : fetch(name, locked, fetched)
    const { license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { license?: string | { type?: string } }
    return [{ place, name, version: locked.version ?? '', folder, license: typeof license === 'string' ? license : license?.type ?? 'not stated' }]
  })
}

/** Paths below the package's folder, sorted. */
export function filesOf ({ name, folder }: ProductionPackage, arch: string): string[] {
  return below(folder).map((path) => relative(folder, path)).filter((path) => {
    if (name === `node-linux-${arch}`) return path === 'bin/node' || LICENCE.test(path)
    if (/(^|\/)prebuilds\//.test(path)) return path.includes(`prebuilds/linux-${arch}/`) && !path.includes('electron')
    if (LICENCE.test(basename(path))) return true
    return CODE.has(extname(path)) && !NOT_RUN.test(path)
  }).sort()
}

function below (folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : below(path)
    return entry.isFile() ? [path] : []
  })
}

function suits (wanted: string | readonly string[] | undefined, have: string): boolean {
  return wanted === undefined || [wanted].flat().includes(have)
}

function fetch (name: string, { version = '', integrity = '' }: Locked, into: string): string {
  const folder = join(into, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const [{ filename = '' } = {}] = JSON.parse(execFileSync('npm', ['pack', `${name}@${version}`, '--json', '--pack-destination', folder],
    { cwd: into, encoding: 'utf8' })) as Array<{ filename?: string }>
  const archive = join(folder, basename(filename.replace('/', '-')))
  const [algorithm = '', digest] = integrity.split(/-(.*)/)
  if (createHash(algorithm).update(readFileSync(archive)).digest('base64') !== digest) throw new Error(`${name}@${version} is not what package-lock.json names`)
  execFileSync('tar', ['-xzf', archive, '-C', folder, '--strip-components=1'])
  rmSync(archive)
  return folder
}
