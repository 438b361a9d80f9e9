// HTTP to one gateway: keep-alive connections (HTTP/2 where offered), bounded redirects, one deadline for the headers
// and for each pause in the body, a floor under the speed. Says what happened; judges no content.
import { Agent, type Dispatcher, request } from 'undici'
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError, hasCode, SnapshotterError } from '../base/errors.ts'
import {
  ERROR_BODY_BYTES_MAX, GATEWAY_BYTES_PER_SECOND_MIN, GATEWAY_DRAIN_MS_MAX, H2_CONNECTION_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES, REDIRECTS_MAX,
  SOURCE_CONCURRENCY
} from '../base/limits.ts'
import { mayCarryToken, parseOrigin, redirectTarget } from './gateway-origin.ts'
import { Patience } from './patience.ts'
import type { GatewayTransport, TransportAnswer } from './gateway-transport.ts'
import { first, type Headers } from './rate-limit.ts'

const IDLE_MS = 15_000 // an unused connection is kept this long unless the server says otherwise

/** undici reads `initialWindowSize` here, not where its types say; its own windows (256 and 512 KiB) end at 6 MB/s over 80 ms. */
const H2_WINDOWS = { connectionWindowSize: H2_CONNECTION_WINDOW_BYTES, initialWindowSize: H2_STREAM_WINDOW_BYTES }

export interface GatewayHttpOptions {
  readonly url: string
  readonly timeoutMs: number
  readonly token?: string | undefined
  readonly caPem?: string | undefined
  readonly clock: Clock
}

export class GatewayHttp implements GatewayTransport {
  readonly #base: URL
  readonly #options: GatewayHttpOptions
  readonly #agent: Agent
  /** Redirects to elsewhere: neither the token nor the private CA counts there. */
  readonly #elsewhere: Agent

  constructor (options: GatewayHttpOptions) {
    this.#base = parseOrigin(options.url, options.token)
    this.#options = options
    const common = {
      connections: SOURCE_CONCURRENCY, allowH2: true, h2Options: H2_WINDOWS, keepAliveTimeout: IDLE_MS, headersTimeout: 0, bodyTimeout: 0
    }
    const connect = { timeout: options.timeoutMs }
    this.#agent = new Agent({ ...common, connect: options.caPem === undefined ? connect : { ...connect, ca: options.caPem } })
    this.#elsewhere = new Agent({ ...common, connect })
  }

  /** Host and port: what messages call this gateway. */
  get name (): string {
    return this.#base.host
  }

