// A Kubo-compatible RPC on loopback that takes CARs into memory and can be made to fail: it dies in the middle of uploads, wants a
// secret, lies about pins, answers web pages. What it pinned is what it was sent whole.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CarReader } from '@ipld/car'
import { boundaryOf, readParts } from '../../src/http/multipart.ts'

export interface TargetKnobs {
  /** Of `authorization`, or the line of another header. */
  secret: readonly [name: string, value: string] | null
  /** Uploads that are reset after so many bytes, the next first; what is not told is let through. */
  dieAfter: number[]
  /** Takes so many bytes and then nothing more. */
  stallAfter: number | null
  /** Answers this instead, to all commands that it picks. */
  answer: ((command: string) => { status: number, body: string, headers?: Record<string, string> } | null) | null
  /** What it says of each root. */
  pinError: string
  /** Says nothing of roots while it imports, and pins at `pin/add`. */
  pinsLater: boolean
  addresses: string[]
}

export interface Target {
  readonly url: string
  readonly knobs: TargetKnobs
  /** Commands with their arguments, in order. */
  readonly asked: string[]
  readonly pins: Set<string>
  readonly blocks: Set<string>
  /** Whole uploads that were begun, probes left out. */
  readonly uploads: () => number
  readonly close: () => Promise<void>
}

const PROBE_BYTES_MAX = 1_000

export async function startTarget (knobs: Partial<TargetKnobs> = {}): Promise<Target> {
  const target: Inner = {
    knobs: { secret: null, dieAfter: [], stallAfter: null, answer: null, pinError: '', pinsLater: false, addresses: [], ...knobs },
    asked: [], pins: new Set(), blocks: new Set(), count: 0
  }
  const server: Server = createServer((request, response) => {
    serve(target, request, response).catch((error: unknown) => { if (!response.headersSent) send(response, 500, { Message: String(error), Code: 0, Type: 'error' }) })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  return {
    ...target,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    uploads: () => target.count,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
    }
  }
}

type Inner = Pick<Target, 'knobs' | 'asked' | 'pins' | 'blocks'> & { count: number }

async function serve (target: Inner, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { knobs } = target
  const url = new URL(request.url ?? '/', 'http://target')
  const command = url.pathname.replace('/api/v0/', '')
  target.asked.push(`${command} ${url.searchParams.toString()}`)
  const secret = knobs.secret
  const scripted = knobs.answer?.(command) ?? null
  const refused = secret !== null && request.headers[secret[0]] !== secret[1]
  if (refused || scripted !== null) {
    request.resume()
    if (scripted === null) response.writeHead(403, { 'content-type': 'text/plain' }).end('403 - Forbidden\n')
    else response.writeHead(scripted.status, scripted.headers ?? {}).end(scripted.body)
    return
  }
  const args = url.searchParams.getAll('arg')
  if (command === 'dag/import') await importCar(target, request, response, url.searchParams.get('pin-roots') !== 'false')
  else if (command === 'pin/add') {
    for (const cid of args) target.pins.add(cid)
    send(response, 200, { Pins: args })
  } else if (command === 'id') send(response, 200, { ID: 'x', Addresses: knobs.addresses })
  else if (command === 'swarm/connect') send(response, 200, { Strings: [`connect ${args[0] ?? ''} success`] })
  else send(response, 404, 'no such command')
}

async function importCar (target: Inner, request: IncomingMessage, response: ServerResponse, pin: boolean): Promise<void> {
  const { knobs } = target
  const isProbe = Number(request.headers['content-length']) < PROBE_BYTES_MAX
  if (!isProbe) target.count++
  const dieAfter = isProbe ? undefined : knobs.dieAfter.shift()
  const stallAfter = isProbe ? null : knobs.stallAfter
  let bytes = 0
  const body = async function * (): AsyncGenerator<Uint8Array> {
    for await (const piece of request as AsyncIterable<Uint8Array>) {
      bytes += piece.byteLength
      if (dieAfter !== undefined && bytes >= dieAfter) request.socket.resetAndDestroy()
      if (stallAfter !== null && bytes >= stallAfter) await new Promise((resolve) => { request.once('close', resolve) })
      yield piece
    }
  }
  const lines: object[] = []
  for await (const { body: car } of readParts(body(), boundaryOf(request.headers['content-type']))) {
    const pieces: Uint8Array[] = []
    for await (const piece of car) pieces.push(Buffer.from(piece))
    const reader = await CarReader.fromBytes(Buffer.concat(pieces))
    for await (const { cid } of reader.blocks()) target.blocks.add(cid.toString())
    for (const root of pin && !knobs.pinsLater ? await reader.getRoots() : []) {
      if (knobs.pinError === '') target.pins.add(root.toString())
      lines.push({ Root: { Cid: { '/': root.toString() }, PinErrorMsg: knobs.pinError } })
    }
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
}

function send (response: ServerResponse, status: number, body: object | string): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(typeof body === 'string' ? body : JSON.stringify(body))
}
