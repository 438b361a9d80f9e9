// Changes single keys of a TOML text and leaves every other byte as its author wrote it. New tables go to the end, below a comment;
// keys go under the header of their table. What it made is parsed and must mean exactly the old settings plus the edits: a text
// that cannot be changed so (inline tables, tables of dotted keys) is refused, with the lines to add by hand.
import { isDeepStrictEqual } from 'node:util'
import { parse } from 'smol-toml'
import { SnapshotterError } from '../base/errors.ts'
import { scanToml, type Statement } from './toml-scan.ts'

export type Value = string | boolean | number | readonly string[]
export type Data = Record<string, unknown>
export type Edit =
  /** `key` of `table` ([] is the top level) becomes `value`. */
  | { readonly kind: 'set', readonly table: readonly string[], readonly key: string, readonly value: Value }
  /** The list at `key` gets `item` as its first. */
  | { readonly kind: 'include', readonly table: readonly string[], readonly key: string, readonly item: string }
  /** The list of tables `table` gets one more. */
  | { readonly kind: 'add', readonly table: readonly string[], readonly entry: Readonly<Record<string, Value>> }

/** One changed place: the line (from 1) of the old text it stands at, whole lines that go and that come. */
export interface Hunk { readonly line: number, readonly removed: readonly string[], readonly added: readonly string[] }
export interface Edited { readonly text: string, readonly hunks: readonly Hunk[] }
interface Splice { readonly at: number, readonly end: number, readonly text: string }

const MARK = '# Added by `ipfs-snapshotter setup containerd`.'

/** @throws what smol-toml says of a text that is no TOML */
export function readToml (text: string): Data {
  return parse(text, { integersAsBigInt: 'asNeeded' })
}

/** @throws UNSUPPORTED when the text cannot be edited so that it means the old plus `edits` and nothing else */
export function editToml (text: string, edits: readonly Edit[]): Edited {
  const before = readToml(text)
  const wanted = edits.reduce(applied, before)
  if (isDeepStrictEqual(wanted, before)) return { text, hunks: [] }
  const splices = placed(text, edits)
  const after = splices.reduceRight((all, { at, end, text: part }) => all.slice(0, at) + part + all.slice(end), text)
  let meant: Data | null = null
  try {
    meant = readToml(after)
  } catch { /* it is refused below */ }
  if (!isDeepStrictEqual(meant, wanted)) {
    throw new SnapshotterError('UNSUPPORTED', `cannot be edited without rewriting it, as inline tables or dotted keys; add by hand: ${inWords(edits)}`)
  }
  return { text: after, hunks: splices.map((splice) => hunkOf(text, splice)) }
}

/** The value at `path`, undefined when there is none. */
export function valueAt (data: Data, path: readonly string[]): unknown {
  return path.reduce<unknown>((here, name) => isTable(here) && Object.hasOwn(here, name) ? here[name] : undefined, data)
}

