// JSON with one meaning. Go, JavaScript and Python disagree on duplicate keys, trailing data and broken Unicode, and a
// document that two readers understand differently is two images under one digest; such text is refused here. One pass,
// bounded depth and count, objects without a prototype. Grammar: RFC 8259, narrowed to I-JSON (RFC 7493) §2.1 and §2.3.
import { isUtf8 } from 'node:buffer'
import { type ErrorCode, SnapshotterError } from '../base/errors.ts'
import { JSON_DEPTH_MAX, JSON_VALUES_MAX } from '../base/limits.ts'

export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject
export interface JsonObject { [key: string]: JsonValue }

export interface StreamedList {
  readonly key: string
  readonly each: (value: JsonValue, position: number) => void
  /**
   * Asked first: takes the element whose first byte is at `at` and gives the position behind it, or -1 to leave it to the
   * parser. It may take nothing but strict JSON in ASCII.
   */
  readonly usual?: (at: number) => number
}

export interface StrictJsonOptions {
  /** What the text is, for messages: `manifest sha256:…`. */
  readonly what: string
  /** Thrown for text that is not strict JSON; sizes beyond a limit are always LIMIT_EXCEEDED. */
  readonly code: ErrorCode
  readonly bytesMax: number
  readonly depthMax?: number
  /** Values of any kind, containers included: bounds memory, which is up to 20 times the text. */
  readonly valuesMax?: number
  /** The elements of the list under this top-level key go out one by one and are not kept: a TOC has a million. */
  readonly list?: StreamedList
}

