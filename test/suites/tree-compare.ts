// Says in which ways two trees differ. Trees come from a mounted directory (tree-dump.ts), from a truth file of the
// fixtures, or from a LayerIndex (layer-from-tree.ts); paths are latin1 strings of the path's bytes, starting with `/`.
import { readFile } from 'node:fs/promises'

export interface TreeEntry {
  readonly type: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
  /** Null where the source does not say: then it is not compared. Files only. */
  readonly size: number | null
  readonly links: number | null
  readonly sha256: string | null
  readonly target: string | null
  /** `major:minor` of devices. */
  readonly device: string | null
  /** Hex by name (latin1). Always compared, so an absent one must be absent. */
  readonly xattrs: Readonly<Record<string, string>>
  /** Smallest path of the same inode when it has several, else null. Not of directories. */
  readonly sameFileAs: string | null
  /** What the dump found wrong by itself: readdir types and numbers, lookups of absent names, failed reads. */
  readonly problems: readonly string[]
}

const SECOND = 1_000_000_000n
const MILLISECOND = 1_000_000n

export type Tree = ReadonlyMap<string, TreeEntry>

export interface CompareOptions {
  /** Default: every path's mtime is compared. */
  readonly ignoreMtimeOf?: readonly string[]
  /** For sources that round times to whole seconds: such a time may stand for any within a second of it. */
  readonly mtimeInSeconds?: boolean
  /** What is compared shows times cut to milliseconds, and none before 1970 (the driver fuse). */
  readonly mtimeInMilliseconds?: boolean
}

/** One line for each difference, at most `max`. Equal trees: an empty list. */
export function compareTrees (actual: Tree, expected: Tree, options: CompareOptions = {}, max = 20): string[] {
  const paths = [...new Set([...actual.keys(), ...expected.keys()])].sort()
  const differences: string[] = []
  for (const path of paths) {
    const is = actual.get(path)
    const should = expected.get(path)
    if (is === undefined) differences.push(`${JSON.stringify(path)} is missing`)
    else if (should === undefined) differences.push(`${JSON.stringify(path)} should not be there (${is.type})`)
    else differences.push(...compareEntries(is, should, path, options))
    if (differences.length > max) return [...differences.slice(0, max), '…']
  }
  return differences
}

function compareEntries (is: TreeEntry, should: TreeEntry, path: string, options: CompareOptions): string[] {
  const differences = [...is.problems, ...should.problems].map((problem) => `${JSON.stringify(path)}: ${problem}`)
  const check = (field: string, a: string | number | bigint | null, b: string | number | bigint | null): void => {
    if (b !== null && a !== b) differences.push(`${JSON.stringify(path)}: ${field} is ${a}, should be ${b}`)
  }
  check('type', is.type, should.type)
  check('mode', is.mode.toString(8), should.mode.toString(8))
  check('owner', `${is.uid}:${is.gid}`, `${should.uid}:${should.gid}`)
  if (options.ignoreMtimeOf?.includes(path) !== true) {
    const rounded = options.mtimeInSeconds === true && isWithinSecond(is.mtimeNs, should.mtimeNs)
    const cut = options.mtimeInMilliseconds === true ? inMilliseconds(should.mtimeNs) : should.mtimeNs
    check('mtime', rounded ? cut : is.mtimeNs, cut)
  }
  for (const field of ['size', 'links', 'sha256', 'target', 'device'] as const) check(field, is[field], should[field])
  check('same file', is.sameFileAs ?? 'none', should.sameFileAs ?? 'none')
  check('xattrs', xattrText(is.xattrs), xattrText(should.xattrs))
  return differences
}

function inMilliseconds (mtimeNs: bigint): bigint {
  return mtimeNs < 0n ? 0n : mtimeNs - mtimeNs % MILLISECOND
}

function isWithinSecond (rounded: bigint, exact: bigint): boolean {
  const apart = rounded - exact
  return rounded % SECOND === 0n && apart < SECOND && apart > -SECOND
}

function xattrText (xattrs: Readonly<Record<string, string>>): string {
  return Object.keys(xattrs).sort().map((name) => `${JSON.stringify(name)}=${xattrs[name] ?? ''}`).join(' ')
}

/** What stands in a line of the fixtures' truth/*.json. */
interface TruthEntry {
  readonly path: string
  readonly type: string
  readonly mode: string
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: string
  readonly size?: number
  readonly nlink?: number
  readonly sha256?: string
  readonly target?: string
  readonly rdev?: readonly [number, number]
  readonly xattrs?: Readonly<Record<string, string>>
  readonly sameFileAs?: string
}

export async function readTruth (file: string): Promise<Tree> {
  const entries = JSON.parse(await readFile(file, 'utf8')) as TruthEntry[]
  return new Map(entries.map((entry) => [latin1(entry.path), {
    type: entry.type === 'dir' ? 'directory' : entry.type,
    mode: Number.parseInt(entry.mode, 8),
    uid: entry.uid,
    gid: entry.gid,
    mtimeNs: BigInt(entry.mtimeNs),
    size: entry.size ?? null,
    links: entry.nlink ?? null,
    sha256: entry.sha256 ?? null,
    target: entry.target === undefined ? null : latin1(entry.target),
    device: entry.rdev === undefined ? null : entry.rdev.join(':'),
    xattrs: entry.xattrs ?? {},
    sameFileAs: entry.sameFileAs === undefined ? null : latin1(entry.sameFileAs),
    problems: []
  }]))
}

function latin1 (text: string): string {
  return Buffer.from(text).toString('latin1')
}
