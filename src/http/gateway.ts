// A trustless IPFS gateway over a block store (trustless-gateway spec, 2026-03): single blocks and CAR streams, never
// deserialised. Every block is checked as it is read; what cannot be served whole ends as an error or a cut stream.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { asSnapshotterError } from '../base/errors.ts'
import { GATEWAY_REQUESTS_MAX, GATEWAY_STALL_MS } from '../base/limits.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { BlockStoreReadonly } from '../ipfs/block-store.ts'
import { carStream } from './gateway-car.ts'
import { cacheHeaders, contentHeaders, corsHeaders, etagOf, type Headers, matchesEtag, preflightHeaders } from './gateway-headers.ts'
import { listen, type ListenAddress } from './gateway-listen.ts'
import { resolvePath } from './gateway-path.ts'
import { answerTo, problem } from './gateway-problem.ts'
import { type CarQuery, type GatewayRequest, parseRequest } from './gateway-request.ts'
import { planCar, walkCar } from './gateway-walk.ts'

export interface GatewayOptions {
  readonly store: BlockStoreReadonly
  readonly listen: ListenAddress
  readonly log?: Log
  /** Requests at once before the gateway answers 429. Default GATEWAY_REQUESTS_MAX. */
  readonly requestsMax?: number
  /** Milliseconds without a byte sent or taken before a connection is cut. Default GATEWAY_STALL_MS. */
  readonly stallMs?: number
}

export interface Gateway {
  /** `http://host:port`. */
  readonly url: string
  /** Cuts running answers off; leaves the store open. */
  readonly close: () => Promise<void>
}

interface Exchange {
  readonly store: BlockStoreReadonly
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
}

/** @throws ENVIRONMENT when the address cannot be had. */
export async function startGateway (options: GatewayOptions): Promise<Gateway> {
  const { store, log = silentLog, requestsMax = GATEWAY_REQUESTS_MAX, stallMs = GATEWAY_STALL_MS } = options
  let running = 0
  const server = createServer((request, response) => {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const exchange: Exchange = { store, request, response, signal: gone.signal }
    running++
    void serve(exchange, running > requestsMax, log).finally(() => running--)
  })
  server.timeout = stallMs
  const url = await listen(server, options.listen)
  return {
    url,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    }
  }
}

async function serve (exchange: Exchange, overloaded: boolean, log: Log): Promise<void> {
  const { request, response, signal } = exchange
  try {
    if (overloaded) throw problem(429, 'too many requests at once', { 'Retry-After': '1' })
    await dispatch(exchange)
  } catch (error) {
    const { code, message } = asSnapshotterError(error)
    const { status, headers, text } = answerTo(error)
    if (signal.aborted) log.debug({ path: request.url }, 'client left')
    else if (response.headersSent || status >= 500) log.warn({ path: request.url, code, reason: message }, 'block not served')
    else log.debug({ path: request.url, status, reason: message }, 'request refused')
    // After the status line only a cut connection tells the client that the CAR is not whole.
    if (response.headersSent) response.destroy()
    else sendText(exchange, status, headers, text)
  }
}

async function dispatch (exchange: Exchange): Promise<void> {
  const { request, response } = exchange
  if (request.method === 'OPTIONS') {
    response.writeHead(204, preflightHeaders()).end()
    return
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    throw problem(405, `${request.method ?? 'this method'}: only GET, HEAD and OPTIONS`, { Allow: 'GET, HEAD, OPTIONS' })
  }
  const asked = parseRequest(request)
  if (!exchange.store.has(asked.root)) {
    throw problem(asked.onlyIfCached ? 412 : 404, `block ${asked.root.toString()} is not here`)
  }
  if (matchesEtag(asked.ifNoneMatch, etagOf(asked))) {
    response.writeHead(304, { ...corsHeaders(), ...cacheHeaders(asked) }).end()
    return
  }
  await (asked.format.kind === 'raw' ? sendBlock(exchange, asked) : sendCar(exchange, asked, asked.format))
}

async function sendBlock (exchange: Exchange, asked: GatewayRequest): Promise<void> {
  const bytes = await exchange.store.get(asked.root, { signal: exchange.signal })
  if (bytes === null) throw problem(404, `block ${asked.root.toString()} is not here`)
  writeHead(exchange, { ...contentHeaders(asked, [asked.root]), 'Content-Length': String(bytes.byteLength) })
  await finish(exchange, [bytes])
}

async function sendCar (exchange: Exchange, asked: GatewayRequest, query: CarQuery): Promise<void> {
  const { store, signal } = exchange
  const path = await resolvePath(store, asked.root, asked.segments, signal)
  const plan = await planCar(store, path, query, signal)
  writeHead(exchange, contentHeaders(asked, path.roots))
  await finish(exchange, carStream(path.terminal, walkCar(store, plan, signal)))
}

function writeHead ({ response }: Exchange, headers: Headers): void {
  response.writeHead(200, { ...corsHeaders(), ...headers })
}

/** One buffer on its way at a time: a slow client slows the reading down. */
async function finish ({ request, response, signal }: Exchange, body: AsyncIterable<Uint8Array> | Uint8Array[]): Promise<void> {
  if (request.method === 'HEAD') response.end()
  else await pipeline(Readable.from(body, { highWaterMark: 1 }), response, { signal })
}

function sendText ({ request, response }: Exchange, status: number, headers: Headers, text: string): void {
  const body = Buffer.from(`${text}\n`)
  response.writeHead(status, {
    ...corsHeaders(),
    ...headers,
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': String(body.byteLength),
    'X-Content-Type-Options': 'nosniff'
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}