  /**
   * GET of `path` below the base address; resolves with the headers of the last hop, whatever their status. `onBytes` hears of body bytes.
   * @throws GATEWAY_TIMEOUT, ROOT_UNREACHABLE (no connection, bad redirect); the signal's reason.
   */
  async get (path: string, accept: string, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<GatewayAnswer> {
    const patience = new Patience(this.#options.timeoutMs, signal)
    try {
      return await this.#follow(new URL(`${this.#base.pathname.replace(/\/$/, '')}${path}`, this.#base), accept, onBytes, patience)
    } catch (error) {
      patience.end()
      signal?.throwIfAborted()
      throw patience.expired ?? unreachable(error)
    }
  }

  async close (): Promise<void> {
    await Promise.all([this.#agent.destroy(), this.#elsewhere.destroy()])
  }

  async #follow (start: URL, accept: string, onBytes: (bytes: number) => void, patience: Patience): Promise<GatewayAnswer> {
    let url = start
    for (let hops = 0; ; hops++) {
      const home = url.origin === this.#base.origin
      const token = mayCarryToken(url, this.#base) ? this.#options.token : undefined
      const response = await request(url, {
        method: 'GET',
        dispatcher: home ? this.#agent : this.#elsewhere,
        signal: patience.signal,
        headers: {
          accept,
          'accept-encoding': 'identity',
          'user-agent': 'ipfs-snapshotter',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` })
        }
      })
      response.body.on('error', () => {}) // whoever reads the body hears of it; nobody else must
      const location = first(response.headers['location'])
      if (response.statusCode < 300 || response.statusCode >= 400 || location === undefined) {
        return new GatewayAnswer(response, patience, this.#options, onBytes)
      }
      await response.body.dump({ limit: ERROR_BODY_BYTES_MAX, signal: patience.signal })
      if (hops >= REDIRECTS_MAX) throw new SnapshotterError('ROOT_UNREACHABLE', `more than ${REDIRECTS_MAX} redirects`)
      const next = redirectTarget(url, location)
      if (typeof next === 'string') throw new SnapshotterError('ROOT_UNREACHABLE', next)
      url = next
    }
  }
}

export class GatewayAnswer implements TransportAnswer {
  readonly status: number
  readonly headers: Headers
  /** Content-Length, or null. */
  readonly length: number | null
  readonly #stream: Dispatcher.ResponseData['body']
  readonly #body: AsyncIterator<Uint8Array>
  readonly #patience: Patience
  readonly #options: GatewayHttpOptions
  readonly #onBytes: (bytes: number) => void
  #windowStart: number
  #windowBytes = 0
  #ended = false
  /** Body bytes so far. */
  bytes = 0

  constructor (response: Dispatcher.ResponseData, patience: Patience, options: GatewayHttpOptions, onBytes: (bytes: number) => void) {
    this.status = response.statusCode
    this.headers = response.headers
    const length = first(response.headers['content-length'])
    this.length = length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : null
    this.#stream = response.body
    this.#body = response.body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
    this.#patience = patience
    this.#options = options
    this.#onBytes = onBytes
    this.#windowStart = options.clock.monotonicMs()
    patience.touch()
  }

  /** Media type without parameters, lower case. */
  get contentType (): string {
    return (first(this.headers['content-type']) ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  }

  /** @throws GATEWAY_TIMEOUT (a pause, or too slow), ROOT_UNREACHABLE (the connection broke), the signal's reason. */
  async next (): Promise<Uint8Array | null> {
    if (this.#ended) return null
    let step: IteratorResult<Uint8Array>
    try {
      step = await this.#body.next()
    } catch (error) {
      this.#end()
      this.#patience.outer?.throwIfAborted()
      throw this.#patience.expired ?? new SnapshotterError('ROOT_UNREACHABLE', `connection broke after ${this.bytes} bytes (${reasonOf(error)})`)
    }
    this.#patience.touch()
    if (step.done === true) {
      this.#end()
      return null
    }
    this.#count(step.value.byteLength)
    return step.value
  }

  /** Waits shortly for an end that is near, so that the connection can be used again; else drops it. Never throws. */
  async finish (): Promise<void> {
    this.#patience.tighten(GATEWAY_DRAIN_MS_MAX)
    const limit = this.bytes + ERROR_BODY_BYTES_MAX
    try {
      while (!this.#ended && this.bytes <= limit && (this.length ?? 0) <= limit) if (await this.next() === null) return
    } catch {
      // what is left is of no use
    }
    await this.drop()
  }

  /** Gives the rest up, and the connection with it. */
  async drop (): Promise<void> {
    if (this.#ended) return
    this.#end()
    this.#stream.destroy() // an iterator that was never asked for anything ends without telling the stream
    await this.#body.return?.()
  }

  #count (bytes: number): void {
    this.bytes += bytes
    this.#onBytes(bytes)
    this.#windowBytes += bytes
    const now = this.#options.clock.monotonicMs()
    const ms = now - this.#windowStart
    if (ms < this.#options.timeoutMs) return
    if (this.#windowBytes * 1000 < GATEWAY_BYTES_PER_SECOND_MIN * ms) {
      throw new SnapshotterError('GATEWAY_TIMEOUT', `only ${this.#windowBytes} bytes in ${Math.round(ms)} ms`)
    }
    this.#windowStart = now
    this.#windowBytes = 0
  }

  #end (): void {
    this.#ended = true
    this.#patience.end()
  }
}

function unreachable (error: unknown): SnapshotterError {
  if (hasCode(error, 'ROOT_UNREACHABLE')) return asSnapshotterError(error)
  return new SnapshotterError('ROOT_UNREACHABLE', reasonOf(error), {}, { cause: error })
}

/** Errors of Node's core may come from another realm: read, not tested for their class. */
function reasonOf (error: unknown): string {
  const { code, message, errors } = (error ?? {}) as { code?: unknown, message?: unknown, errors?: unknown[] }
  if (typeof code === 'string' && code !== '') return code
  if (Array.isArray(errors) && errors.length > 0) return reasonOf(errors[0])
  return typeof message === 'string' && message !== '' ? message : 'connection failed'
}
