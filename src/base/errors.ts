// The one error class. A code from a closed union, a one-line message that stands alone in a log, and two total
// tables that map each code to a gRPC status and to an errno. docs/ARCHITECTURE.md says what each means.

/** gRPC status numbers that we answer (google.rpc.Code). */
export const GRPC = {
  OK: 0, CANCELLED: 1, UNKNOWN: 2, INVALID_ARGUMENT: 3, DEADLINE_EXCEEDED: 4, NOT_FOUND: 5, ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7, RESOURCE_EXHAUSTED: 8, FAILED_PRECONDITION: 9, ABORTED: 10, OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12, INTERNAL: 13, UNAVAILABLE: 14, DATA_LOSS: 15, UNAUTHENTICATED: 16
} as const

interface Meaning { readonly grpc: number, readonly errno: number }

// errno numbers of Linux x86-64 and arm64 (asm-generic/errno-base.h, errno.h).
const ENOENT = 2; const EIO = 5; const EINTR = 4; const EAGAIN = 11; const EEXIST = 17; const EINVAL = 22
const ENOSPC = 28; const EACCES = 13; const ETIMEDOUT = 110; const EOPNOTSUPP = 95; const EBUSY = 16

const MEANINGS = {
  REF_INVALID: { grpc: GRPC.INVALID_ARGUMENT, errno: EINVAL },
  REF_MUTABLE: { grpc: GRPC.INVALID_ARGUMENT, errno: EINVAL },
  ROOT_NOT_FOUND: { grpc: GRPC.NOT_FOUND, errno: EIO },
  ROOT_UNREACHABLE: { grpc: GRPC.UNAVAILABLE, errno: EIO },
  GATEWAY_TIMEOUT: { grpc: GRPC.DEADLINE_EXCEEDED, errno: ETIMEDOUT },
  GATEWAY_RATE_LIMITED: { grpc: GRPC.RESOURCE_EXHAUSTED, errno: EAGAIN },
  GATEWAY_REFUSED: { grpc: GRPC.PERMISSION_DENIED, errno: EIO },
  CAR_TRUNCATED: { grpc: GRPC.UNAVAILABLE, errno: EIO },
  CAR_INVALID: { grpc: GRPC.DATA_LOSS, errno: EIO },
  BLOCK_HASH_MISMATCH: { grpc: GRPC.DATA_LOSS, errno: EIO },
  BLOCK_TOO_LARGE: { grpc: GRPC.OUT_OF_RANGE, errno: EIO },
  BLOCK_INVALID: { grpc: GRPC.DATA_LOSS, errno: EIO },
  CID_UNSUPPORTED: { grpc: GRPC.INVALID_ARGUMENT, errno: EINVAL },
  NOT_OCI: { grpc: GRPC.FAILED_PRECONDITION, errno: EIO },
  MEDIA_TYPE_UNSUPPORTED: { grpc: GRPC.FAILED_PRECONDITION, errno: EOPNOTSUPP },
  PLATFORM_MISSING: { grpc: GRPC.FAILED_PRECONDITION, errno: EIO },
  DIGEST_MISMATCH: { grpc: GRPC.DATA_LOSS, errno: EIO },
  DIFFID_MISMATCH: { grpc: GRPC.DATA_LOSS, errno: EIO },
  TOC_INVALID: { grpc: GRPC.DATA_LOSS, errno: EIO },
  LAYER_INVALID: { grpc: GRPC.DATA_LOSS, errno: EIO },
  LIMIT_EXCEEDED: { grpc: GRPC.RESOURCE_EXHAUSTED, errno: ENOSPC },
  POLICY_DENIED: { grpc: GRPC.PERMISSION_DENIED, errno: EACCES },
  UNSUPPORTED: { grpc: GRPC.UNIMPLEMENTED, errno: EOPNOTSUPP },
  CONFIG_INVALID: { grpc: GRPC.INVALID_ARGUMENT, errno: EINVAL },
  ENVIRONMENT: { grpc: GRPC.FAILED_PRECONDITION, errno: EINVAL },
  MOUNT_FAILED: { grpc: GRPC.UNAVAILABLE, errno: EIO },
  DATA_PLANE_DOWN: { grpc: GRPC.UNAVAILABLE, errno: EIO },
  STATE_INVALID: { grpc: GRPC.DATA_LOSS, errno: EIO },
  CONTAINERD: { grpc: GRPC.UNAVAILABLE, errno: EIO },
  INVALID_ARGUMENT: { grpc: GRPC.INVALID_ARGUMENT, errno: EINVAL },
  NOT_FOUND: { grpc: GRPC.NOT_FOUND, errno: ENOENT },
  ALREADY_EXISTS: { grpc: GRPC.ALREADY_EXISTS, errno: EEXIST },
  FAILED_PRECONDITION: { grpc: GRPC.FAILED_PRECONDITION, errno: EBUSY },
  OUT_OF_RANGE: { grpc: GRPC.OUT_OF_RANGE, errno: EINVAL },
  RESOURCE_EXHAUSTED: { grpc: GRPC.RESOURCE_EXHAUSTED, errno: ENOSPC },
  UNAVAILABLE: { grpc: GRPC.UNAVAILABLE, errno: EAGAIN },
  CANCELLED: { grpc: GRPC.CANCELLED, errno: EINTR },
  INTERNAL: { grpc: GRPC.INTERNAL, errno: EIO }
} as const satisfies Record<string, Meaning>

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
