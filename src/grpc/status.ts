// Errors on the wire, both ways: our `CODE: …` line as the status text, and a peer's status as our error.
import { Metadata, type ServiceError, status, type StatusObject } from '@grpc/grpc-js'
import { asSnapshotterError, type ErrorCode, grpcStatusOf, isSnapshotterError, SnapshotterError } from '../base/errors.ts'

/** What a handler answers instead of a result. */
export function toStatus (error: unknown): StatusObject {
  const ours = asSnapshotterError(error)
  return { code: status[status[grpcStatusOf(ours.code)] as keyof typeof status], details: ours.line, metadata: new Metadata() }
}

const CODES: Readonly<Partial<Record<number, ErrorCode>>> = {
  [status.CANCELLED]: 'CANCELLED',
  [status.INVALID_ARGUMENT]: 'INVALID_ARGUMENT',
  [status.NOT_FOUND]: 'NOT_FOUND',
  [status.ALREADY_EXISTS]: 'ALREADY_EXISTS',
  [status.FAILED_PRECONDITION]: 'FAILED_PRECONDITION',
  [status.RESOURCE_EXHAUSTED]: 'RESOURCE_EXHAUSTED',
  [status.UNAVAILABLE]: 'UNAVAILABLE',
  [status.DATA_LOSS]: 'LAYER_INVALID',
  [status.PERMISSION_DENIED]: 'POLICY_DENIED'
}

/** A status that a containerd answered to `call`, as our error; everything unlisted is CONTAINERD. */
export function fromStatus (error: unknown, call: string): SnapshotterError {
  if (isSnapshotterError(error)) return error
  if (!isServiceError(error)) return asSnapshotterError(error)
  const code = CODES[error.code] ?? 'CONTAINERD'
  const name = status[error.code]
  return new SnapshotterError(code, `containerd answered ${name} to ${call}: ${error.details}`, { grpc: error.code }, { cause: error })
}

function isServiceError (error: unknown): error is ServiceError {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'number' && 'details' in error
}
