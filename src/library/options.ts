// What callers of the library may choose, with its defaults, and checked: they may be plain JavaScript.
import { SnapshotterError } from '../base/errors.ts'
import { GATEWAY_TIMEOUT_MS, IMAGE_BYTES_MAX, RESOLVE_DEADLINE_MS } from '../base/limits.ts'
import type { SourceSettings } from './sources.ts'

export interface ImageOptions {
  /** Gateway URLs, or settings of gateways and CAR files, asked in this order. May be empty when the reference names a gateway. */
  readonly sources?: ReadonlyArray<string | SourceSettings> | undefined
  /** Do not ask the gateway that a reference names: a server that takes references from strangers would connect to any host. */
  readonly ignoreNamedGateway?: boolean | undefined
  /** `os/architecture[/variant]`; default Linux on this machine's processor. */
  readonly platform?: string | undefined
  /** Gives up with CANCELLED. */
  readonly signal?: AbortSignal | undefined
  /** Of the whole way to manifest and config. Default 120,000; then GATEWAY_TIMEOUT. */
  readonly resolveTimeoutMs?: number | undefined
  /** Of each silence of a gateway whose settings name none. Default 10,000. */
  readonly gatewayTimeoutMs?: number | undefined
  /** Of all layers, compressed; more is LIMIT_EXCEEDED before any is fetched. Default and most: 20 GiB. */
  readonly maxImageBytes?: number | undefined
}

export interface VerifyOptions extends ImageOptions {
  readonly onProgress?: ((event: VerifyProgress) => void) | undefined
}

export type VerifyProgress =
  /** What is to be proven: distinct layers and their bytes. */
  | { readonly event: 'resolved', readonly layers: number, readonly size: number }
  | { readonly event: 'begin', /** Its digest. */ readonly layer: string, readonly size: number }
  | { readonly event: 'advance', readonly layer: string, /** More than before. */ readonly bytes: number }
  | { readonly event: 'end', readonly layer: string, readonly tarBytes: number, readonly chunks: number }
  /** After the layers: files below the root that are none, like other platforms' blobs. */
  | { readonly event: 'others', /** More than before. */ readonly bytes: number }

export interface CheckedOptions {
  readonly sources: readonly SourceSettings[]
  readonly resolveTimeoutMs: number
  readonly gatewayTimeoutMs: number
  readonly maxImageBytes: number
}

/** @throws INVALID_ARGUMENT */
export function checkOptions (options: ImageOptions): CheckedOptions {
  const { sources = [], resolveTimeoutMs = RESOLVE_DEADLINE_MS, gatewayTimeoutMs = GATEWAY_TIMEOUT_MS, maxImageBytes = IMAGE_BYTES_MAX } = options
  const unchecked: unknown = sources
  if (!Array.isArray(unchecked)) throw new SnapshotterError('INVALID_ARGUMENT', 'sources is no array of URLs and settings')
  for (const [name, value] of Object.entries({ resolveTimeoutMs, gatewayTimeoutMs, maxImageBytes })) {
    if (Number.isSafeInteger(value) && value > 0) continue
    throw new SnapshotterError('INVALID_ARGUMENT', `${name} is ${JSON.stringify(value)}, not a whole number above 0`)
  }
  const settings = sources.map((source) => {
    const named = typeof source === 'string' ? { type: 'gateway' as const, url: source } : source
    return named.type === 'gateway' ? { ...named, timeoutMs: named.timeoutMs ?? gatewayTimeoutMs } : named
  })
  return { sources: settings, resolveTimeoutMs, gatewayTimeoutMs, maxImageBytes }
}
