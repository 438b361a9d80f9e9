// containerd's filter language over snapshots: `path[op value][,…]` where commas mean AND and several strings OR; ops
// `==`, `!=`, `~=`, none asks for presence. Fields: name, parent, kind, labels.<key>. Rules: containerd pkg/filters.
import { FILTER_BYTES_MAX, FILTERS_MAX } from '../base/limits.ts'
import { SnapshotterError } from '../base/errors.ts'
import { compilePattern } from './filter-regexp.ts'
import { FilterScanner } from './filter-scanner.ts'
import type { SnapshotInfo } from './snapshot.ts'

export type Filter = (info: SnapshotInfo) => boolean

/**
 * One predicate for all of `filters`; none, or an empty one among them, matches everything.
 * @throws INVALID_ARGUMENT naming the filter and the place.
 */
export function parseFilters (filters: readonly string[]): Filter {
  if (filters.length > FILTERS_MAX) throw new SnapshotterError('INVALID_ARGUMENT', `${filters.length} filters, limit ${FILTERS_MAX}`)
  if (filters.length === 0) return () => true
  const parsed = filters.map(parseFilter)
  return (info) => parsed.some((filter) => filter(info))
}

function parseFilter (text: string): Filter {
  if (Buffer.byteLength(text) > FILTER_BYTES_MAX) throw new SnapshotterError('INVALID_ARGUMENT', `a filter is longer than ${FILTER_BYTES_MAX} bytes`)
  if (text === '') return () => true
  const scanner = new FilterScanner(text)
  const selectors = [parseSelector(scanner)]
  while (scanner.peek() !== '') {
    if (scanner.peek() !== ',') throw scanner.error('expected a comma or the end')
    scanner.next()
    selectors.push(parseSelector(scanner))
  }
  return (info) => selectors.every((selector) => selector(info))
}

function parseSelector (scanner: FilterScanner): Filter {
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

/** Null when absent. `name` and `parent` are always there, perhaps empty. */
function fieldOf (info: SnapshotInfo, path: readonly string[]): string | null {
  switch (path[0]) {
    case 'name': return info.name
    case 'parent': return info.parent
    case 'kind': return info.kind
    case 'labels': {
      const key = path.slice(1).join('.')
      return Object.hasOwn(info.labels, key) ? info.labels[key] ?? null : null
    }
    default: return null
  }
}
