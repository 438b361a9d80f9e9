// The mock service of the pinning specification's authors behind a door that tests hold: what they make it answer, and how a pin goes
// from queued to its end. The mock keeps requests and says nothing of time; `step` is called at each look at a request that is not done.
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'

export type Status = 'queued' | 'pinning' | 'pinned' | 'failed'

/** As the mock keeps it. */
export interface Kept {
  readonly requestid: string
  status: Status
  readonly pin: { readonly cid: string, readonly name?: string, readonly origins?: readonly string[] }
  info?: { status_details: string }
}

export interface ServiceKnobs {
  /** Answers instead of the mock; null lets a request through. */
  answer: ((method: string, path: string) => { status: number, body: string, headers?: Record<string, string> } | null) | null
  /** Never answers. */
  hang: boolean
  /** What becomes of a request that is looked at; the default is queued → pinning → pinned. */
  step: (kept: Kept) => Promise<void> | void
}

export interface PinningMock {
  readonly url: string
  readonly knobs: ServiceKnobs
  /** `METHOD /path?query`, in order. */
  readonly asked: string[]
  readonly pins: () => Kept[]
  readonly close: () => Promise<void>
}

interface App extends RequestListener { locals: { state: { pins: Map<string, Kept> } } }
type Setup = (options: { token: string, delegates: string }) => Promise<App>

const NEXT = { queued: 'pinning', pinning: 'pinned', pinned: 'pinned', failed: 'failed' } as const

export async function startPinningMock (token: string, delegates: readonly string[] = [DELEGATE]): Promise<PinningMock> {
  const { setup } = createRequire(import.meta.url)('mock-ipfs-pinning-service') as { setup: Setup }
  const app = await setup({ token, delegates: delegates.join(',') })
  const knobs: ServiceKnobs = { answer: null, hang: false, step: (kept) => { kept.status = NEXT[kept.status] } }
  const asked: string[] = []
  const pins = (): Kept[] => [...app.locals.state.pins.values()]
  const server: Server = createServer((request, response) => {
    asked.push(`${request.method ?? ''} ${request.url ?? ''}`)
    if (knobs.hang) return
    const scripted = knobs.answer?.(request.method ?? '', request.url ?? '') ?? null
    if (scripted !== null) answer(request, response, scripted)
    else void stepped(knobs, pins(), request).then(() => { app(request, response) })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    knobs,
    asked,
    pins,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
    }
  }
}

export const DELEGATE = '/dns4/delegate.invalid/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ'

async function stepped ({ step }: ServiceKnobs, pins: readonly Kept[], { method, url = '' }: IncomingMessage): Promise<void> {
  const kept = method === 'GET' ? pins.find(({ requestid }) => url === `/pins/${requestid}`) : undefined
  if (kept !== undefined) await step(kept)
}

function answer (request: IncomingMessage, response: ServerResponse, { status, body, headers }: { status: number, body: string, headers?: Record<string, string> }): void {
  request.resume()
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)
}
