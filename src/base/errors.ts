// The one error class. A code from the closed table in error-codes.ts and a one-line message that stands alone in a log.
import { MEANINGS } from './error-codes.ts'

export type ErrorCode = keyof typeof MEANINGS
export const ERROR_CODES = Object.keys(MEANINGS) as ErrorCode[]

/** Data that explains an error; the message must already stand alone without it. */
export type ErrorDetails = Readonly<Record<string, unknown>>

export class SnapshotterError extends Error {
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor (code: ErrorCode, message: string, details: ErrorDetails = {}, options: { cause?: unknown } = {}) {
    super(oneLine(message), options)
    this.name = 'SnapshotterError'
    this.code = code
    this.details = details
  }

  /** `CODE: what, on what (…); hint`: the line that commands print and gRPC statuses carry. */
  get line (): string {
    return `${this.code}: ${this.message}`
  }
}

/** True for our error, also across realms (Jest gives each test file its own `Error`, Node's come from another). */
export function isSnapshotterError (error: unknown): error is SnapshotterError {
  return isObject(error) && 'line' in error && 'code' in error && String(error.code) in MEANINGS
}

export function hasCode (error: unknown, ...codes: ErrorCode[]): boolean {
  return isSnapshotterError(error) && codes.includes(error.code)
}

/** Any thrown thing as ours; unknown errors become INTERNAL and abort signals CANCELLED, with the cause kept. */
export function asSnapshotterError (error: unknown): SnapshotterError {
  if (isSnapshotterError(error)) return error
  const aborted = isObject(error) && 'name' in error && error.name === 'AbortError'
  return new SnapshotterError(aborted ? 'CANCELLED' : 'INTERNAL', messageOf(error), {}, { cause: error })
}

/** The errno name of a system error (`ENOENT`), or null. */
export function systemCode (error: unknown): string | null {
  return isObject(error) && 'code' in error && typeof error.code === 'string' ? error.code : null
}

export function messageOf (error: unknown): string {
  return isObject(error) && 'message' in error ? String(error.message) : String(error)
}

function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

export function grpcStatusOf (code: ErrorCode): number {
  return MEANINGS[code].grpc
}

export function errnoOf (code: ErrorCode): number {
  return MEANINGS[code].errno
}

function oneLine (text: string): string {
  return text.replace(/[\r\n]+/g, ' ')
}
