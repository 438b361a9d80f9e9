// The command line's side of the control socket. What answers there is a daemon of perhaps another version, or no daemon at all:
// an answer that makes no sense is UNAVAILABLE.
import { type IncomingMessage, request } from 'node:http'
import { ERROR_CODES, type ErrorCode, isSnapshotterError, messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { CONTROL_CALL_DEADLINE_MS, CONTROL_LINE_CHARS_MAX } from '../base/limits.ts'

interface Line {
  readonly event?: object
  readonly result?: object
  readonly error?: { readonly code: string, readonly message: string }
}

/**
 * Calls the daemon whose state folder holds `socket`. A call whose events nobody wants must be answered within CONTROL_CALL_DEADLINE_MS;
 * the others take as long as they take, or until the signal fires: then the daemon gives the call up, too.
 * @throws what the daemon answered, or UNAVAILABLE without one; the signal's reason.
 */
export async function callControl (
  socket: string, path: string, body: object | null, onEvent?: (event: object) => void, signal?: AbortSignal
): Promise<object> {
  const late = new SnapshotterError('UNAVAILABLE', `the daemon on ${socket} did not answer ${path} within ${CONTROL_CALL_DEADLINE_MS} ms; see its log`)
  const ending = new AbortController()
  const timer = onEvent === undefined ? setTimeout(() => { ending.abort(late) }, CONTROL_CALL_DEADLINE_MS) : undefined
  try {
    const ends = AbortSignal.any([ending.signal, ...signal === undefined ? [] : [signal]])
    return await converse({ socket, path, body, signal: ends, onEvent: onEvent ?? (() => {}) })
  } catch (error) {
    throw ending.signal.aborted ? late : signal?.aborted === true ? signal.reason : error
  } finally {
    clearTimeout(timer)
  }
}

interface Conversation {
  readonly socket: string
  readonly path: string
  readonly body: object | null
  readonly signal: AbortSignal
  readonly onEvent: (event: object) => void
}

async function converse ({ socket, path, body, signal, onEvent }: Conversation): Promise<object> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const call = request({ socketPath: socket, path, method: 'POST', signal }, resolve)
    call.once('error', (cause) => { reject(unreachable(socket, cause)) })
    call.end(body === null ? '' : JSON.stringify(body))
  })
  for await (const line of linesOf(response)) {
    if (line.event !== undefined) onEvent(line.event)
    if (line.result !== undefined) return line.result
    if (line.error !== undefined) throw new SnapshotterError(knownCode(line.error.code), line.error.message)
  }
  throw new SnapshotterError('UNAVAILABLE', 'the daemon ended before it answered; see its log')
}

async function * linesOf (response: IncomingMessage): AsyncGenerator<Line> {
  let rest = ''
  response.setEncoding('utf8')
  try {
    for await (const part of response as AsyncIterable<string>) {
      const lines = (rest + part).split('\n')
      rest = lines.pop() ?? ''
      if (rest.length > CONTROL_LINE_CHARS_MAX) throw senseless(`a line of more than ${CONTROL_LINE_CHARS_MAX} characters`)
      for (const line of lines) yield lineOf(JSON.parse(line))
    }
  } catch (cause) {
    if (isSnapshotterError(cause)) throw cause
    throw new SnapshotterError('UNAVAILABLE', `the daemon broke off its answer (${systemCode(cause) ?? messageOf(cause)}); see its log`, {}, { cause })
  }
}

/** @throws UNAVAILABLE unless it is an object whose known fields have their types. */
function lineOf (value: unknown): Line {
  if (!isObject(value)) throw senseless('a line that is no object')
  for (const key of ['event', 'result', 'error']) if (key in value && !isObject(value[key])) throw senseless(`a line whose ${key} is no object`)
  const { error } = value
  if (isObject(error) && (typeof error['code'] !== 'string' || typeof error['message'] !== 'string')) throw senseless('an error without code and message')
  return value
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function senseless (what: string): SnapshotterError {
  return new SnapshotterError('UNAVAILABLE', `the daemon answered ${what}; is it of another version?`)
}

function unreachable (socket: string, cause: unknown): SnapshotterError {
  const why = systemCode(cause) ?? messageOf(cause)
  return new SnapshotterError('UNAVAILABLE', `no daemon answers on ${socket} (${why}); start it with: ipfs-snapshotter serve`, {}, { cause })
}

function knownCode (text: string): ErrorCode {
  return ERROR_CODES.find((code) => code === text) ?? 'INTERNAL'
}
