// What a gateway's status means for us (trustless gateway spec; boxo's behaviour): which code, whether it is worth
// another try, or that this gateway does not offer the format.
import { type ErrorCode, SnapshotterError } from '../base/errors.ts'

/** Marks an answer that means "not in this format": the other one may work. */
export const FORMAT_REFUSED = 'formatRefused'

export const RAW_TYPE = 'application/vnd.ipld.raw'
export const CAR_TYPE = 'application/vnd.ipld.car'
export const CAR_ACCEPT = `${CAR_TYPE};version=1;order=dfs;dups=n`

const CODES: Readonly<Record<number, ErrorCode>> = {
  401: 'GATEWAY_REFUSED',
  403: 'GATEWAY_REFUSED',
  404: 'ROOT_NOT_FOUND',
  410: 'GATEWAY_REFUSED',
  412: 'ROOT_NOT_FOUND',
  429: 'GATEWAY_RATE_LIMITED',
  451: 'GATEWAY_REFUSED'
}

/** 400 is what strict gateways say to a format they do not know; 406 and 415 are what the spec says; 501 what CDNs say. */
const FORMAT_STATUSES: readonly number[] = [400, 406, 415, 501]
const TRANSIENT_STATUSES: readonly number[] = [408, 500, 502, 503, 504]

/** Null for 200. */
export function failureOfStatus (status: number): SnapshotterError | null {
  if (status === 200) return null
  const code = CODES[status] ?? 'ROOT_UNREACHABLE'
  return new SnapshotterError(code, String(status), { [FORMAT_REFUSED]: FORMAT_STATUSES.includes(status), status })
}

/** Gateways that ignore `format` answer with another type: their bytes prove nothing. Some proxies say octet-stream. */
export function failureOfType (wanted: string, got: string): SnapshotterError | null {
  if (got === wanted || got === '' || (wanted === RAW_TYPE && got === 'application/octet-stream')) return null
  return new SnapshotterError('ROOT_UNREACHABLE', `${got.slice(0, 60)} instead of ${wanted}`, { [FORMAT_REFUSED]: true })
}

export function isTransient (error: SnapshotterError): boolean {
  const status = error.details['status']
  if (typeof status === 'number') return TRANSIENT_STATUSES.includes(status)
  return error.code === 'CAR_TRUNCATED' || (error.code === 'ROOT_UNREACHABLE' && error.details[FORMAT_REFUSED] !== true)
}
