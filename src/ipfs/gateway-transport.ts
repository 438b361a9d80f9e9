// What a gateway source needs of HTTP: one GET at a time, its answer read piece by piece. Says what happened; judges no content.
import type { Headers } from './rate-limit.ts'

export interface GatewayTransport {
  /** Host and port: what messages call this gateway. */
  readonly name: string
  /** @throws GATEWAY_TIMEOUT, ROOT_UNREACHABLE; the signal's reason. */
  readonly get: (path: string, accept: string, onBytes: (bytes: number) => void, signal?: AbortSignal) => Promise<TransportAnswer>
  readonly close: () => Promise<void>
}

/** One response. `next` until null, then `finish`; `finish` alone gives the rest up. */
export interface TransportAnswer {
  readonly status: number
  readonly headers: Headers
  /** Content-Length, or null. */
  readonly length: number | null
  /** Body bytes so far. */
  readonly bytes: number
  /** Media type without parameters, lower case. */
  readonly contentType: string
  readonly next: () => Promise<Uint8Array | null>
  readonly finish: () => Promise<void>
  readonly drop: () => Promise<void>
}