/** @throws LIMIT_EXCEEDED, or `options.code` with the character position and the reason. */
export function parseStrictJson (bytes: Uint8Array, options: StrictJsonOptions): JsonValue {
  if (bytes.byteLength > options.bytesMax) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${options.what} has ${bytes.byteLength} bytes, limit ${options.bytesMax}`)
  }
  if (!isUtf8(bytes)) throw new SnapshotterError(options.code, `${options.what}: not UTF-8`)
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  return new Parser(text, options).document()
}

export function isJsonObject (value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// A prototype that inherits nothing: `__proto__`, `constructor` and `toString` are keys like any other, and instances
// keep the hidden classes that Object.create(null) would give up.
function BareObject (): void { /* never called as a function */ }
BareObject.prototype = Object.freeze(Object.create(null) as object)
const newObject = BareObject as unknown as new () => JsonObject

const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const DIGIT_0 = 0x30
const DIGIT_9 = 0x39
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const ESCAPE = /\\(?:(["\\/bfnrt])|u([0-9a-fA-F]{4}))/y
const ESCAPED: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

class Parser {
  readonly #text: string
  readonly #options: StrictJsonOptions
  readonly #depthMax: number
  #valuesLeft: number
  #at = 0
  /** Inside the streamed list: how far the position in bytes is ahead of that in characters. */
  #bytesAhead = 0

  constructor (text: string, options: StrictJsonOptions) {
    this.#text = text
    this.#options = options
    this.#depthMax = options.depthMax ?? JSON_DEPTH_MAX
    this.#valuesLeft = options.valuesMax ?? JSON_VALUES_MAX
  }

  document (): JsonValue {
    const value = this.#value(0)
    this.#skipBlanks()
    if (this.#at < this.#text.length) this.#refuse('data after the end')
    return value
  }

  #value (depth: number): JsonValue {
    if (--this.#valuesLeft < 0) {
      const max = this.#options.valuesMax ?? JSON_VALUES_MAX
      throw new SnapshotterError('LIMIT_EXCEEDED', `${this.#options.what} has more than ${max} values`)
    }
    switch (this.#skipBlanks()) {
      case QUOTE: return this.#string()
      case OPEN_BRACE: return this.#object(depth + 1)
      case OPEN_BRACKET: return this.#array(depth + 1)
      case 0x74: return this.#word('true', true)
      case 0x66: return this.#word('false', false)
      case 0x6e: return this.#word('null', null)
      default: return this.#number()
    }
  }

  #object (depth: number): JsonObject {
    this.#enter(depth)
    const object = new newObject()
    if (this.#skipBlanks() === CLOSE_BRACE) {
      this.#at++
      return object
    }
    for (;;) {
      if (this.#skipBlanks() !== QUOTE) this.#refuse('a key was expected')
      const key = this.#string()
      if (object[key] !== undefined) this.#refuse(`duplicate key ${JSON.stringify(key.slice(0, 64))}`)
      if (this.#skipBlanks() !== COLON) this.#refuse('":" was expected')
      this.#at++
      object[key] = depth === 1 && key === this.#options.list?.key ? this.#list() : this.#value(depth)
      const next = this.#skipBlanks()
      this.#at++
      if (next === CLOSE_BRACE) return object
      if (next !== COMMA) this.#refuse('"," or "}" was expected', this.#at - 1)
    }
  }

  #list (): JsonValue {
    return this.#skipBlanks() === OPEN_BRACKET ? this.#array(2, this.#options.list) : this.#value(1)
  }

  #array (depth: number, list?: StreamedList): JsonValue[] {
    this.#enter(depth)
    const array: JsonValue[] = []
    if (this.#skipBlanks() === CLOSE_BRACKET) {
      this.#at++
      return array
    }
    for (let position = 0; ; position++) {
      if (list === undefined) array.push(this.#value(depth))
      else this.#element(list, position)
      const next = this.#skipBlanks()
      this.#at++
      if (next === CLOSE_BRACKET) return array
      if (next !== COMMA) this.#refuse('"," or "]" was expected', this.#at - 1)
    }
  }

  /** What `usual` takes leaves no values behind, so it does not count as any. */
  #element (list: StreamedList, position: number): void {
    this.#skipBlanks()
    const from = this.#at
    if (position === 0) this.#bytesAhead = Buffer.byteLength(this.#text.slice(0, from)) - from
    const end = list.usual?.(from + this.#bytesAhead) ?? -1
    if (end >= 0) {
      this.#at = end - this.#bytesAhead
      return
    }
    list.each(this.#value(2), position)
    this.#bytesAhead += Buffer.byteLength(this.#text.slice(from, this.#at)) - (this.#at - from)
  }

  #enter (depth: number): void {
    this.#at++
    if (depth > this.#depthMax) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `${this.#options.what} nests deeper than ${this.#depthMax}`)
    }
  }

  #string (): string {
    const text = this.#text
    const start = ++this.#at
    let at = start
    let code = text.charCodeAt(at)
    while (code !== QUOTE && code !== BACKSLASH && code >= 0x20) code = text.charCodeAt(++at)
    this.#at = at
    if (code === QUOTE) {
      this.#at++
      return text.slice(start, at)
    }
    return this.#escapedString(start)
  }

  /** The slow way, from the first backslash (or the defect) on. */
  #escapedString (start: number): string {
    const text = this.#text
    const parts: string[] = []
    let from = start
    for (;;) {
      const code = text.charCodeAt(this.#at)
      if (code === BACKSLASH) {
        parts.push(text.slice(from, this.#at), this.#escape())
        from = this.#at
      } else if (code === QUOTE) {
        break
      } else if (code >= 0x20) {
        this.#at++
      } else {
        this.#refuse(this.#at >= text.length ? 'the text ends inside a string' : 'control character in a string')
      }
    }
    parts.push(text.slice(from, this.#at++))
    const string = parts.join('')
    if (!string.isWellFormed()) this.#refuse('half a surrogate pair', start)
    return string
  }

  #escape (): string {
    ESCAPE.lastIndex = this.#at
    const match = ESCAPE.exec(this.#text)
    if (match === null) this.#refuse('bad escape')
    this.#at = ESCAPE.lastIndex
    const [, short, code] = match
    return short === undefined ? String.fromCharCode(Number.parseInt(code ?? '', 16)) : ESCAPED[short] ?? ''
  }

  #number (): number {
    const start = this.#at
    const first = this.#text.charCodeAt(start)
    if (!(first >= DIGIT_0 && first <= DIGIT_9) && first !== MINUS) {
      this.#refuse(start >= this.#text.length ? 'the text ends early' : 'a value was expected')
    }
    NUMBER.lastIndex = start
    const match = NUMBER.exec(this.#text)
    if (match === null) this.#refuse('bad number')
    this.#at = NUMBER.lastIndex
    const number = Number(match[0])
    if (!Number.isFinite(number)) this.#refuse('number out of range', start)
    return number
  }

  #word<Value> (word: string, value: Value): Value {
    if (!this.#text.startsWith(word, this.#at)) this.#refuse('a value was expected')
    this.#at += word.length
    return value
  }

  /** Moves to the next character that counts and gives its code, NaN at the end. */
  #skipBlanks (): number {
    const text = this.#text
    let code = text.charCodeAt(this.#at)
    while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) code = text.charCodeAt(++this.#at)
    return code
  }

  #refuse (why: string, at = this.#at): never {
    throw new SnapshotterError(this.#options.code, `${this.#options.what}: not strict JSON at character ${at}: ${why}`)
  }
}
