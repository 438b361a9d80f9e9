// One service of the IPFS Pinning Service API 1.0.0, through the client that its authors generate from the specification. That client
// believes what it is answered; here each answer is bounded, checked for its shape, and each refusal becomes one line.
import { Configuration, type Pin, type PinsGetRequest, type PinStatus, RemotePinningServiceClient, Status } from '@ipfs-shipyard/pinning-service-client'
import { z } from 'zod'
import { isSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { PIN_ADDRESSES_MAX, PIN_CIDS_MAX, PIN_NAME_CHARS_MAX, PIN_PAGE, PINS_LISTED_MAX, RPC_CALL_MS } from '../base/limits.ts'
import { boundedText, jsonObject, quoted, reasonOf } from './answers.ts'
import type { Endpoint } from './endpoint.ts'

export const PIN_STATUSES = ['queued', 'pinning', 'pinned', 'failed'] as const

/** Of no bytes. */
const EMPTY_BLOCK = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

/** As the client calls them. */
const STATUS_NAMES = { queued: 'Queued', pinning: 'Pinning', pinned: 'Pinned', failed: 'Failed' } as const

const pinStatus = z.object({
  requestid: z.string().min(1),
  status: z.enum(PIN_STATUSES),
  created: z.date(),
  pin: z.object({ cid: z.string().min(1), name: z.string().default('') }),
  delegates: z.array(z.string()).nullish().transform((all) => (all ?? []).slice(0, PIN_ADDRESSES_MAX)),
  info: z.object({ status_details: z.string().optional() }).nullish()
})

export interface RemotePin {
  readonly requestId: string
  readonly status: typeof PIN_STATUSES[number]
  readonly created: Date
  /** As the service writes it. */
  readonly cid: string
  readonly name: string
  /** Multiaddrs of the peers that will fetch it. */
  readonly delegates: readonly string[]
  /** Foreign text, empty without any. */
  readonly details: string
}

export interface PinFilter {
  readonly cids?: readonly string[]
  readonly name?: string | undefined
  readonly statuses: ReadonlyArray<RemotePin['status']>
}

export interface NewPin {
  readonly cid: string
  readonly name: string
  /** Multiaddrs of peers that have it. */
  readonly origins: readonly string[]
}

export class PinningService {
  readonly name: string
  readonly #endpoint: Endpoint
  readonly #client: RemotePinningServiceClient
  readonly #signal: AbortSignal | undefined

  constructor (name: string, endpoint: Endpoint, signal?: AbortSignal) {
    this.name = name
    this.#endpoint = endpoint
    this.#signal = signal
    this.#client = new RemotePinningServiceClient(new Configuration({
      endpointUrl: endpoint.base,
      headers: { ...endpoint.headers },
      fetchApi: async (url: string | URL | Request, init?: RequestInit) => await this.#fetch(url, init)
    }))
  }

  /** Whether it is there and takes the token, asked with one question about a CID that everybody has. @throws as `list` */
  async check (): Promise<void> {
    await this.list({ cids: [EMPTY_BLOCK], statuses: ['pinned'] })
  }

  /** Newest first. @throws PIN_REFUSED, PIN_FAILED, PIN_UNREACHABLE, LIMIT_EXCEEDED; so do the others */
  async list (filter: PinFilter): Promise<RemotePin[]> {
    const found = new Map<string, RemotePin>()
    if (filter.cids === undefined) await this.#collect(filter, found)
    for (let at = 0; at < (filter.cids?.length ?? 0); at += PIN_CIDS_MAX) {
      await this.#collect({ ...filter, cids: filter.cids?.slice(at, at + PIN_CIDS_MAX) ?? [] }, found)
    }
    return [...found.values()].sort((one, other) => other.created.getTime() - one.created.getTime())
  }

  /** Page by page. */
  async #collect ({ cids, name, statuses }: PinFilter, found: Map<string, RemotePin>): Promise<void> {
    let before: Date | undefined
    let step = 1
    for (;;) {
      const wanted: PinsGetRequest = {
        status: statuses.map((status) => Status[STATUS_NAMES[status]]), limit: PIN_PAGE,
        ...cids === undefined ? {} : { cid: [...cids] }, ...name === undefined ? {} : { name }, ...before === undefined ? {} : { before }
      }
      const { count, results } = await this.#ask('GET /pins', async () => await this.#client.pinsGet(wanted))
      const pins = results.map((one) => this.#checked('GET /pins', one))
      const known = found.size
      for (const pin of pins) found.set(pin.requestId, pin)
      if (found.size > PINS_LISTED_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `${this.#who} lists more than ${PINS_LISTED_MAX} pins; name a CID`)
      const isNew = found.size > known
      if (pins.length === 0 || pins.length >= count || !(isNew || step > 0)) return
      // Times are cut to milliseconds on the way: with one more some come twice and none is missed, unless they fill a page.
      step = isNew ? 1 : 0
      before = new Date(Math.min(...pins.map(({ created }) => created.getTime())) + step)
    }
  }

  async add (pin: NewPin): Promise<RemotePin> {
    return this.#checked('POST /pins', await this.#ask('POST /pins', async () => await this.#client.pinsPost({ pin: asked(pin) })))
  }

  /** Takes the place of another request, whose blocks stay meanwhile. */
  async replace (requestid: string, pin: NewPin): Promise<RemotePin> {
    const what = 'POST /pins/{requestid}'
    return this.#checked(what, await this.#ask(what, async () => await this.#client.pinsRequestidPost({ requestid, pin: asked(pin) })))
  }

  async get (requestid: string): Promise<RemotePin> {
    const what = 'GET /pins/{requestid}'
    return this.#checked(what, await this.#ask(what, async () => await this.#client.pinsRequestidGet({ requestid })))
  }

  async remove (requestid: string): Promise<void> {
    await this.#ask('DELETE /pins/{requestid}', async () => { await this.#client.pinsRequestidDelete({ requestid }) })
  }

  get #who (): string {
    return `pinning service ${this.name}`
  }

  async #ask<Result> (what: string, call: () => Promise<Result>): Promise<Result> {
    try {
      return await call()
    } catch (error) {
      this.#signal?.throwIfAborted()
      if (isSnapshotterError(error)) throw error
      // The client trips over shapes that it does not expect.
      throw new SnapshotterError('PIN_FAILED', `${this.#who}: ${what} is answered with another shape than the Pinning Service API has`, {}, { cause: error })
    }
  }

  #checked (what: string, answer: PinStatus): RemotePin {
    const { success, data } = pinStatus.safeParse(answer)
    if (!success) throw new SnapshotterError('PIN_FAILED', `${this.#who}: ${what} is answered with another shape than the Pinning Service API has`)
    const { requestid, status, created, pin, delegates, info } = data
    return { requestId: requestid, status, created, cid: pin.cid, name: pin.name, delegates, details: info?.status_details ?? '' }
  }

  async #fetch (url: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const late = AbortSignal.timeout(RPC_CALL_MS)
    const signal = AbortSignal.any([late, ...this.#signal === undefined ? [] : [this.#signal]])
    try {
      // The token goes nowhere else.
      const response = await fetch(url, { ...init, redirect: 'manual', signal })
      const text = response.body === null ? '' : await boundedText(response.body, this.#who)
      if (!response.ok) throw this.#refusal(response, text)
      if (init.method !== 'DELETE' && jsonObject(text) === null) {
        throw new SnapshotterError('PIN_FAILED', `${this.#who} answers ${quoted(text)}, no JSON; is its endpoint ${this.#endpoint.base} right?`)
      }
      return new Response(text)
    } catch (error) {
      this.#signal?.throwIfAborted()
      if (isSnapshotterError(error)) throw error
      const reason = late.aborted ? `no answer for ${RPC_CALL_MS} ms` : reasonOf(error)
      throw new SnapshotterError('PIN_UNREACHABLE', `${this.#who} at ${this.#endpoint.name}: ${reason}`, {}, { cause: error })
    }
  }

  #refusal ({ status, headers, url }: Response, text: string): SnapshotterError {
    const { reason, details } = (jsonObject(text)?.['error'] ?? {}) as { reason?: unknown, details?: unknown }
    const said = [reason, details].filter((part) => typeof part === 'string' && part !== '').join(': ')
    const answer = [`${status}`, ...said === '' ? [] : [quoted(said)]].join(' ')
    const at = new URL(url).pathname
    if (status === 401 || status === 403) return new SnapshotterError('PIN_REFUSED', `${this.#who} refuses the token (${answer}); is its token_file right?`)
    if (status === 404) {
      return at === new URL(`${this.#endpoint.base}/pins`).pathname
        ? new SnapshotterError('PIN_FAILED', `${this.#who} has no ${at} (${answer}); is its endpoint ${this.#endpoint.base} right?`)
        : new SnapshotterError('NOT_FOUND', `${this.#who} knows no such pin (${answer}); somebody removed it`)
    }
    if (status === 409) return new SnapshotterError('PIN_REFUSED', `${this.#who} wants more funds or room for this (${answer}); nothing is pinned there`)
    if (status >= 300 && status < 400) {
      return new SnapshotterError('PIN_FAILED', `${this.#who} leads to ${quoted(headers.get('location') ?? '')} (${status}); name that endpoint`)
    }
    if (status === 429) return new SnapshotterError('PIN_UNREACHABLE', `${this.#who} asks for rest (${answer}); try later`)
    if (status >= 500) return new SnapshotterError('PIN_UNREACHABLE', `${this.#who} fails (${answer}); try later`)
    return new SnapshotterError('PIN_FAILED', `${this.#who} refuses the request (${answer})`)
  }
}

function asked ({ cid, name, origins }: NewPin): Pin {
  return { cid, name: name.slice(0, PIN_NAME_CHARS_MAX), origins: origins.slice(0, PIN_ADDRESSES_MAX) }
}
