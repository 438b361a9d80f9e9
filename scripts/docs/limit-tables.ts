// src/base/limits.ts as tables: name and value from the module, section and reason from the comments beside them.
import { readFileSync } from 'node:fs'
import * as limits from '../../src/base/limits.ts'
import { code, table } from './markdown.ts'

interface Limit { readonly section: string, readonly name: string, readonly value: string, readonly reason: string }

const FILE = new URL('../../src/base/limits.ts', import.meta.url)
const LIMIT = /^export const (\w+)(?:: [^=]+)? = (.+?) \/\/ (.+)$/
const SIZES = [['TiB', 2 ** 40], ['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]] as const
const DURATIONS = [['h', 3_600_000], ['min', 60_000], ['s', 1_000]] as const

const all = limitsIn(readFileSync(FILE, 'utf8'))

/** Each section of the file with its limits. */
export function limitsByRoom (): string {
  const sections = [...new Set(all.map(({ section }) => section))]
  return sections.map((section) => `### ${section}\n\n${tableOf(all.filter((limit) => limit.section === section))}`).join('\n\n')
}

/** Those that are named, in that order. */
export function namedLimits (names: readonly string[]): string {
  return tableOf(names.map((name) => {
    const limit = all.find((limit) => limit.name === name)
    if (limit === undefined) throw new Error(`src/base/limits.ts has no ${name}`)
    return limit
  }))
}

function tableOf (some: readonly Limit[]): string {
  return table(['name', 'value', 'why, and of what'], some.map(({ name, value, reason }) => [code(name), value, reason]))
}

/** @throws for a limit without a reason */
export function limitsIn (text: string): Limit[] {
  let section = ''
  return text.split('\n').flatMap((line) => {
    section = /^\/\/ (.+)$/.exec(line)?.[1] ?? section
    if (!line.startsWith('export ')) return []
    const [, name = '', expression = '', reason] = LIMIT.exec(line) ?? []
    if (reason === undefined) throw new Error(`src/base/limits.ts: no reason behind // in: ${line}`)
    const value: number | readonly number[] = limits[name as keyof typeof limits]
    const values = typeof value === 'number' ? [value] : value
    return [{ section, name, value: values.map((value) => shown(name, expression, value)).join(', '), reason: sentence(reason) }]
  })
}

function shown (name: string, expression: string, value: number): string {
  if (/_SHARE$/.test(name)) return `${value * 100} %`
  if (/_MS(?:_|$)/.test(name)) return inUnits(value, DURATIONS, 'ms')
  if (/_SECONDS$/.test(name)) return inUnits(value * 1_000, DURATIONS, 'ms')
  if (/_MIB$/.test(name)) return inUnits(value * 2 ** 20, SIZES, 'bytes')
  if (/BYTES_PER_SECOND/.test(name)) return `${inUnits(value, SIZES, 'bytes')}/s`
  if (/BYTES/.test(name) || (/[KMG]iB/.test(expression) && !/CHARS/.test(name))) return inUnits(value, SIZES, 'bytes')
  return value.toLocaleString('en')
}

function inUnits (value: number, units: ReadonlyArray<readonly [string, number]>, smallest: string): string {
  const [name, size] = units.find(([, size]) => value >= size && value % size === 0) ?? [smallest, 1]
  return `${(value / size).toLocaleString('en')} ${name}`
}

function sentence (reason: string): string {
  return reason.replaceAll('<', '&lt;').replace(/ \(design §[\d.]+\)/, '')
}
