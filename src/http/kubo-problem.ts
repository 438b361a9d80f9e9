// Failures in Kubo's shape. nerdctl shows a client the status and not the text, so that each kind of failure has a status of
// its own; the whole line is in our log.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ErrorCode, SnapshotterError } from '../base/errors.ts'
import { UPLOAD_LINGER_MS } from '../base/limits.ts'

/** All others: 500, as Kubo. */
const STATUSES: Readonly<Partial<Record<ErrorCode, number>>> = {
  REF_INVALID: 400,
  INVALID_ARGUMENT: 400,
  CID_UNSUPPORTED: 400,
  POLICY_DENIED: 403,
  ROOT_NOT_FOUND: 404,
  NOT_FOUND: 404,
  PLATFORM_MISSING: 406,
  DIGEST_MISMATCH: 409,
  BLOCK_HASH_MISMATCH: 409,
  CAR_INVALID: 400,
  CAR_TRUNCATED: 400,
  BLOCK_TOO_LARGE: 413,
  REF_MUTABLE: 410,
  CONFIG_INVALID: 412,
  LIMIT_EXCEEDED: 413,
  MEDIA_TYPE_UNSUPPORTED: 415,
  NOT_OCI: 422,
  CONTAINERD: 424,
  FAILED_PRECONDITION: 424,
  GATEWAY_RATE_LIMITED: 429,
  GATEWAY_REFUSED: 451,
  UNSUPPORTED: 501,
  ROOT_UNREACHABLE: 502,
  UNAVAILABLE: 503,
  RESOURCE_EXHAUSTED: 507,
  GATEWAY_TIMEOUT: 504
}

const CODE_NORMAL = 0 // github.com/ipfs/go-ipfs-cmds error.go
const CODE_CLIENT = 1
const CODE_NOT_FOUND = 3

/** After the headers only a broken connection can say that the rest will not come. */
export function refuseKubo (request: IncomingMessage, response: ServerResponse, { code, line }: SnapshotterError): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const status = STATUSES[code] ?? 500
  const body = JSON.stringify({ Message: line, Code: status === 400 ? CODE_CLIENT : code === 'NOT_FOUND' ? CODE_NOT_FOUND : CODE_NORMAL, Type: 'error' })
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  // A connection that is cut while its client sends takes the answer with it.
  if (request.complete) return
  const over = setTimeout(() => { request.destroy() }, UPLOAD_LINGER_MS).unref()
  request.once('close', () => { clearTimeout(over) }).once('end', () => { clearTimeout(over) }).resume()
}
