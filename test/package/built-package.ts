// What scripts/package makes, from this clone or from a copy of it in another folder.
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import { execute } from '../e2e/command.ts'
import { isOnPath } from '../peers/tools.ts'

export const CLONE = resolve(import.meta.dirname, '../..')
const BUILD_MS = 600_000
/** What a build reads, but for node_modules. */
const SOURCES = [
  'README.md', 'build/native', 'docs', 'monitoring', 'native', 'package-lock.json', 'package.json', 'packaging', 'proto', 'scripts', 'src', 'systemd',
  'tsconfig.json'
]
/** Of this test alone, so that it needs no history; that of the clone is its last commit's. */
const EPOCH = '1767225600'

export interface BuiltPackage {
  readonly deb: string
  readonly tarball: string
  /** What was printed: the contents by size. */
  readonly printed: string
}

/** Null, or why nothing can be built here. */
export function whyNoPackage (): string | null {
  const missing = ['dpkg-deb', 'g++', 'readelf'].filter((program) => !isOnPath(program))
  if (missing.length > 0) return `${missing.join(', ')} is not on PATH`
  return process.arch === 'x64' || process.arch === 'arm64' ? null : `there is no package for ${process.arch}`
}

/** @throws with what the build said */
export async function buildPackage (output: string, clone = CLONE, version: readonly string[] = []): Promise<BuiltPackage> {
  const line = ['-c', `SOURCE_DATE_EPOCH=${EPOCH} exec sh "$@"`, 'sh', join(clone, 'scripts/package'), '--output', output]
  const { code, stdout, stderr } = await execute('sh', [...line, ...version.flatMap((one) => ['--version', one])], BUILD_MS)
  if (code !== 0) throw new Error(`scripts/package: exit ${code}\n${stderr}`)
  const find = (end: RegExp): string => join(output, readdirSync(output).find((name) => end.test(name)) ?? '')
  return { deb: find(/_(amd64|arm64)\.deb$/), tarball: find(/\.tar\.gz$/), printed: stdout }
}

/** Another clone of the same, with the dependencies and the compiled objects of this one. */
export function copyOfClone (folder: string): string {
  for (const name of SOURCES) {
    mkdirSync(join(folder, name, '..'), { recursive: true })
    cpSync(join(CLONE, name), join(folder, name), { recursive: true, preserveTimestamps: true })
  }
  symlinkSync(join(CLONE, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

export function digestOf (file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}
