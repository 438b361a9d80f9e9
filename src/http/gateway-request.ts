// An HTTP request as the gateway understands it: parsed and refused before any block is touched.
import type { IncomingMessage } from 'node:http'
import { CID } from 'multiformats/cid'
import { IDENTITY_BYTES_MAX, PATH_DEPTH_MAX } from '../base/limits.ts'
import { CODE_IDENTITY } from '../verify/cid.ts'
import { type Format, negotiate } from './gateway-accept.ts'
import { problem } from './gateway-problem.ts'
import { type EntityBytes, parseEntityBytes } from './gateway-range.ts'

export type DagScope = 'block' | 'entity' | 'all'

export interface CarQuery {
  readonly kind: 'car'
  readonly dups: boolean
  readonly scope: DagScope
  readonly bytes: EntityBytes | null
}

export interface GatewayRequest {
  readonly root: CID
  /** Decoded, none empty. */
  readonly segments: readonly string[]
  readonly format: CarQuery | { readonly kind: 'raw' }
  /** As asked, still percent-encoded, without the query. */
  readonly pathname: string
  readonly filename: string | null
  readonly onlyIfCached: boolean
  readonly ifNoneMatch: string | null
  /** Where this answer may be cached apart from others, when the Accept header chose the format. */
  readonly contentLocation: string | null
}

const SCOPES: readonly DagScope[] = ['block', 'entity', 'all']

/** @throws 400, 404, 406 or 501 with a text for the client. */
export function parseRequest (request: Pick<IncomingMessage, 'url' | 'headers'>): GatewayRequest {
  const [pathname = '', ...queryParts] = (request.url ?? '').split('?')
  const query = new URLSearchParams(queryParts.join('?'))
  const [root = '', namespace = '', name = '', ...path] = pathname.split('/')
  if (root !== '' || (namespace !== 'ipfs' && namespace !== 'ipns') || name === '') {
    throw problem(404, 'this is a trustless gateway: GET /ipfs/{cid}[/{path}]?format=raw|car')
  }
  if (namespace === 'ipns') throw problem(501, 'this gateway serves blocks by CID and holds no IPNS records')

  const { headers } = request
  const format = negotiate(query, headers.accept)
  if (format.kind === 'ipns-record') throw problem(400, 'an IPNS record is asked for under /ipns/{name}, not under /ipfs/')
  const segments = path.filter((segment) => segment !== '').map(decodeSegment)
  if (segments.length > PATH_DEPTH_MAX) throw problem(400, `path of ${segments.length} segments, limit ${PATH_DEPTH_MAX}`)
  if (format.kind === 'raw' && segments.length > 0) throw problem(400, 'format=raw takes a bare CID; a path needs format=car')
  return {
    root: parseRoot(name),
    segments,
    format: format.kind === 'raw' ? format : carQuery(query, format.dups),
    pathname,
    filename: query.get('filename'),
    onlyIfCached: /(^|[\s,])only-if-cached([\s,]|$)/i.test(headers['cache-control'] ?? ''),
    ifNoneMatch: headers['if-none-match'] ?? null,
    contentLocation: contentLocation(pathname, query, format, headers.accept ?? '*/*')
  }
}

function parseRoot (text: string): CID {
  let cid: CID
  try {
    cid = CID.parse(decodeURIComponent(text))
  } catch {
    throw problem(400, `not a CID: ${JSON.stringify(text.slice(0, 120))}`)
  }
  const { code, size } = cid.multihash
  if (code === CODE_IDENTITY && size > IDENTITY_BYTES_MAX) throw problem(400, `identity CID of ${size} bytes, limit ${IDENTITY_BYTES_MAX}`)
  return cid
}

function decodeSegment (segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw problem(400, `bad percent-encoding in path segment ${JSON.stringify(segment.slice(0, 120))}`)
  }
}

function carQuery (query: URLSearchParams, dups: boolean): CarQuery {
  const asked = query.get('dag-scope') ?? 'all'
  const scope = SCOPES.find((known) => known === asked)
  if (scope === undefined) throw problem(400, `dag-scope=${JSON.stringify(asked.slice(0, 64))}: only block, entity or all`)
  const text = query.get('entity-bytes')
  if (text === null) return { kind: 'car', dups, scope, bytes: null }
  // The parameter implies the entity scope; a client that wants one block gets no more than that.
  return { kind: 'car', dups, scope: scope === 'block' ? 'block' : 'entity', bytes: parseEntityBytes(text) }
}

/** Null when the URL alone brings this same answer and no Accept header took part. */
function contentLocation (pathname: string, query: URLSearchParams, format: Format, accept: string): string | null {
  if (query.has('format') && accept === '*/*') return null
  const full = new URLSearchParams(query)
  full.set('format', format.kind)
  if (format.kind === 'car') full.set('car-dups', format.dups ? 'y' : 'n')
  return `${pathname}?${full.toString()}`
}
