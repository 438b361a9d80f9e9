// multipart/form-data as it arrives (RFC 7578, RFC 2046 §5.1): parts one after the other, each a stream of bytes. Only what may
// be the beginning of a boundary is held back, so a part may have any length. What ends early is refused, never taken as whole.
import { drain } from '../base/drain.ts'
import { SnapshotterError } from '../base/errors.ts'
import { MULTIPART_HEAD_BYTES_MAX } from '../base/limits.ts'

export interface Part {
  /** Of the file, decoded; empty without one. */
  readonly name: string
  /** Lower case, without parameters. */
  readonly mediaType: string
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>
  /** To be read before the next part is asked for; what was not read is passed over. */
  readonly body: AsyncIterable<Uint8Array>
}

const CRLF = Buffer.from('\r\n')
const HEAD_END = Buffer.from('\r\n\r\n')
const BOUNDARY_CHARS_MAX = 70 // RFC 2046 §5.1.1

/** The `boundary` of a Content-Type. @throws INVALID_ARGUMENT when it is no multipart/form-data. */
export function boundaryOf (contentType: string | undefined): string {
  const [, quoted, plain] = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]+)"|([^\s;"]+))/i.exec(contentType ?? '') ?? []
  const boundary = quoted ?? plain ?? ''
  if (boundary === '' || boundary.length > BOUNDARY_CHARS_MAX) {
    const got = JSON.stringify((contentType ?? '').slice(0, 80))
    throw new SnapshotterError('INVALID_ARGUMENT', `files are sent as multipart/form-data with a boundary, not as ${got}`)
  }
  return boundary
}

/** @throws INVALID_ARGUMENT for what is cut or no multipart, LIMIT_EXCEEDED for endless headers; what `input` throws. */
export async function * readParts (input: AsyncIterable<Uint8Array>, boundary: string): AsyncGenerator<Part, undefined> {
  const reader = new Reader(input)
  const delimiter = Buffer.from(`\r\n--${boundary}`)
  try {
    reader.unread(CRLF) // the first boundary may stand at the very beginning
    await drain(reader.until(delimiter))
    while (await reader.opensPart()) {
      const head = readHead(await reader.head())
      const body = reader.until(delimiter)
      yield { ...head, body: { [Symbol.asyncIterator]: () => body } }
      await drain(body)
    }
  } finally {
    await reader.close()
  }
}

class Reader {
  readonly #input: AsyncIterator<Uint8Array>
  #held: Buffer = Buffer.alloc(0)

  constructor (input: AsyncIterable<Uint8Array>) {
    this.#input = input[Symbol.asyncIterator]()
  }

  unread (bytes: Buffer): void {
    this.#held = Buffer.concat([bytes, this.#held])
  }

  /** What comes before the delimiter, which is passed over. Whoever stops reading it goes on where he stopped. */
  until (delimiter: Buffer): AsyncIterableIterator<Uint8Array> {
    let isOver = false
    const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      while (!isOver) {
        const at = this.#held.indexOf(delimiter)
        isOver = at >= 0
        const ready = isOver ? at : Math.max(this.#held.byteLength - delimiter.byteLength + 1, 0)
        const piece = this.#held.subarray(0, ready)
        this.#held = this.#held.subarray(isOver ? at + delimiter.byteLength : ready)
        if (piece.byteLength > 0) return { done: false, value: piece }
        if (!isOver) await this.#more()
      }
      return { done: true, value: undefined }
    }
    return { next, [Symbol.asyncIterator] () { return this } }
  }

  /** Lets go of the input, which others may read on. */
  async close (): Promise<void> {
    await this.#input.return?.()
  }

  /** After a delimiter: whether a part follows, or the end. */
  async opensPart (): Promise<boolean> {
    while (this.#held.byteLength < 2) await this.#more()
    const mark = this.#held.subarray(0, 2).toString('latin1')
    this.#held = this.#held.subarray(2)
    if (mark === '--') return false
    if (mark === '\r\n') return true
    throw new SnapshotterError('INVALID_ARGUMENT', 'multipart body: a boundary with something behind it')
  }

  async head (): Promise<string> {
    this.unread(CRLF) // a part without headers has its empty line at once
    for (;;) {
      const end = this.#held.indexOf(HEAD_END)
      if (Math.max(end, this.#held.byteLength - HEAD_END.byteLength) > MULTIPART_HEAD_BYTES_MAX && (end < 0 || end > MULTIPART_HEAD_BYTES_MAX)) {
        throw new SnapshotterError('LIMIT_EXCEEDED', `multipart body: headers of more than ${MULTIPART_HEAD_BYTES_MAX} bytes`)
      }
      if (end >= 0) {
        const head = this.#held.subarray(0, end).toString('utf8')
        this.#held = this.#held.subarray(end + HEAD_END.byteLength)
        return head
      }
      await this.#more()
    }
  }

  async #more (): Promise<void> {
    const next: IteratorResult<Uint8Array, unknown> = await this.#input.next()
    if (next.done === true) throw new SnapshotterError('INVALID_ARGUMENT', 'multipart body: it ends before its last boundary')
    const { value } = next
    this.#held = this.#held.byteLength === 0 ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.concat([this.#held, value])
  }
}

function readHead (text: string): Omit<Part, 'body'> {
  const headers = new Map<string, string>()
  for (const line of text.split('\r\n').filter((line) => line !== '')) {
    const colon = line.indexOf(':')
    if (colon < 1) throw new SnapshotterError('INVALID_ARGUMENT', `multipart body: a header line ${JSON.stringify(line.slice(0, 80))}`)
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  const [mediaType = ''] = (headers.get('content-type') ?? '').split(';')
  return { name: fileName(headers.get('content-disposition') ?? ''), mediaType: mediaType.trim().toLowerCase(), headers }
}

/** Clients of Kubo escape it as a query; as there, a name that is not escaped is taken as it is (boxo files/multipartfile.go). */
function fileName (disposition: string): string {
  const [, quoted, plain] = /;\s*filename=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(disposition) ?? []
  const name = quoted?.replace(/\\(.)/g, '$1') ?? plain ?? ''
  try {
    return decodeURIComponent(name.replaceAll('+', ' '))
  } catch {
    return name
  }
}
