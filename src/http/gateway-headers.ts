// Response headers of the trustless gateway (trustless-gateway and path-gateway specs). Blocks under a CID never
// change, so everything that is served may be kept for ever.
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { entityBytesText } from './gateway-range.ts'
import type { CarQuery, GatewayRequest } from './gateway-request.ts'

export type Headers = Record<string, string>

const CORS_ORIGIN: Headers = { 'Access-Control-Allow-Origin': '*' }
const EXPOSED = 'Content-Length, Content-Location, ETag, Retry-After, X-Ipfs-Path, X-Ipfs-Roots'

/** On every answer: browsers verify blocks too. */
export function corsHeaders (): Headers {
  return { ...CORS_ORIGIN, 'Access-Control-Expose-Headers': EXPOSED }
}

export function preflightHeaders (): Headers {
  return {
    ...CORS_ORIGIN,
    Allow: 'GET, HEAD, OPTIONS',
    'Access-Control-Allow-Methods': 'GET, HEAD, OPTIONS',
    'Access-Control-Allow-Headers': 'Accept, Cache-Control, Content-Type, If-None-Match, Range, User-Agent, X-Requested-With',
    'Access-Control-Max-Age': '86400'
  }
}

/** What a 304 repeats. */
export function cacheHeaders (request: GatewayRequest): Headers {
  return {
    ETag: etagOf(request),
    'Cache-Control': 'public, max-age=29030400, immutable',
    Vary: 'Accept',
    ...request.contentLocation === null ? {} : { 'Content-Location': request.contentLocation }
  }
}

/** `roots`: the CID of each path segment, the root first. */
export function contentHeaders (request: GatewayRequest, roots: readonly CID[]): Headers {
  const { format } = request
  const extension = format.kind === 'raw' ? 'bin' : 'car'
  return {
    ...cacheHeaders(request),
    ...format.kind === 'car' ? { 'Accept-Ranges': 'none' } : {},
    'Content-Type': format.kind === 'raw' ? 'application/vnd.ipld.raw' : carContentType(format),
    'Content-Disposition': contentDisposition(request.filename, `${request.root.toString()}.${extension}`),
    'X-Content-Type-Options': 'nosniff',
    'X-Ipfs-Path': request.pathname,
    'X-Ipfs-Roots': roots.map(String).join(',')
  }
}

function carContentType (format: CarQuery): string {
  return `application/vnd.ipld.car; version=1; order=dfs; dups=${format.dups ? 'y' : 'n'}`
}

/** Strong for a block. Weak for a CAR: another version of this program may frame the same blocks otherwise. */
export function etagOf ({ root, format, pathname }: GatewayRequest): string {
  if (format.kind === 'raw') return `"${root.toString()}.raw"`
  const bytes = format.bytes === null ? '' : `.${entityBytesText(format.bytes)}`
  const path = createHash('sha256').update(pathname).digest('hex').slice(0, 16)
  return `W/"${format.scope}.${root.toString()}.car.dups-${format.dups ? 'y' : 'n'}${bytes}.${path}"`
}

/** RFC 9110 §13.1.2: weak comparison; `*` matches what exists. */
export function matchesEtag (ifNoneMatch: string | null, etag: string): boolean {
  if (ifNoneMatch === null) return false
  const opaque = (tag: string): string => tag.trim().replace(/^W\//, '')
  return ifNoneMatch.trim() === '*' || ifNoneMatch.split(',').some((tag) => opaque(tag) === opaque(etag))
}

/** A quoted ASCII form for old clients, and RFC 8187's UTF-8 form beside it when a name was asked for. */
export function contentDisposition (filename: string | null, fallback: string): string {
  const name = filename ?? fallback
  const ascii = name.replace(/[^\x20-\x7e]|["\\%]/gu, '_')
  if (filename === null) return `attachment; filename="${ascii}"`
  const encoded = encodeURIComponent(name.toWellFormed()).replace(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`
}
