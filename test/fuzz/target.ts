// What a fuzz target is, and what counts as a finding: an input must end in a value or in a SnapshotterError that names a cause
// (INTERNAL names none), within bounds of time and memory, and must not break a property that the target states.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isSnapshotterError, messageOf } from '../../src/base/errors.ts'

export interface Target {
  /** Some inputs that the parser takes; those in test/fixtures/fuzz/NAME come on top. */
  readonly seeds: readonly Uint8Array[]
  readonly tokens?: ReadonlyArray<string | Uint8Array>
  /** @throws SnapshotterError, or Broken for a property that does not hold. */
  readonly run: (input: Buffer) => unknown
  /** Puts right what a mutation always breaks (checksums); most inputs go through it. */
  readonly repair?: (input: Buffer) => Buffer
  /** Of an input. Default 8 KiB. */
  readonly bytesMax?: number
  /** Runs between two looks at the coverage; fewer for slow targets. */
  readonly batch?: number
  readonly end?: () => Promise<void>
}

/** Made in the process that fuzzes it, after coverage began. */
export type MakeTarget = () => Target | Promise<Target>

/** A property does not hold. */
export class Broken extends Error {}

export interface Verdict {
  /** 'value', or the code of the error. */
  readonly outcome: string
  /** What is wrong, or null. */
  readonly finding: string | null
}

export async function judge (target: Target, input: Buffer): Promise<Verdict> {
  try {
    const running = target.run(input)
    if (running instanceof Promise) await running
    return { outcome: 'value', finding: null }
  } catch (error) {
    if (isSnapshotterError(error) && error.code !== 'INTERNAL' && !/[\r\n]/.test(error.message)) return { outcome: error.code, finding: null }
    const kind = error instanceof Broken ? 'property' : isSnapshotterError(error) ? error.code : 'exception'
    return { outcome: kind, finding: `${kind}: ${describe(error)}` }
  }
}

/** Message and the first lines of the stack that are ours. */
export function describe (error: unknown): string {
  const stack = error instanceof Error ? error.stack ?? '' : ''
  const cause = error instanceof Error && error.cause !== undefined ? ` (cause: ${messageOf(error.cause).slice(0, 200)})` : ''
  const frames = stack.split('\n').map((line) => /(?:src|test)\/[^\s)]*/.exec(line)?.[0]).filter((frame) => frame !== undefined).slice(0, 4)
  return `${error instanceof Error ? error.name : typeof error} ${messageOf(error).slice(0, 300)}${cause} at ${frames.join(' < ')}`
}

/** Works that must agree: both give the same, or both fail. */
export function outcomeOf (work: () => unknown): string {
  try {
    return `value ${shown(work())}`
  } catch (error) {
    if (isSnapshotterError(error)) return error.code
    throw error
  }
}

export async function asyncOutcomeOf (work: () => Promise<unknown>): Promise<string> {
  try {
    return `value ${shown(await work())}`
  } catch (error) {
    if (isSnapshotterError(error)) return error.code
    throw error
  }
}

/** As JSON, bytes as hex, keys in order. */
export function shown (value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, part: unknown) {
    const bare = this[key] // before toJSON, which Buffers have
    if (bare instanceof Uint8Array) return `hex ${Buffer.from(bare).toString('hex')}`
    if (bare instanceof Map) return [...bare as Map<unknown, unknown>]
    if (typeof part === 'bigint') return `big ${part}`
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1))
  })
}

export function same (what: string, one: string, other: string): void {
  if (one === other) return
  let at = 0
  while (one[at] === other[at]) at++
  const from = Math.max(0, at - 60)
  throw new Broken(`${what}: from character ${at} on: ${one.slice(from, at + 80)} | ${other.slice(from, at + 80)}`)
}

export const FIXTURES = join(import.meta.dirname, '../fixtures')

/** The inputs kept for a target, by name. */
export function keptInputs (name: string): ReadonlyMap<string, Buffer> {
  const folder = join(FIXTURES, 'fuzz', name)
  let names: string[] = []
  try {
    names = readdirSync(folder).sort()
  } catch { /* none yet */ }
  return new Map(names.map((file) => [file, readFileSync(join(folder, file))]))
}
