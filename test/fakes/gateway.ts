// A trustless gateway on loopback that serves fixture CARs (or any blocks) and can be made to misbehave in every way we
// know of: slow, hanging, stalling, dripping, cutting, lying, endless, oversized, rate-limiting, redirecting, raw-only,
// CAR-only. Every request is logged. Knobs may be turned while it runs.
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { CarReader } from '@ipld/car'
import { CID } from 'multiformats/cid'
import { carPieces, dagBlocks, type FakeBlocks } from './gateway-dag.ts'

export interface Knobs {
  /** Formats it knows; the other one gets `refusal`. */
  formats: 'both' | 'raw' | 'car'
  /** Status of a format that it does not know; 200 answers with an HTML page. */
  refusal: number
  /** Before the headers. */
  delayMs: number
  /** Never answers: all requests, or those that it picks. */
  hang: boolean | ((request: LoggedRequest) => boolean)
  /** Answers this status (and headers) instead; null goes on as usual. */
  status: ((request: LoggedRequest) => { status: number, headers?: Record<string, string> } | null) | null
  /** Flips a bit of this byte of each body. */
  corruptAt: number | null
  /** Other bytes of the same length instead of each block, in an otherwise right body. */
  lie: boolean
  /** Ends the body after so many bytes: properly (`clean`), or by cutting the connection. */
  cutAt: { bytes: number, clean: boolean } | null
  /** Goes silent after so many bytes of the body. */
  stallAt: number | null
  /** One byte every so many milliseconds. */
  dripMs: number | null
  /** After the body come blocks that nobody asked for, for ever. */
  endless: boolean
  /** Claims this Content-Length and sends zeros. */
  huge: number | null
  /** Where to send the client instead. */
  redirect: ((request: LoggedRequest) => string | null) | null
  /** CIDs (as text) that it does not have. */
  missing: Set<string>
  /** Knows no entity-bytes: sends the whole entity. */
  ignoresRanges: boolean
  /** Last block first. */
  reversed: boolean
  contentType: string | null
  /** Extra headers of every answer. */
  headers: Record<string, string>
}

export interface LoggedRequest {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly httpVersion: string
  readonly format: 'raw' | 'car' | null
  readonly cid: string
  readonly query: URLSearchParams
}

export interface FakeGateway {
  readonly url: string
  readonly host: string
  readonly knobs: Knobs
  readonly requests: LoggedRequest[]
  /** Requests whose answer is not finished. */
  readonly active: () => number
  readonly close: () => Promise<void>
}

const DEFAULTS: Omit<Knobs, 'missing' | 'headers'> = {
  formats: 'both', refusal: 406, delayMs: 0, hang: false, status: null, corruptAt: null, lie: false, cutAt: null, stallAt: null, dripMs: null,
  endless: false, huge: null, redirect: null, ignoresRanges: false, reversed: false, contentType: null
}

export class CarBlocks implements FakeBlocks {
  readonly blocks = new Map<string, { readonly cid: CID, readonly bytes: Uint8Array }>()
  readonly roots: CID[] = []

  static async load (...paths: readonly string[]): Promise<CarBlocks> {
    const loaded = new CarBlocks()
    for (const path of paths) {
      const reader = await CarReader.fromBytes(await readFile(path))
      loaded.roots.push(...await reader.getRoots())
      for await (const { cid, bytes } of reader.blocks()) loaded.put(cid, bytes)
    }
    return loaded
  }

  put (cid: CID, bytes: Uint8Array): void {
    this.blocks.set(Buffer.from(cid.multihash.bytes).toString('hex'), { cid, bytes })
  }

  get (cid: CID): Uint8Array | undefined {
    return this.blocks.get(Buffer.from(cid.multihash.bytes).toString('hex'))?.bytes
  }

  get root (): CID {
    const [root] = this.roots
    if (root === undefined) throw new Error('the CAR names no root')
    return root
  }
}

