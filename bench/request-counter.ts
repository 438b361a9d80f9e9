// Counts HTTP/1.1 requests in the bytes that a client sends, pipelined or not. Bodies with a Content-Length are stepped
// over; a chunked body is refused, because guessing would make the count a lie.

const HEAD_BYTES_MAX = 64 * 1024
const HEAD_END = '\r\n\r\n'

export class RequestCounter {
  readonly #onRequest: (line: string) => void
  #head = ''
  #bodyLeft = 0

  constructor (onRequest: (line: string) => void) {
    this.#onRequest = onRequest
  }

  push (chunk: Uint8Array): void {
    let at = Math.min(this.#bodyLeft, chunk.byteLength)
    this.#bodyLeft -= at
    while (at < chunk.byteLength) {
      const before = this.#head.length
      this.#head += Buffer.from(chunk.buffer, chunk.byteOffset + at, chunk.byteLength - at).toString('latin1')
      const end = this.#head.indexOf(HEAD_END)
      if (end < 0) {
        if (this.#head.length > HEAD_BYTES_MAX) throw new Error(`request head of more than ${HEAD_BYTES_MAX} bytes`)
        return
      }
      const body = bodyLength(this.#head.slice(0, end))
      this.#onRequest(this.#head.slice(0, this.#head.indexOf('\r\n')))
      at += end + HEAD_END.length - before
      this.#head = ''
      this.#bodyLeft = Math.max(0, body - (chunk.byteLength - at))
      at += body - this.#bodyLeft
    }
  }
}

function bodyLength (head: string): number {
  if (/\r\ntransfer-encoding:/i.test(head)) throw new Error('cannot count requests behind a chunked body')
  return Number(/\r\ncontent-length:[ \t]*(\d+)/i.exec(head)?.[1] ?? 0)
}
