// What a gateway says about its budget: Retry-After (RFC 9110 §10.2.3) and the RateLimit fields that gateways send.
import { SOURCE_REST_MS_MAX } from '../base/limits.ts'

export type Headers = Readonly<Record<string, string | string[] | undefined>>

const DEFAULT_REST_MS = 5_000 // a 429 that does not say how long
const LEAST_REST_MS = 1_000 // a 429 that says "at once"

/** Milliseconds from now, at most SOURCE_REST_MS_MAX, or null when nothing (valid) is said. */
export function retryAfterMs (headers: Headers, nowMs: number): number | null {
  const text = first(headers['retry-after'])?.trim()
  if (text === undefined || text === '') return null
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), SOURCE_REST_MS_MAX) : null
}

/** How long a rate-limiting answer silences its source. */
export function restMs (headers: Headers, nowMs: number): number {
  return Math.max(retryAfterMs(headers, nowMs) ?? DEFAULT_REST_MS, LEAST_REST_MS)
}

/** Requests that remain by the answer's own word, or null. */
export function remainingRequests (headers: Headers): number | null {
  const text = first(headers['ratelimit-remaining']) ?? first(headers['x-ratelimit-remaining'])
  return text !== undefined && /^\d{1,9}$/.test(text.trim()) ? Number(text) : null
}

export function first (value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
