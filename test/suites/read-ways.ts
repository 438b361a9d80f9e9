// Runs native/test/read-ways.cc (compiled on first use): reads of a range by mmap, splice, sendfile, O_DIRECT and at odd sizes.
import { execFile, spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const ROOT = resolve(import.meta.dirname, '../..')
const SOURCE = join(ROOT, 'native/test/read-ways.cc')
const PROGRAM = join(ROOT, 'build/test/read-ways')

export type Way = 'read' | 'odd' | 'mmap' | 'splice' | 'sendfile' | 'direct' | 'unaligned'
export const WAYS: readonly Way[] = ['read', 'odd', 'mmap', 'splice', 'sendfile', 'direct', 'unaligned']

/** The program's path, compiled when its source is newer. */
export async function readWaysProgram (): Promise<string> {
  if (existsSync(PROGRAM) && statSync(PROGRAM).mtimeMs > statSync(SOURCE).mtimeMs) return PROGRAM
  mkdirSync(join(ROOT, 'build/test'), { recursive: true })
  const fresh = `${PROGRAM}.${randomUUID()}` // several test files may compile at once; the rename is atomic
  await run('g++', ['-std=c++20', '-O2', SOURCE, '-o', fresh])
  renameSync(fresh, PROGRAM)
  return PROGRAM
}

/** sha256 of what was read, or the errno's name. */
export async function readBy (way: Way, path: string, offset: number, length: number): Promise<string> {
  const child = spawn(await readWaysProgram(), [way, path, String(offset), String(length)], { stdio: ['ignore', 'pipe', 'pipe'] })
  const hash = createHash('sha256')
  let complaint = ''
  child.stdout.on('data', (bytes: Buffer) => { hash.update(bytes) })
  child.stderr.on('data', (bytes: Buffer) => { complaint += String(bytes) })
  const ended = Promise.withResolvers<string>()
  child.once('close', (status, signal) => { ended.resolve(status === 0 ? hash.digest('hex') : complaint || String(signal)) })
  return await ended.promise
}
