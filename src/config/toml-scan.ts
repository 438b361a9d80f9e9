// Where the statements of a TOML text stand: headers and key/value pairs with their full paths and offsets. It knows strings, comments
// and brackets well enough to step over values; the text has been parsed before, and what is made of it is parsed after.
import { parse } from 'smol-toml'

export interface Statement {
  readonly kind: 'table' | 'list' | 'pair'
  /** Of a pair: with the table it stands in. Pairs inside lists of tables have no path of their own: `[]`. */
  readonly path: readonly string[]
  readonly indent: string
  /** Offsets of a pair's value; of a header, both its end. */
  readonly valueAt: number
  readonly valueEnd: number
  readonly end: number
}

const KEY = /[ \t]*(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')(?:[ \t]*\.[ \t]*(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*'))*/y
const PART = /[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*'/g

export function scanToml (text: string): Statement[] {
  const statements: Statement[] = []
  let table: readonly string[] | null = []
  let at = text.startsWith('\uFEFF') ? 1 : 0
  while (at < text.length) {
    const indent = /[ \t]*/y
    indent.lastIndex = at
    const blank = indent.exec(text)?.[0] ?? ''
    const start = at + blank.length
    const brackets = text.startsWith('[[', start) ? 2 : text[start] === '[' ? 1 : 0
    KEY.lastIndex = start + brackets
    const key = /[\r\n#]/.test(text[start] ?? '\n') ? null : KEY.exec(text)
    let end = start
    if (key !== null) {
      const names = namesOf(key[0])
      const past = KEY.lastIndex
      if (brackets > 0) {
        end = text.indexOf(']', past) + brackets
        const kind = brackets === 2 ? 'list' : 'table'
        table = kind === 'list' ? null : names
        statements.push({ kind, path: names, indent: blank, valueAt: end, valueEnd: end, end })
      } else {
        const valueAt = past + (/^[ \t]*=[ \t]*/.exec(text.slice(past, past + 4096))?.[0].length ?? 0)
        end = endOfValue(text, valueAt)
        statements.push({ kind: 'pair', path: table === null ? [] : [...table, ...names], indent: blank, valueAt, valueEnd: end, end })
      }
    }
    const newline = text.indexOf('\n', end)
    at = newline < 0 ? text.length : newline + 1
  }
  return statements
}

function namesOf (key: string): string[] {
  return (key.match(PART) ?? []).map((part) => {
    if (part.startsWith('"') && part.includes('\\')) return Object.keys(parse(`${part} = 0`))[0] ?? ''
    return /^["']/.test(part) ? part.slice(1, -1) : part
  })
}

/** The offset behind a value: at depth 0 a newline or a comment ends it. */
function endOfValue (text: string, from: number): number {
  let depth = 0
  let end = from
  for (let at = from; at < text.length;) {
    const char = text[at] ?? ''
    if (char === '"' || char === "'") {
      at = endOfString(text, at, char)
      end = at
      continue
    }
    if (depth === 0 && (char === '\n' || char === '#')) break
    if (char === '#') {
      const newline = text.indexOf('\n', at)
      at = newline < 0 ? text.length : newline
      continue
    }
    if (char === '[' || char === '{') depth++
    if (char === ']' || char === '}') depth--
    at++
    if (!/\s/.test(char)) end = at
  }
  return end
}

function endOfString (text: string, at: number, quote: string): number {
  const fence = text.startsWith(quote.repeat(3), at) ? quote.repeat(3) : quote
  let here = at + fence.length
  while (here < text.length && !text.startsWith(fence, here)) here += quote === '"' && text[here] === '\\' ? 2 : 1
  here += fence.length
  // A multi-line string may end with quotes of its own.
  while (fence.length === 3 && text[here] === quote) here++
  return here
}
