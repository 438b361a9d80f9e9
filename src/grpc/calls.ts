// What every call to our services has in common: an id of its own that all its work logs, an observer that is told how it
// went, our errors as statuses, and streams that wait for slow readers and end with gone ones.
import {
  type handleBidiStreamingCall, type handleServerStreamingCall, type handleUnaryCall, type ServerDuplexStream, type ServerWritableStream, status,
  type StatusObject
} from '@grpc/grpc-js'
import { once } from 'node:events'
import { asCall } from '../base/call-id.ts'
import { systemClock } from '../base/clock.ts'
import { hasCode, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { toStatus } from './status.ts'

/** Told of every call when it was answered: its method, the gRPC code's name, and how long it took. */
export type CallObserver = (method: string, code: string, ms: number) => void

interface Ending { readonly end: () => unknown, readonly emit: (event: 'error', error: unknown) => unknown }

export class Calls {
  readonly #log: Log
  readonly #observe: CallObserver

  constructor (log: Log, observe: CallObserver = () => {}) {
    this.#log = log
    this.#observe = observe
  }

  readonly unary = <Request, Response>(name: string, work: (request: Request) => Promise<Response>): handleUnaryCall<Request, Response> =>
    (call, answer) => {
      this.#served(name, call.request, async () => await work(call.request)).then(
        (response) => answer(null, response),
        (error: unknown) => answer(error as StatusObject))
    }

  readonly streaming = <Request, Response>(
    name: string, work: (call: ServerWritableStream<Request, Response>) => Promise<void>
  ): handleServerStreamingCall<Request, Response> =>
      (call) => { this.#stream(name, call.request, call, async () => { await work(call) }) }

  readonly duplex = <Request, Response>(
    name: string, work: (call: ServerDuplexStream<Request, Response>) => Promise<void>
  ): handleBidiStreamingCall<Request, Response> =>
      (call) => { this.#stream(name, {}, call, async () => { await work(call) }) }

  #stream (name: string, request: unknown, call: Ending, work: () => Promise<void>): void {
    this.#served(name, request, work).then(() => { call.end() }, (error: unknown) => { call.emit('error', error) })
  }

  /** Does the work under an id of its own. @throws the status to answer. */
  async #served<Result> (method: string, request: unknown, work: () => Promise<Result>): Promise<Result> {
    const { key = '', parent = '', name = '', digest = '', ref = '' } = request as Readonly<Partial<Record<string, string>>>
    const started = systemClock.monotonicMs()
    const done = (code: number): void => { this.#observe(method, status[code] ?? 'UNKNOWN', systemClock.monotonicMs() - started) }
    return await asCall(method, `${method} ${key}${digest}${ref}`.trim(), async () => {
      this.#log.debug({ method, key, parent, name, digest, ref }, 'call')
      try {
        const result = await work()
        done(status.OK)
        return result
      } catch (error) {
        const answer = this.#logged(method, error)
        done(answer.code)
        throw answer as unknown
      }
    })
  }

  /** Answers that are part of normal work are for debugging; the others name a fault. */
  #logged (method: string, error: unknown): ReturnType<typeof toStatus> {
    const answer = toStatus(error)
    const usual = hasCode(error, 'ALREADY_EXISTS', 'NOT_FOUND', 'FAILED_PRECONDITION', 'INVALID_ARGUMENT', 'OUT_OF_RANGE', 'CANCELLED')
    this.#log[usual ? 'debug' : 'warn'](
      { method, error: answer.details, ...usual ? {} : { stack: error instanceof Error ? error.stack : undefined } }, 'call failed')
    return answer
  }
}

/** Sends one message and waits until the client takes more. @throws CANCELLED when it left. */
export function sender<Response> (call: ServerWritableStream<unknown, Response> | ServerDuplexStream<unknown, Response>): (message: Response) => Promise<void> {
  const gone = new AbortController()
  call.on('cancelled', () => gone.abort(new SnapshotterError('CANCELLED', 'the client left')))
  return async (message) => {
    gone.signal.throwIfAborted()
    if (!call.write(message)) await once(call, 'drain', { signal: gone.signal })
  }
}
