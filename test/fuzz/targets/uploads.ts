// What clients of Kubo's RPC send: multipart bodies.
import { isSnapshotterError } from '../../../src/base/errors.ts'
import { readParts } from '../../../src/http/multipart.ts'
import { form } from '../../suites/multipart.ts'
import { same, shown, type Target } from '../target.ts'

const BOUNDARY = 'b'

function seeds (): Buffer[] {
  const bodies = [[], [{ name: 'a b/c', bytes: 'content' }], [{ bytes: '' }, { name: 'd', type: 'application/x-directory', bytes: '' }, { name: 'e', bytes: '\r\n--' }]]
  return bodies.map((parts) => {
    const { headers, body } = form(...parts)
    return Buffer.from(body.toString('latin1').replaceAll(headers['content-type'].split('=')[1] ?? '', BOUNDARY), 'latin1')
  })
}

async function * cut (input: Buffer, step: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < input.byteLength; at += step) yield await Promise.resolve(input.subarray(at, at + step))
}

async function parsed (input: Buffer, step: number): Promise<string> {
  const parts: unknown[] = []
  try {
    for await (const { name, mediaType, headers, body } of readParts(cut(input, step), BOUNDARY)) {
      const pieces: Uint8Array[] = []
      for await (const piece of body) pieces.push(Uint8Array.from(piece))
      parts.push([name, mediaType, headers, Buffer.concat(pieces)])
    }
  } catch (error) {
    if (!isSnapshotterError(error)) throw error
    parts.push(error.line)
  }
  return shown(parts)
}

/** The same parts however the network cuts the stream. */
export function makeMultipart (): Target {
  return {
    seeds: seeds(),
    tokens: ['--b', '\r\n--b\r\n', '\r\n--b--', '\r\n\r\n', 'Content-Disposition: form-data; filename="', '%2F', '\\"', ';', ':'],
    run: async (input) => {
      const whole = await parsed(input, input.byteLength + 1)
      same('cut into bytes', await parsed(input, 1), whole)
      same('cut into sevens', await parsed(input, 7), whole)
    }
  }
}
