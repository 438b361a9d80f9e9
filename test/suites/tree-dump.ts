// What the kernel says about a mounted tree: runs native/test/tree-dump.cc (compiled on first use) and reads its lines.
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Tree, TreeEntry } from './tree-compare.ts'

const run = promisify(execFile)
const ROOT = resolve(import.meta.dirname, '../..')
const SOURCE = join(ROOT, 'native/test/tree-dump.cc')
const PROGRAM = join(ROOT, 'build/test/tree-dump')

interface DumpLine {
  readonly path: string
  readonly type: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  readonly size: number
  readonly nlink: number
  readonly dev: number
  readonly ino: number
  readonly direntIno: number
  readonly major: number
  readonly minor: number
  readonly target: string
  readonly sha256: string
  readonly xattrs: Readonly<Record<string, string>>
  readonly problems: readonly string[]
}

export interface DumpOptions {
  /** Default true. Overlayfs over several file systems gives lstat other inode numbers than readdir. */
  readonly sameDirentNumbers?: boolean
}

/** Everything below `directory`, itself as `/`. */
export async function dumpTree (directory: string, options: DumpOptions = {}): Promise<Tree> {
  const { stdout } = await run(await treeDumpProgram(), [directory], { maxBuffer: 2 ** 30, encoding: 'latin1' })
  const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as DumpLine)
  const firstPaths = new Map<string, string>()
  for (const line of lines) {
    const path = latin1(line.path)
    const known = firstPaths.get(inodeOf(line))
    if (known === undefined || path < known) firstPaths.set(inodeOf(line), path)
  }
  const shared = new Map<string, number>()
  for (const line of lines) shared.set(inodeOf(line), (shared.get(inodeOf(line)) ?? 0) + 1)
  return new Map(lines.map((line) => {
    const several = line.type !== 'directory' && (shared.get(inodeOf(line)) ?? 0) > 1
    return [latin1(line.path), entryOf(line, several ? firstPaths.get(inodeOf(line)) ?? null : null, options)]
  }))
}

function entryOf (line: DumpLine, sameFileAs: string | null, options: DumpOptions): TreeEntry {
  const isFile = line.type === 'file'
  const problems = line.problems.map(latin1)
  if (line.direntIno !== line.ino && options.sameDirentNumbers !== false) {
    problems.push(`readdir says inode ${line.direntIno}, lstat ${line.ino}`)
  }
  return {
    type: line.type,
    mode: line.mode,
    uid: line.uid,
    gid: line.gid,
    mtimeNs: BigInt(line.mtimeSeconds) * 1_000_000_000n + BigInt(line.mtimeNanoseconds),
    size: isFile ? line.size : null,
    links: line.nlink,
    sha256: isFile ? line.sha256 : null,
    target: line.type === 'symlink' ? latin1(line.target) : null,
    device: line.type === 'char' || line.type === 'block' ? `${line.major}:${line.minor}` : null,
    xattrs: Object.fromEntries(Object.entries(line.xattrs).map(([name, value]) =>
      [latin1(name), Buffer.from(value, 'base64').toString('hex')])),
    sameFileAs,
    problems
  }
}

function inodeOf (line: DumpLine): string {
  return `${line.dev}:${line.ino}`
}

function latin1 (base64: string): string {
  return Buffer.from(base64, 'base64').toString('latin1')
}

/** Its path, compiled when its source is newer. */
export async function treeDumpProgram (): Promise<string> {
  if (existsSync(PROGRAM) && statSync(PROGRAM).mtimeMs > statSync(SOURCE).mtimeMs) return PROGRAM
  mkdirSync(join(ROOT, 'build/test'), { recursive: true })
  const fresh = `${PROGRAM}.${randomUUID()}` // several test files may compile at once; the rename is atomic
  await run('g++', ['-std=c++20', '-O2', SOURCE, '-o', fresh, '-lcrypto'])
  renameSync(fresh, PROGRAM)
  return PROGRAM
}
