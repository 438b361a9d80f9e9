// What `[http]` offers to people and monitoring on this machine: plain GETs on a loopback port.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { asSnapshotterError, messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { HTTP_REQUEST_MS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { whyStranger } from './loopback.ts'

export interface OperatorAnswer {
  readonly status: number
  /** With its parameters. */
  readonly type: string
  readonly body: string
  /** Content-Security-Policy; default: nothing may run or be loaded. */
  readonly policy?: string
}

/** By path, e.g. `/metrics`; looked up at each request, so that pages may come later. */
export type OperatorRoutes = Readonly<Record<string, () => Promise<OperatorAnswer>>>

export interface OperatorServer {
  readonly url: string
  readonly close: () => Promise<void>
}

const PLAIN = 'text/plain; charset=utf-8'
const NOTHING = "default-src 'none'; frame-ancestors 'none'"

/** `address`: HOST:PORT; port 0 takes any. @throws ENVIRONMENT when it cannot be had. */
export async function serveOperator (address: string, routes: OperatorRoutes, log: Log): Promise<OperatorServer> {
  const split = address.lastIndexOf(':')
  const host = address.slice(0, split)
  const server = createServer({ requestTimeout: HTTP_REQUEST_MS_MAX, headersTimeout: HTTP_REQUEST_MS_MAX, maxHeaderSize: 16_384 }, (request, response) => {
    const { port } = server.address() as AddressInfo
    answer(routes, whyStranger(request, host, port), request)
      .then((said) => { send(request, response, said) })
      .catch((error: unknown) => {
        const failure = asSnapshotterError(error)
        log.warn({ path: request.url, error: failure.line }, 'http request failed')
        send(request, response, { status: 500, type: PLAIN, body: `${failure.line}\n` })
      })
  })
  server.listen(Number(address.slice(split + 1)), host.replace(/^\[(.*)\]$/, '$1'))
  await once(server, 'listening').catch((cause: unknown) => {
    const why = systemCode(cause) === 'EADDRINUSE' ? 'it is served by another process' : systemCode(cause) ?? messageOf(cause)
    throw new SnapshotterError('ENVIRONMENT', `cannot listen on ${address} ([http] address): ${why}`, {}, { cause })
  })
  const url = `http://${host}:${(server.address() as AddressInfo).port}`
  log.info({ url }, 'serving status page, metrics and health')
  return {
    url,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
    }
  }
}

async function answer (routes: OperatorRoutes, stranger: string | null, request: IncomingMessage): Promise<OperatorAnswer> {
  if (stranger !== null) return refusal(403, stranger)
  if (request.method !== 'GET' && request.method !== 'HEAD') return refusal(405, 'only GET and HEAD')
  const path = request.url?.split('?', 1)[0] ?? '/'
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  return route === undefined ? refusal(404, `nothing here; there is ${Object.keys(routes).join(', ')}`) : await route()
}

function refusal (status: number, why: string): OperatorAnswer {
  return { status, type: PLAIN, body: `${why}\n` }
}

function send (request: IncomingMessage, response: ServerResponse, { status, type, body, policy = NOTHING }: OperatorAnswer): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'content-security-policy': policy,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin'
  })
  response.end(request.method === 'HEAD' ? '' : body)
}
