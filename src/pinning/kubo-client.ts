// A client of Kubo's RPC: commands that answer with lines of JSON, and an upload that is streamed. What went wrong is told by its
// code: PIN_UNREACHABLE may be tried again, PIN_REFUSED wants another token, PIN_FAILED is an answer.
// Shapes: docs.ipfs.tech/reference/kubo/rpc, go-ipfs-cmds http/{handler,errors}.go.
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { Agent, type Dispatcher, request } from 'undici'
import { isSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { PUSH_ANSWER_MS, PUSH_STALL_MS, RPC_CALL_MS } from '../base/limits.ts'
import { boundedText, jsonObject, quoted, reasonOf } from './answers.ts'
import type { Endpoint } from './endpoint.ts'

export type Answer = Readonly<Record<string, unknown>>

/** One file that is sent; `stream` may be asked for again. */
export interface Upload {
  readonly name: string
  readonly size: number
  readonly stream: () => AsyncIterable<Uint8Array>
  /** Of bytes that the other side took. */
  readonly onBytes: (bytes: number) => void
}

interface Sent { readonly body: Readable | null, readonly headers: Readonly<Record<string, string>> }

/** Statuses of proxies and of servers that are busy or about to start. */
const LATER: readonly number[] = [408, 429, 502, 503, 504]

export class KuboClient {
  readonly name: string
  readonly #endpoint: Endpoint
  readonly #agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connect: { timeout: RPC_CALL_MS } })

  constructor (endpoint: Endpoint) {
    this.name = endpoint.name
    this.#endpoint = endpoint
  }

  /** @throws PIN_REFUSED, PIN_FAILED, PIN_UNREACHABLE; the signal's reason */
  async call (command: string, args: ReadonlyArray<readonly [string, string]>, signal?: AbortSignal, patienceMs = RPC_CALL_MS): Promise<Answer[]> {
    return await this.#post(command, args, { body: null, headers: {} }, new Patience(patienceMs, signal))
  }

  /** The same for a command that takes one file. */
  async send (command: string, args: ReadonlyArray<readonly [string, string]>, upload: Upload, signal?: AbortSignal): Promise<Answer[]> {
    const boundary = randomUUID()
    const head = Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${encodeURIComponent(upload.name)}"\r\n` +
      'Content-Type: application/octet-stream\r\n\r\n')
    const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
    const patience = new Patience(PUSH_STALL_MS, signal)
    const body = async function * (): AsyncGenerator<Uint8Array> {
      yield head
      for await (const piece of upload.stream()) {
        yield piece
        patience.moved()
        upload.onBytes(piece.byteLength)
      }
      yield tail
      patience.moved(PUSH_ANSWER_MS)
    }
    const headers = {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': String(head.byteLength + upload.size + tail.byteLength)
    }
    return await this.#post(command, args, { body: Readable.from(body()), headers }, patience)
  }

  async close (): Promise<void> {
    await this.#agent.destroy()
  }

  async #post (command: string, args: ReadonlyArray<readonly [string, string]>, { body, headers }: Sent, patience: Patience): Promise<Answer[]> {
    const url = `${this.#endpoint.base}/${command}?${new URLSearchParams(args.map(([name, value]): [string, string] => [name, value])).toString()}`
    try {
      const response = await request(url, {
        method: 'POST',
        dispatcher: this.#agent,
        signal: patience.signal,
        body,
        headers: { 'user-agent': 'ipfs-snapshotter', ...this.#endpoint.headers, ...headers }
      })
      response.body.on('error', () => {}) // whoever reads the body hears of it; nobody else must
      const text = await boundedText(response.body, `${this.name}: ${command}`)
      return this.#read(command, response, text)
    } catch (error) {
      patience.outer?.throwIfAborted()
      if (isSnapshotterError(error)) throw error
      throw patience.expired ?? new SnapshotterError('PIN_UNREACHABLE', `${this.name}: ${command}: ${reasonOf(error)}`, {}, { cause: error })
    } finally {
      patience.end()
    }
  }

  #read (command: string, { statusCode: status, headers, trailers }: Dispatcher.ResponseData, text: string): Answer[] {
    const what = `${this.name}: ${command}`
    const failure = jsonObject(text)
    const said = typeof failure?.['Message'] === 'string' ? quoted(failure['Message']) : text.trim() === '' ? '' : quoted(text)
    const answer = `${status}${said === '' ? '' : ` ${said}`}`
    if (status === 401 || status === 403) {
      const isKnown = Object.keys(this.#endpoint.headers).length > 0
      throw new SnapshotterError('PIN_REFUSED', `${what} is refused (${answer}); ${isKnown ? 'is the token right?' : 'it wants a token: --to-token-file'}`)
    }
    if (LATER.includes(status)) throw new SnapshotterError('PIN_UNREACHABLE', `${what}: ${answer}`)
    if (status >= 300 && status < 400) {
      throw new SnapshotterError('PIN_FAILED', `${what} leads to ${quoted(String(headers['location'] ?? ''))} (${status}); name that address`)
    }
    if (status !== 200) throw new SnapshotterError('PIN_FAILED', `${what}: ${answer}${failure === null ? '; is this the RPC of a Kubo?' : ''}`)
    // Kubo has sent its status by then.
    const late = trailers['x-stream-error']
    if (late !== undefined && late !== '') throw new SnapshotterError('PIN_FAILED', `${what}: ${quoted(late)}`)
    return text.split('\n').filter((line) => line.trim() !== '').map((line) => {
      const object = jsonObject(line)
      if (object === null) throw new SnapshotterError('PIN_FAILED', `${what} answers ${quoted(line)}, no JSON; is this the RPC of a Kubo?`)
      if (object['Type'] === 'error') throw new SnapshotterError('PIN_FAILED', `${what}: ${quoted(String(object['Message']))}`)
      return object
    })
  }
}

/** Ends a request in which nothing moves. */
class Patience {
  readonly outer: AbortSignal | undefined
  readonly signal: AbortSignal
  expired: SnapshotterError | null = null
  readonly #late = new AbortController()
  #ms: number
  #timer: NodeJS.Timeout

  constructor (ms: number, outer: AbortSignal | undefined) {
    this.outer = outer
    this.signal = AbortSignal.any([this.#late.signal, ...outer === undefined ? [] : [outer]])
    this.#ms = ms
    this.#timer = this.#arm()
  }

  moved (ms = this.#ms): void {
    clearTimeout(this.#timer)
    this.#ms = ms
    this.#timer = this.#arm()
  }

  end (): void {
    clearTimeout(this.#timer)
  }

  #arm (): NodeJS.Timeout {
    return setTimeout(() => {
      this.expired = new SnapshotterError('PIN_UNREACHABLE', `silent for ${this.#ms} ms`)
      this.#late.abort(this.expired)
    }, this.#ms)
  }
}
