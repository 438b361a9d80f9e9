// Small static programs and libraries that tests bring as C++ source, compiled once per source.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

const FOLDER = resolve(import.meta.dirname, '../../build/test')

/** The program's path. */
export function compiled (name: string, source: string, ...options: readonly string[]): string {
  return built(name, source, ['-static', ...options])
}

/** The path of a library for LD_PRELOAD. */
export function compiledLibrary (name: string, source: string, ...options: readonly string[]): string {
  return built(`${name}.so`, source, ['-shared', '-fPIC', ...options])
}

function built (name: string, source: string, options: readonly string[]): string {
  const path = `${FOLDER}/${name}-${createHash('sha256').update(source).digest('hex').slice(0, 12)}`
  if (existsSync(path) && statSync(path).size > 0) return path
  mkdirSync(dirname(path), { recursive: true })
  const fresh = `${path}.${process.pid}` // several test files may compile at once; the rename is atomic
  writeFileSync(`${fresh}.cc`, source)
  execFileSync('g++', ['-std=c++20', '-O2', '-s', '-o', fresh, `${fresh}.cc`, ...options], { stdio: ['ignore', 'ignore', 'pipe'] })
  execFileSync('mv', [fresh, path])
  execFileSync('rm', [`${fresh}.cc`])
  return path
}
