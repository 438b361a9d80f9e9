// Refusals of the gateway: our one error class, with the HTTP status and headers in its details. The text is what the
// client reads.
import { type ErrorCode, isSnapshotterError, SnapshotterError } from '../base/errors.ts'

export type ProblemStatus = 400 | 404 | 405 | 406 | 412 | 429 | 500 | 501

const CODES: Readonly<Record<ProblemStatus, ErrorCode>> = {
  400: 'INVALID_ARGUMENT',
  404: 'NOT_FOUND',
  405: 'UNSUPPORTED',
  406: 'UNSUPPORTED',
  412: 'FAILED_PRECONDITION',
  429: 'RESOURCE_EXHAUSTED',
  500: 'INTERNAL',
  501: 'UNSUPPORTED'
}

export function problem (status: ProblemStatus, message: string, headers: Readonly<Record<string, string>> = {}): SnapshotterError {
  return new SnapshotterError(CODES[status], message, { status, headers })
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

/** What to tell the client. Anything that is no refusal of ours is a 500 that names the code only: paths stay in the log. */
export function answerTo (error: unknown): Answer {
  if (!isSnapshotterError(error)) return { status: 500, headers: {}, text: 'INTERNAL: the gateway failed' }
  const { status, headers } = error.details
  if (typeof status !== 'number') return { status: 500, headers: {}, text: `${error.code}: the gateway cannot serve this block` }
  return { status, headers: headers as Record<string, string>, text: error.message }
}