function isTable (value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What the edit means. @throws UNSUPPORTED where the text has something else than a table or list */
function applied (data: Data, edit: Edit): Data {
  const path = edit.kind === 'add' ? edit.table : [...edit.table, edit.key]
  const listed: unknown = edit.kind === 'set' ? [] : valueAt(data, path) ?? []
  if (!Array.isArray(listed)) throw new SnapshotterError('UNSUPPORTED', `${dotted(path)} is no list`)
  const entries: readonly unknown[] = listed
  const value = edit.kind === 'set' ? edit.value : edit.kind === 'include' ? [edit.item, ...entries] : [...entries, edit.entry]
  return withValue(data, path, value)
}

function withValue (data: Data, [name = '', ...rest]: readonly string[], value: unknown): Data {
  const copy: Data = Object.assign(Object.create(null) as Data, data)
  const inner = Object.hasOwn(data, name) ? data[name] : Object.create(null) as Data
  if (rest.length > 0 && !isTable(inner)) throw new SnapshotterError('UNSUPPORTED', `${name} is no table`)
  copy[name] = rest.length === 0 ? plain(value) : withValue(inner as Data, rest, value)
  return copy
}

/** As the parser makes them: without a prototype. */
function plain (value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  return isTable(value) ? Object.assign(Object.create(null) as Data, value) : value
}

/** Where each edit goes, in the text's order, none overlapping. */
function placed (text: string, edits: readonly Edit[]): Splice[] {
  const eol = text.includes('\r\n') ? '\r\n' : '\n'
  const statements = scanToml(text)
  const splices: Splice[] = []
  const appended = new Map<string, string[]>()
  for (const edit of edits) {
    if (edit.kind === 'add') {
      const keys = Object.entries(edit.entry).map(([key, value]) => `  ${lineOf(key, value)}`)
      appended.set(`[[${dotted(edit.table)}]] ${appended.size}`, [`[[${dotted(edit.table)}]]`, ...keys])
      continue
    }
    const path = [...edit.table, edit.key]
    const found = statements.find((statement) => statement.kind === 'pair' && isDeepStrictEqual(statement.path, path))
    const header = statements.find((statement) => statement.kind === 'table' && isDeepStrictEqual(statement.path, edit.table))
    const line = lineOf(edit.key, edit.kind === 'set' ? edit.value : [edit.item])
    if (found !== undefined) splices.push(changed(text, found, edit))
    else if (edit.table.length === 0) splices.push(below(text, statements.find(({ path }) => path.length === 1 && path[0] === 'version'), line, eol))
    else if (header !== undefined) splices.push(below(text, header, `${header.indent}  ${line}`, eol))
    else appended.set(dotted(edit.table), [...appended.get(dotted(edit.table)) ?? [`[${dotted(edit.table)}]`], `  ${line}`])
  }
  if (appended.size > 0) {
    const start = text === '' || text.endsWith('\n') ? '' : eol
    const lines = [text === '' ? MARK : `${eol}${MARK}`, ...[...appended.values()].map((lines) => lines.join(eol))]
    splices.push({ at: text.length, end: text.length, text: `${start}${lines.join(eol)}${eol}` })
  }
  // One insertion point may get several lines: they become one splice, in order.
  return splices.sort((left, right) => left.at - right.at).reduce<Splice[]>((all, splice) => {
    const last = all.at(-1)
    const isSame = last !== undefined && last.at === splice.at && last.end === splice.end
    return isSame ? [...all.slice(0, -1), { ...last, text: last.text + splice.text }] : [...all, splice]
  }, [])
}

function changed (text: string, { valueAt, valueEnd }: Statement, edit: Extract<Edit, { kind: 'set' | 'include' }>): Splice {
  if (edit.kind === 'set') return { at: valueAt, end: valueEnd, text: shown(edit.value) }
  const rest = text.slice(valueAt + 1, valueEnd)
  const isEmpty = rest.replace(/#.*/g, '').trim() === ']'
  return { at: valueAt + 1, end: valueAt + 1, text: `${shown(edit.item)}${isEmpty ? '' : /^\s/.test(rest) ? ',' : ', '}` }
}

/** A line of its own below the statement, at the top of the text without one. */
function below (text: string, statement: Statement | undefined, line: string, eol: string): Splice {
  if (statement === undefined) {
    const at = text.startsWith('\uFEFF') ? 1 : 0
    return { at, end: at, text: `${line}${eol}` }
  }
  const newline = text.indexOf('\n', statement.end)
  return newline < 0 ? { at: text.length, end: text.length, text: `${eol}${line}` } : { at: newline + 1, end: newline + 1, text: `${line}${eol}` }
}

function hunkOf (text: string, { at, end, text: part }: Splice): Hunk {
  const isWhole = at === end && (at === 0 || text[at - 1] === '\n' || at === text.length)
  const from = isWhole ? at : text.lastIndexOf('\n', at - 1) + 1
  const newline = text.indexOf('\n', end)
  const to = isWhole ? at : newline < 0 ? text.length : newline
  const lines = (some: string): string[] => some.split(/\r?\n/)
  return {
    line: text.slice(0, from).split('\n').length,
    removed: isWhole ? [] : lines(text.slice(from, to)),
    added: lines(isWhole ? part.replace(/^\r?\n|\r?\n$/g, '') : text.slice(from, at) + part + text.slice(end, to))
  }
}

function inWords (edits: readonly Edit[]): string {
  return edits.map((edit) => {
    if (edit.kind === 'add') return `[[${dotted(edit.table)}]] ${Object.entries(edit.entry).map(([key, value]) => lineOf(key, value)).join(', ')}`
    const line = edit.kind === 'set' ? lineOf(edit.key, edit.value) : `${edit.key} with ${shown(edit.item)}`
    return edit.table.length === 0 ? line : `[${dotted(edit.table)}] ${line}`
  }).join('; ')
}

function lineOf (key: string, value: Value): string {
  return `${dotted([key])} = ${shown(value)}`
}

function shown (value: Value): string {
  // TOML's basic strings and JSON's escape alike, but for DEL, which TOML wants escaped.
  return JSON.stringify(value).replaceAll('\u007f', '\\u007f').replaceAll('","', '", "')
}

function dotted (path: readonly string[]): string {
  return path.map((name) => /^[\w-]+$/.test(name) ? name : shown(name)).join('.')
}
