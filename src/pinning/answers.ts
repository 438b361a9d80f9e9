// What servers of others answer, before it is believed: bounded, quoted in messages, and read as JSON or refused in one line.
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { RPC_ANSWER_BYTES_MAX } from '../base/limits.ts'

const SHOWN_CHARS = 200

/** Foreign text in a message: one line, no control characters, cut. */
export function quoted (text: string): string {
  return JSON.stringify(text.trim().slice(0, SHOWN_CHARS)).replaceAll('\u007f', '\\u007f')
}

/** A whole body. @throws PIN_FAILED when it does not end. */
export async function boundedText (body: AsyncIterable<Uint8Array>, who: string): Promise<string> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of body) {
    bytes += piece.byteLength
    if (bytes > RPC_ANSWER_BYTES_MAX) throw new SnapshotterError('PIN_FAILED', `${who} answers with more than ${RPC_ANSWER_BYTES_MAX} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString('utf8')
}

/** Null for what is no JSON object. */
export function jsonObject (text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : null
  } catch {
    return null
  }
}

/** Whether the text names this CID, in whatever version and base. */
export function isCid (text: unknown, wanted: CID): boolean {
  try {
    return typeof text === 'string' && CID.parse(text).toV1().equals(wanted.toV1())
  } catch {
    return false
  }
}

/** The code of a system error or the message, of errors that wrap one another in undici's way. */
export function reasonOf (error: unknown): string {
  const { code, message, cause, errors } = (error ?? {}) as { code?: unknown, message?: unknown, cause?: unknown, errors?: unknown[] }
  if (typeof code === 'string' && !code.startsWith('UND_ERR_SOCKET')) return code
  if (Array.isArray(errors) && errors.length > 0) return reasonOf(errors[0])
  if (cause !== undefined && cause !== null) return reasonOf(cause)
  return typeof message === 'string' && message !== '' ? message : 'connection failed'
}
