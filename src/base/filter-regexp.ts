// Patterns of `~=` filters. Clients write Go RE2, which never backtracks; JavaScript does. So only the part of the
// language that both read alike is taken, and what could make a backtracking matcher explode is refused.
import { SnapshotterError } from './errors.ts'
import { FILTER_PATTERN_CHARS_MAX, FILTER_PATTERN_REPEATS_MAX } from './limits.ts'

// Escapes that mean the same in both: classes, control characters, word edges, \xNN and punctuation.
const ESCAPE = /^\\(?:[dDsSwWbBfnrtv]|x[0-9A-Fa-f]{2}|[^\w\s])/
const CLASS = /^\[\^?\]?(?:\\.|[^\]\\])*\]/
const REPEAT = /^(?:[*+?]|\{\d+(?:,\d*)?\})\??/
const GROUP = /^\((?:\?:|\?P?<[A-Za-z_]\w*>)?(?!\?)/
// White space is ASCII in RE2, and its dot stops at line feeds only.
const REWRITTEN: Readonly<Record<string, string>> = { '\\s': '[\\t\\n\\f\\r ]', '\\S': '[^\\t\\n\\f\\r ]', '.': '[^\\n]' }
const SYNTAX = /^\\[\^$\\.*+?()[\]{}|/]$/

/** @throws INVALID_ARGUMENT for a pattern that is malformed or outside the common, safe part. */
export function compilePattern (pattern: string): RegExp {
  if (pattern.length > FILTER_PATTERN_CHARS_MAX) throw refuse(pattern, `longer than ${FILTER_PATTERN_CHARS_MAX} characters`)
  const pieces = split(pattern)
  refuseExplosions(pattern, pieces)
  try {
    return new RegExp(pieces.map((piece) => piece.output).join(''), 'u')
  } catch {
    throw refuse(pattern, 'malformed')
  }
}

interface Piece { readonly kind: 'open' | 'close' | 'alternative' | 'repeat' | 'other', readonly text: string, readonly output: string }

function split (pattern: string): Piece[] {
  const pieces: Piece[] = []
  for (let at = 0; at < pattern.length;) {
    const piece = nextPiece(pattern, pattern.slice(at))
    pieces.push(piece)
    at += piece.text.length
  }
  return pieces
}

function nextPiece (pattern: string, rest: string): Piece {
  const other = (text: string, output = REWRITTEN[text] ?? text): Piece => ({ kind: 'other', text, output })
  const start = String.fromCodePoint(rest.codePointAt(0) ?? 0)
  switch (start) {
    case '\\': {
      const text = ESCAPE.exec(rest)?.[0]
      if (text === undefined) throw refuse(pattern, 'an escape that Go and JavaScript do not share')
      return /^\\\w/.test(text) || SYNTAX.test(text) ? other(text) : other(text, text.slice(1))
    }
    case '[': {
      const text = CLASS.exec(rest)?.[0]
      if (text === undefined || /\[:|\\[bBpPQEAz]/.test(text)) throw refuse(pattern, 'a class that Go and JavaScript do not share')
      return other(text, `[${text.slice(1, -1).replace(/^(\^?)\]/, '$1\\]').replace(/(?<!\\)\[/g, '\\[')}]`)
    }
    case '(': {
      const text = GROUP.exec(rest)?.[0]
      if (text === undefined) throw refuse(pattern, 'a group with flags or a look-around')
      return { kind: 'open', text, output: '(?:' }
    }
    case ')': return { kind: 'close', text: start, output: start }
    case '|': return { kind: 'alternative', text: start, output: start }
    default: {
      const repeat = REPEAT.exec(rest)?.[0]
      if (repeat !== undefined) return { kind: 'repeat', text: repeat, output: repeat }
      return other(start, '{}]'.includes(start) ? `\\${start}` : REWRITTEN[start] ?? start)
    }
  }
}

/** Repeating a group that can match one text in two ways costs time exponential in the text; so refuse it by its shape. */
function refuseExplosions (pattern: string, pieces: readonly Piece[]): void {
  const choices: boolean[] = [false]
  let closedHadChoices = false
  let repeats = 0
  for (const { kind, text } of pieces) {
    const level = choices.length - 1
    if (kind === 'open') choices.push(false)
    if (kind === 'alternative') choices[level] = true
    if (kind === 'repeat') {
      if (closedHadChoices && !text.startsWith('?')) throw refuse(pattern, 'a repeated group with choices inside')
      if (!/^(?:\?|\{\d+\})/.test(text) && ++repeats > FILTER_PATTERN_REPEATS_MAX) {
        throw refuse(pattern, `more than ${FILTER_PATTERN_REPEATS_MAX} repeats`)
      }
      choices[level] = true
    }
    closedHadChoices = kind === 'close' && choices.pop() === true
    if (choices.length === 0) throw refuse(pattern, 'a group closes that is not open')
    if (closedHadChoices) choices[choices.length - 1] = true
  }
}

function refuse (pattern: string, why: string): SnapshotterError {
  return new SnapshotterError('INVALID_ARGUMENT', `filter pattern ${JSON.stringify(pattern.slice(0, 200))}: ${why}`)
}
