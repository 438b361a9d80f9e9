// The daemon's control socket: HTTP over a unix socket that only root may open. A request's answer is JSON lines:
// {"event": …} while it works, then one {"result": …} or {"error": {code, message}}.
import { rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { once } from 'node:events'
import { asCall } from '../base/call-id.ts'
import { asSnapshotterError, SnapshotterError, systemCode } from '../base/errors.ts'
import { CONTROL_BODY_BYTES_MAX, REFERENCE_CHARACTERS_MAX } from '../base/limits.ts'
import { bindPrivately } from '../base/private-socket.ts'

export interface ControlCall {
  readonly body: unknown
  readonly signal: AbortSignal
  readonly emit: (event: object) => void
}

/** Returns the result object. */
export type ControlHandler = (call: ControlCall) => Promise<object>

/** By path, e.g. `/pull`; looked up at each call, so that handlers may come later. */
export type ControlHandlers = Readonly<Record<string, ControlHandler>>

/** @throws FAILED_PRECONDITION when another daemon answers on the socket. */
export async function serveControl (path: string, handlers: ControlHandlers): Promise<{ close: () => Promise<void> }> {
  await takeSocket(path)
  const server = createServer((request, response) => { void answer(handlers, request, response) })
  await bindPrivately(path, async (young) => {
    server.listen(young)
    await once(server, 'listening')
  })
  return { close: async () => { await closeServer(server); await rm(path, { force: true }) } }
}

/** Removes a socket that nobody listens on any more. */
export async function takeSocket (path: string): Promise<void> {
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => { probe.destroy(); resolve(true) })
    // Whoever is too busy to answer (EAGAIN) is there, too.
    probe.once('error', (error) => { resolve(!['ENOENT', 'ECONNREFUSED'].includes(systemCode(error) ?? '')) })
  })
  if (answered) throw new SnapshotterError('FAILED_PRECONDITION', `${path} is served by another process; stop it first`)
  await rm(path, { force: true })
}

async function answer (handlers: ControlHandlers, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const abort = new AbortController()
  response.once('close', () => { abort.abort(new SnapshotterError('CANCELLED', 'the client went away')) })
  response.setHeader('content-type', 'application/x-ndjson')
  const line = (value: object): void => { if (!response.destroyed) response.write(`${JSON.stringify(value)}\n`) }
  try {
    const handler = handlers[request.url ?? '']
    if (handler === undefined) throw new SnapshotterError('NOT_FOUND', `the daemon has no call ${request.url ?? ''}, or is still starting`)
    const body = await readBody(request)
    const path = request.url ?? ''
    const result = asCall(path.slice(1), `${path.slice(1)} ${subjectOf(body)}`.trim(), async () =>
      await handler({ body, signal: abort.signal, emit: (event) => { line({ event }) } }))
    line({ result: await result })
  } catch (error) {
    const failure = asSnapshotterError(error)
    line({ error: { code: failure.code, message: failure.message } })
  }
  response.end()
}

/** What the call is about, for people. */
function subjectOf (body: unknown): string {
  const { reference } = (body ?? {}) as { readonly reference?: unknown }
  return typeof reference === 'string' ? reference.slice(0, REFERENCE_CHARACTERS_MAX) : ''
}

async function readBody (request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.byteLength
    if (bytes > CONTROL_BODY_BYTES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `control request over ${CONTROL_BODY_BYTES_MAX} bytes`)
    parts.push(part)
  }
  if (bytes === 0) return null
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8')) as unknown
  } catch (cause) {
    throw new SnapshotterError('INVALID_ARGUMENT', 'control request is no JSON', {}, { cause })
  }
}

async function closeServer (server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
}
