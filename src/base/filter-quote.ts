// Go's quoted strings (the language specification, "String literals"), as far as containerd's filters use them. An
// escape of a byte (\xNN, \NNN) stands for that byte, so several of them may spell one character.

const SIMPLE: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92 }
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 }
const CODE_POINT_MAX = 0x10ffff

/** What stands between two `quote` characters, unescaped; null when an escape is malformed. */
export function unquote (text: string, quote: string): string | null {
  if (!text.includes('\\')) return text
  const parts: Buffer[] = []
  let at = 0
  while (at < text.length) {
    if (text[at] !== '\\') {
      const end = text.indexOf('\\', at)
      parts.push(Buffer.from(text.slice(at, end === -1 ? text.length : end)))
      at = end === -1 ? text.length : end
      continue
    }
    const escape = readEscape(text.slice(at + 1, at + 10), quote)
    if (escape === null) return null
    parts.push(escape.bytes)
    at += 1 + escape.length
  }
  return Buffer.concat(parts).toString()
}

interface Escape { readonly bytes: Buffer, readonly length: number }

function readEscape (text: string, quote: string): Escape | null {
  const kind = text[0] ?? ''
  if (kind === quote) return { bytes: Buffer.from(quote), length: 1 }
  const simple = SIMPLE[kind]
  if (simple !== undefined) return { bytes: Buffer.of(simple), length: 1 }
  const digits = HEX_DIGITS[kind]
  if (digits !== undefined) return readHex(text, kind, digits)
  const octal = /^[0-7]{3}/.exec(text)?.[0]
  if (octal === undefined || Number.parseInt(octal, 8) > 255) return null
  return { bytes: Buffer.of(Number.parseInt(octal, 8)), length: 3 }
}

function readHex (text: string, kind: string, digits: number): Escape | null {
  const hex = text.slice(1, 1 + digits)
  if (hex.length !== digits || !/^[0-9A-Fa-f]+$/.test(hex)) return null
  const value = Number.parseInt(hex, 16)
  if (value > CODE_POINT_MAX) return null
  return { bytes: kind === 'x' ? Buffer.of(value) : Buffer.from(String.fromCodePoint(value)), length: 1 + digits }
}
