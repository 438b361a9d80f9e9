// Tokens of containerd's filter language. What a character means depends on whether an operator went before: a value
// runs to the next comma or white space, a field is a word. Rules: containerd pkg/filters.
import { SnapshotterError } from './errors.ts'
import { unquote } from './filter-quote.ts'

export type Token =
  | { readonly type: 'end' }
  | { readonly type: 'separator', readonly text: ',' | '.' }
  | { readonly type: 'operator', readonly text: string }
  | { readonly type: 'word' | 'value', readonly text: string }
  | { readonly type: 'quoted', readonly text: string, readonly quote: string }

const SPACE = /\s/u
const WORD = /[A-Za-z0-9_]/
const OPERATOR = /[=!~]/
const QUOTE = /["/|]/
// Unicode's letters, marks, numbers, punctuation and symbols: what Go calls graphic, less white space.
const GRAPHIC = /[\p{L}\p{M}\p{N}\p{P}\p{S}]/u

export class FilterScanner {
  readonly #input: string
  #at = 0
  #wantsValue = false

  constructor (input: string) {
    this.#input = input
  }

  /** The next character, white space included, or '' at the end. */
  peek (): string {
    const point = this.#input.codePointAt(this.#at)
    return point === undefined ? '' : String.fromCodePoint(point)
  }

  next (): Token {
    while (SPACE.test(this.peek())) this.#at += this.peek().length
    const start = this.peek()
    if (start === '') return { type: 'end' }
    if (QUOTE.test(start)) return { type: 'quoted', quote: start, text: this.#quoted(start) }
    if (start === ',' || start === '.') {
      this.#at++
      this.#wantsValue = false
      return { type: 'separator', text: start }
    }
    if (OPERATOR.test(start)) {
      this.#wantsValue = true
      return { type: 'operator', text: this.#take(OPERATOR) }
    }
    if (this.#wantsValue && GRAPHIC.test(start)) {
      this.#wantsValue = false
      return { type: 'value', text: this.#take(GRAPHIC, ',') }
    }
    if (WORD.test(start)) return { type: 'word', text: this.#take(WORD) }
    throw this.error(`unexpected ${JSON.stringify(start)}`)
  }

  error (what: string): SnapshotterError {
    return new SnapshotterError('INVALID_ARGUMENT', `filter ${JSON.stringify(this.#input.slice(0, 200))}: ${what} at character ${this.#at}`)
  }

  #take (accepted: RegExp, except = ''): string {
    const from = this.#at
    for (let next = this.peek(); next !== '' && next !== except && accepted.test(next); next = this.peek()) this.#at += next.length
    return this.#input.slice(from, this.#at)
  }

  #quoted (quote: string): string {
    let end = this.#at + 1
    while (end < this.#input.length && this.#input[end] !== quote) {
      if (this.#input[end] === '\n') break
      end += this.#input[end] === '\\' ? 2 : 1
    }
    if (this.#input[end] !== quote) throw this.error('a quoted text does not end')
    const text = unquote(this.#input.slice(this.#at + 1, end), quote)
    if (text === null) throw this.error('a quoted text has an escape that is none')
    this.#at = end + 1
    return text
  }
}
