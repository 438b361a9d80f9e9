// The command line's side of the control socket.
import { request } from 'node:http'
import { createInterface } from 'node:readline'
import { ERROR_CODES, type ErrorCode, messageOf, SnapshotterError, systemCode } from '../base/errors.ts'

interface Line {
  readonly event?: object
  readonly result?: object
  readonly error?: { readonly code: string, readonly message: string }
}

/** Calls the daemon whose state folder holds `socket`. @throws what the daemon answered, or UNAVAILABLE without one. */
export async function callControl (socket: string, path: string, body: object | null, onEvent: (event: object) => void = () => {}): Promise<object> {
  const lines = await new Promise<AsyncIterable<string>>((resolve, reject) => {
    const call = request({ socketPath: socket, path, method: 'POST' }, (response) => { resolve(createInterface({ input: response })) })
    call.once('error', (cause) => { reject(unreachable(socket, cause)) })
    call.end(body === null ? '' : JSON.stringify(body))
  })
  for await (const text of lines) {
    const line = JSON.parse(text) as Line
    if (line.event !== undefined) onEvent(line.event)
    if (line.result !== undefined) return line.result
    if (line.error !== undefined) throw new SnapshotterError(knownCode(line.error.code), line.error.message)
  }
  throw new SnapshotterError('UNAVAILABLE', 'the daemon ended before it answered; see its log')
}

function unreachable (socket: string, cause: unknown): SnapshotterError {
  const why = systemCode(cause) ?? messageOf(cause)
  return new SnapshotterError('UNAVAILABLE', `no daemon answers on ${socket} (${why}); start it with: ipfs-snapshotter serve`, {}, { cause })
}

function knownCode (text: string): ErrorCode {
  return ERROR_CODES.find((code) => code === text) ?? 'INTERNAL'
}
