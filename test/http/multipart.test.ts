import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { MULTIPART_HEAD_BYTES_MAX } from '../../src/base/limits.ts'
import { boundaryOf, readParts } from '../../src/http/multipart.ts'
import { form } from '../suites/multipart.ts'

interface Read { readonly name: string, readonly mediaType: string, readonly bytes: string }

async function * cut (bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    yield await Promise.resolve(bytes.subarray(at, at + size))
    at += size
  }
}

async function readAll (body: Buffer, boundary: string, sizes: readonly number[] = [1 << 16]): Promise<Read[]> {
  const read: Read[] = []
  for await (const part of readParts(cut(body, sizes), boundary)) {
    const pieces: Uint8Array[] = []
    for await (const piece of part.body) pieces.push(Uint8Array.from(piece))
    read.push({ name: part.name, mediaType: part.mediaType, bytes: Buffer.concat(pieces).toString('latin1') })
  }
  return read
}

test('gives back every part, whatever is in it and however the stream is cut', async () => {
  // Close to a boundary in every way.
  const content = fc.array(fc.constantFrom('\r', '\n', '-', '--', '\r\n--', '\r\n--b', 'b', 'bound', 'x'), { maxLength: 30 }).map((parts) => parts.join(''))
  const parts = fc.array(fc.record({ name: fc.string({ maxLength: 8 }), bytes: content }), { maxLength: 4 })
  await fc.assert(fc.asyncProperty(parts, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 }), async (parts, sizes) => {
    const { headers, body } = form(...parts)
    const wanted = parts.map(({ name, bytes }) => ({ name, mediaType: 'application/octet-stream', bytes }))
    expect(await readAll(body, boundaryOf(headers['content-type']), sizes)).toEqual(wanted)
  }), { numRuns: 200 })
})

test('refuses a body that is cut anywhere', async () => {
  const { headers, body } = form({ name: 'a', bytes: 'content' }, { bytes: '' })
  const boundary = boundaryOf(headers['content-type'])
  for (let length = 0; length < body.length - 2; length++) {
    await expect(readAll(body.subarray(0, length), boundary)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  }
  expect(await readAll(body.subarray(0, -2), boundary)).toHaveLength(2)
})

test('passes over what nobody reads of a part', async () => {
  const { headers, body } = form({ name: 'a', bytes: 'x'.repeat(1_000) }, { name: 'b', bytes: 'y' })
  const names: string[] = []
  for await (const { name } of readParts(cut(body, [7]), boundaryOf(headers['content-type']))) names.push(name)
  expect(names).toEqual(['a', 'b'])
})

test('takes a preamble, an epilogue, quoted boundaries, parts without headers, names that are not escaped', async () => {
  const body = Buffer.from('to old readers\r\n--b\r\nContent-Disposition: form-data; filename="50% of a \\"b\\""\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\nbye')
  expect(boundaryOf('Multipart/Form-Data; charset=utf-8; boundary="b"')).toBe('b')
  expect(await readAll(body, 'b')).toEqual([{ name: '50% of a "b"', mediaType: '', bytes: 'one' }, { name: '', mediaType: '', bytes: 'two' }])
})

test.each([
  ['headers without end', `--b\r\nX: ${'y'.repeat(2 * MULTIPART_HEAD_BYTES_MAX)}`, 'LIMIT_EXCEEDED'],
  ['a header without a name', '--b\r\nnonsense\r\n\r\n\r\n--b--', 'INVALID_ARGUMENT'],
  ['a longer boundary', '--bc\r\n\r\n\r\n--b--', 'INVALID_ARGUMENT']
])('refuses %s', async (_what, body, code) => {
  await expect(readAll(Buffer.from(body), 'b')).rejects.toMatchObject({ code })
})

test.each([undefined, 'application/json', 'multipart/form-data', 'multipart/mixed; boundary=b', `multipart/form-data; boundary=${'b'.repeat(71)}`])(
  'refuses a content type %s', (type) => {
    expect(() => boundaryOf(type)).toThrow(/multipart\/form-data with a boundary/)
  }
)
