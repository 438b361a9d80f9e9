// containerd's filter language: `path[op value][,…]` where commas mean AND and several strings OR; ops `==`, `!=`, `~=`,
// none asks for presence. What fields there are, the caller says. Rules: containerd pkg/filters.
import { FILTER_BYTES_MAX, FILTERS_MAX } from './limits.ts'
import { SnapshotterError } from './errors.ts'
import { compilePattern } from './filter-regexp.ts'
import { FilterScanner } from './filter-scanner.ts'
import type { Labels } from './labels.ts'

export type Filter<Info> = (info: Info) => boolean

/** The field at `path` of what is filtered; null when it has none. */
export type FieldOf<Info> = (info: Info, path: readonly string[]) => string | null

/**
 * One predicate for all of `filters`; none, or an empty one among them, matches everything.
 * @throws INVALID_ARGUMENT naming the filter and the place.
 */
export function parseFilters<Info> (filters: readonly string[], fieldOf: FieldOf<Info>): Filter<Info> {
  if (filters.length > FILTERS_MAX) throw new SnapshotterError('INVALID_ARGUMENT', `${filters.length} filters, limit ${FILTERS_MAX}`)
  if (filters.length === 0) return () => true
  const parsed = filters.map((filter) => parseFilter(filter, fieldOf))
  return (info) => parsed.some((filter) => filter(info))
}

function parseFilter<Info> (text: string, fieldOf: FieldOf<Info>): Filter<Info> {
  if (Buffer.byteLength(text) > FILTER_BYTES_MAX) throw new SnapshotterError('INVALID_ARGUMENT', `a filter is longer than ${FILTER_BYTES_MAX} bytes`)
  if (text === '') return () => true
  const scanner = new FilterScanner(text)
  const selectors = [parseSelector(scanner, fieldOf)]
  while (scanner.peek() !== '') {
    if (scanner.peek() !== ',') throw scanner.error('expected a comma or the end')
    scanner.next()
    selectors.push(parseSelector(scanner, fieldOf))
  }
  return (info) => selectors.every((selector) => selector(info))
}

function parseSelector<Info> (scanner: FilterScanner, fieldOf: FieldOf<Info>): Filter<Info> {
  const path = parsePath(scanner)
  if (scanner.peek() === ',' || scanner.peek() === '') return (info) => fieldOf(info, path) !== null

  const operator = scanner.next()
  if (operator.type !== 'operator') throw scanner.error('expected ==, != or ~=')
  const value = parseValue(scanner, operator.text === '~=')
  switch (operator.text) {
    case '==': return (info) => fieldOf(info, path) === value
    case '!=': return (info) => (fieldOf(info, path) ?? '') !== value
    case '~=': {
      const pattern = compilePattern(value)
      return (info) => pattern.test(fieldOf(info, path) ?? '')
    }
    default: throw scanner.error(`unknown operator ${operator.text}`)
  }
}

function parsePath (scanner: FilterScanner): readonly string[] {
  const path = [parseField(scanner)]
  while (scanner.peek() === '.') {
    scanner.next()
    path.push(parseField(scanner))
  }
  return path
}

function parseField (scanner: FilterScanner): string {
  const token = scanner.next()
  if (token.type === 'word' || (token.type === 'quoted' && token.quote === '"')) return token.text
  throw scanner.error('expected a field name')
}

function parseValue (scanner: FilterScanner, isPattern: boolean): string {
  const token = scanner.next()
  if (token.type === 'value' || token.type === 'word') return token.text
  if (token.type !== 'quoted') throw scanner.error('expected a value')
  // `/…/` and `|…|` save escaping in patterns and mean nothing elsewhere.
  if (token.quote !== '"' && !isPattern) throw scanner.error(`${token.quote} quotes a pattern only, after ~=`)
  return token.text
}

/** `labels.<key>`, where the key may have dots of its own. */
export function labelAt (labels: Labels, path: readonly string[]): string | null {
  const key = path.slice(1).join('.')
  return Object.hasOwn(labels, key) ? labels[key] ?? null : null
}