/** `listenOn` makes the server (default: plain HTTP); `scheme` is what its URL starts with. */
export async function startFakeGateway (
  blocks: FakeBlocks, knobs: Partial<Knobs> = {}, listenOn: (listener: RequestListener) => Server = createServer, scheme = 'http'
): Promise<FakeGateway> {
  const settings: Knobs = { ...DEFAULTS, missing: new Set(), headers: {}, ...knobs }
  const requests: LoggedRequest[] = []
  let active = 0
  const server = listenOn((request, response) => {
    const gone = new AbortController()
    active++
    response.once('close', () => { active--; gone.abort() })
    const logged = logRequest(request)
    requests.push(logged)
    answer(blocks, settings, logged, response, gone.signal).catch(() => { response.destroy() })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: `${scheme}://${host}`,
    host,
    knobs: settings,
    requests,
    active: () => active,
    close: async () => {
      const closed = new Promise<void>((resolve) => { server.close(() => { resolve() }) })
      if ('closeAllConnections' in server) server.closeAllConnections()
      await closed
    }
  }
}

function logRequest (request: IncomingMessage): LoggedRequest {
  const url = new URL(request.url ?? '/', 'http://fake')
  const format = url.searchParams.get('format')
  return {
    path: url.pathname + url.search,
    headers: request.headers,
    httpVersion: request.httpVersion,
    format: format === 'raw' || format === 'car' ? format : null,
    cid: url.pathname.split('/')[2] ?? '',
    query: url.searchParams
  }
}

async function answer (blocks: FakeBlocks, knobs: Knobs, request: LoggedRequest, response: ServerResponse, gone: AbortSignal): Promise<void> {
  if (knobs.delayMs > 0) await pause(knobs.delayMs, undefined, { signal: gone })
  if (typeof knobs.hang === 'function' ? knobs.hang(request) : knobs.hang) return
  for (const [name, value] of Object.entries(knobs.headers)) response.setHeader(name, value)
  const location = knobs.redirect?.(request) ?? null
  if (location !== null) return void response.writeHead(302, { location }).end('elsewhere')
  const planned = knobs.status?.(request) ?? null
  if (planned !== null) return void response.writeHead(planned.status, planned.headers).end(`status ${planned.status}`)
  if (request.format === null || (knobs.formats !== 'both' && knobs.formats !== request.format)) {
    return void response.writeHead(knobs.refusal, { 'content-type': 'text/html' }).end('<html>not in this format</html>')
  }
  const pieces = bodyPieces(blocks, knobs, request)
  if (pieces === null) return void response.writeHead(404).end('not here')
  const type = request.format === 'raw' ? 'application/vnd.ipld.raw' : 'application/vnd.ipld.car; version=1; order=dfs; dups=n'
  response.setHeader('content-type', knobs.contentType ?? type)
  const length = request.format === 'raw' && !knobs.endless ? pieces.reduce((sum, piece) => sum + piece.byteLength, 0) : null
  if (knobs.huge ?? length) response.setHeader('content-length', knobs.huge ?? length ?? 0)
  await send(knobs, pieces, response, gone)
}

function bodyPieces (blocks: FakeBlocks, knobs: Knobs, request: LoggedRequest): Uint8Array[] | null {
  const cid = CID.parse(request.cid)
  const source: FakeBlocks = { get: (wanted) => knobs.missing.has(wanted.toString()) ? undefined : blocks.get(wanted) }
  const served = (bytes: Uint8Array): Uint8Array => knobs.lie ? bytes.map((byte) => byte ^ 0x55) : bytes
  if (request.format === 'raw') {
    const bytes = source.get(cid)
    return bytes === undefined ? null : [served(bytes)]
  }
  const [from, to] = (request.query.get('entity-bytes') ?? '').split(':')
  const ranged = from !== undefined && to !== undefined && !knobs.ignoresRanges
  const scope = request.query.get('dag-scope')
  const found = dagBlocks(source, {
    root: cid,
    names: new URL(request.path, 'http://fake').pathname.split('/').slice(3).map(decodeURIComponent),
    scope: scope === 'block' || scope === 'entity' ? scope : 'all',
    range: ranged ? { from: Number(from), to: to === '*' ? Infinity : Number(to) } : null
  })
  if (found === null) return null
  const ordered = knobs.reversed ? found.reverse() : found
  return [...carPieces(cid, ordered.map(({ cid, bytes }) => ({ cid, bytes: served(bytes) })))]
}

async function send (knobs: Knobs, pieces: readonly Uint8Array[], response: ServerResponse, gone: AbortSignal): Promise<void> {
  let sent = 0
  const write = async (piece: Uint8Array): Promise<void> => {
    gone.throwIfAborted()
    if (response.write(piece)) return
    await new Promise<void>((resolve) => {
      response.once('drain', resolve)
      gone.addEventListener('abort', () => { resolve() }, { once: true })
    })
  }
  for (const piece of pieces) {
    const corrupt = (knobs.corruptAt ?? -1) - sent
    const bytes = corrupt >= 0 && corrupt < piece.byteLength ? Buffer.from(piece) : piece
    if (corrupt >= 0 && corrupt < bytes.byteLength) bytes[corrupt] = (bytes[corrupt] ?? 0) ^ 1
    const stop = Math.min(knobs.stallAt ?? Infinity, knobs.cutAt?.bytes ?? Infinity) - sent
    const part = bytes.subarray(0, Math.max(0, Math.min(stop, bytes.byteLength)))
    if (knobs.dripMs === null) await write(part)
    else for (const byte of part) { await write(Uint8Array.of(byte)); await pause(knobs.dripMs, undefined, { signal: gone }) }
    sent += part.byteLength
    if (part.byteLength < bytes.byteLength || stop === bytes.byteLength) {
      if (knobs.cutAt?.clean === true) response.end()
      else if (knobs.cutAt !== null) response.destroy()
      return
    }
  }
  const filler = Buffer.alloc(64 * 1024)
  while (knobs.endless || (knobs.huge !== null && sent < knobs.huge)) {
    await write(knobs.endless ? section(filler) : filler)
    sent += filler.byteLength
  }
  response.end()
}

/** A CAR section of zeros with a CID that nobody asked for. */
function section (zeros: Uint8Array): Uint8Array {
  const cid = CID.parse('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy').bytes
  const length = cid.byteLength + zeros.byteLength
  return Buffer.concat([Uint8Array.of(length % 128 | 0x80, Math.floor(length / 128) % 128 | 0x80, Math.floor(length / 16384)), cid, zeros])
}
