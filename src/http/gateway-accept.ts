// Content negotiation of a trustless gateway (trustless-gateway spec, IPIP-412 and IPIP-523; RFC 9110 §12.5.1): the
// `format` and `car-*` query parameters win over the Accept header, whose variants are tried by their q-values.
import { problem } from './gateway-problem.ts'

export type Format =
  | { readonly kind: 'raw' }
  | { readonly kind: 'ipns-record' }
  | { readonly kind: 'car', readonly dups: boolean }

interface Variant {
  readonly type: string
  readonly params: ReadonlyMap<string, string>
  readonly q: number
}

const RAW = 'application/vnd.ipld.raw'
const CAR = 'application/vnd.ipld.car'
const IPNS_RECORD = 'application/vnd.ipfs.ipns-record'
const FOREIGN_FORMATS = ['tar', 'dag-json', 'dag-cbor', 'json', 'cbor', 'html']
const OFFERED = 'this trustless gateway offers format=raw and format=car'

/** @throws 400 without a format or with bad parameters, 406 for formats and variants that are not offered. */
export function negotiate (query: URLSearchParams, accept: string | undefined): Format {
  const variants = parseAccept(accept ?? '')
  const format = query.get('format')
  if (format === 'raw' || format === 'ipns-record') return { kind: format }
  if (format === 'car') return carFormat(query, variants.find(({ type }) => type === CAR)?.params ?? new Map())
  if (format !== null) throw problem(FOREIGN_FORMATS.includes(format) ? 406 : 400, `format=${quoted(format)}: ${OFFERED}`)

  let refusal: unknown = null
  for (const { type, params } of variants) {
    if (type === RAW) return { kind: 'raw' }
    if (type === IPNS_RECORD) return { kind: 'ipns-record' }
    if (type !== CAR) continue
    try {
      return carFormat(query, params)
    } catch (error) {
      refusal ??= error
    }
  }
  if (refusal !== null) throw refusal as Error
  const anything = variants.every(({ type }) => type === '*/*' || type === 'application/*')
  throw anything
    ? problem(400, `no format asked for: ${OFFERED}, by query or Accept header`)
    : problem(406, `none of the accepted types can be served: ${OFFERED}`)
}

function carFormat (query: URLSearchParams, params: ReadonlyMap<string, string>): Format {
  const read = (name: string, allowed: readonly string[]): string => {
    const asked = query.get(`car-${name}`)
    const value = asked ?? params.get(name) ?? ''
    if (value === '' || allowed.includes(value)) return value
    throw problem(asked === null ? 406 : 400, `CAR ${name}=${quoted(value)} is not offered, only ${allowed.join(' or ')}`)
  }
  read('version', ['1'])
  read('order', ['dfs', 'unk'])
  return { kind: 'car', dups: read('dups', ['y', 'n']) === 'y' }
}

/** Media ranges with q > 0, best first, ties in the order of the header; parameters in lower-case names. */
export function parseAccept (header: string): Variant[] {
  return splitQuoted(header, ',')
    .map(parseVariant)
    .filter(({ type, q }) => type !== '' && q > 0)
    .sort((a, b) => b.q - a.q)
}

function parseVariant (text: string): Variant {
  const [type = '', ...rest] = splitQuoted(text, ';').map((part) => part.trim())
  const params = new Map<string, string>()
  for (const part of rest) {
    const equals = part.indexOf('=')
    if (equals > 0) params.set(part.slice(0, equals).trim().toLowerCase(), unquote(part.slice(equals + 1).trim()))
  }
  const q = params.get('q')
  params.delete('q')
  return { type: type.toLowerCase(), params, q: q === undefined ? 1 : /^(0(\.\d{0,3})?|1(\.0{0,3})?)$/.test(q) ? Number(q) : 0 }
}

function splitQuoted (text: string, separator: string): string[] {
  const parts: string[] = []
  let part = ''
  let inQuotes = false
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at)
    if (char === separator && !inQuotes) {
      parts.push(part)
      part = ''
      continue
    }
    if (char === '"') inQuotes = !inQuotes
    part += char
    if (char === '\\' && inQuotes) part += text.charAt(++at)
  }
  return [...parts, part]
}

function unquote (value: string): string {
  return value.startsWith('"') && value.endsWith('"') && value.length > 1 ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value
}

function quoted (value: string): string {
  return JSON.stringify(value.slice(0, 64))
}
