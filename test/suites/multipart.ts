// Bodies of multipart/form-data as clients of Kubo send them: nerdctl's (one part `file`), those of boxo and kubo-rpc-client.
import { randomUUID } from 'node:crypto'

export interface FormPart { readonly name?: string, readonly type?: string, readonly bytes: Uint8Array | string }

export interface Form { readonly headers: { readonly 'content-type': string }, readonly body: Buffer }

export function form (...parts: readonly FormPart[]): Form {
  const boundary = randomUUID()
  const pieces = parts.flatMap(({ name, type = 'application/octet-stream', bytes }) => [
    `--${boundary}\r\n`,
    `Content-Disposition: form-data; name="file"${name === undefined ? '' : `; filename="${encodeURIComponent(name)}"`}\r\nContent-Type: ${type}\r\n\r\n`,
    bytes, '\r\n'
  ])
  return {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    body: Buffer.concat([...pieces, `--${boundary}--\r\n`].map((piece) => Buffer.from(piece)))
  }
}
