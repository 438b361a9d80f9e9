// How answers of Kubo's RPC are sent: one JSON value, several, one a line, or bytes. A failure before the first byte still has
// a status of its own.
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'

export interface KuboFile {
  readonly size: number
  /** Bytes of it, in pieces; only ranges within it are asked for. */
  readonly read: (offset: number, length: number) => AsyncIterable<Uint8Array>
}

export function sendJson (response: ServerResponse, value: object): void {
  sendLines(response, [value])
}

export function sendLines (response: ServerResponse, values: readonly object[]): void {
  const body = values.map((value) => `${JSON.stringify(value)}\n`).join('')
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
}

/** Bytes [from, to). */
export async function sendBytes (response: ServerResponse, read: KuboFile['read'], from: number, to: number): Promise<void> {
  const head = { 'content-type': 'application/octet-stream', 'content-length': to - from, 'x-content-length': to - from, 'x-stream-output': '1' }
  if (to > from) {
    // The first piece comes before the headers: what cannot be had still has a status of its own.
    for await (const piece of read(from, to - from)) {
      if (!response.headersSent) response.writeHead(200, head)
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')])
      if (response.destroyed) return
    }
  }
  if (!response.headersSent) response.writeHead(200, head)
  response.end()
}
