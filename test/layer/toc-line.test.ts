import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { decodeTocEntry } from '../../src/layer/toc-entry.ts'
import { TocLineReader } from '../../src/layer/toc-line.ts'
import { type JsonValue, parseStrictJson } from '../../src/oci/strict-json.ts'

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`
const OTHER = `sha256:${'f'.repeat(64)}`

function usual (text: string): unknown {
  const bytes = Buffer.from(` ${text}`)
  const reader = new TocLineReader(bytes)
  const entry = reader.read(1)
  return entry === null ? null : { entry, end: reader.end }
}

/** What the precise way says; its refusal as a text. */
function precise (text: string): unknown {
  try {
    const value = parseStrictJson(Buffer.from(text), { what: 'toc', code: 'TOC_INVALID', bytesMax: 1 << 20 })
    return { entry: decodeTocEntry(value, 'toc', 0), end: text.length + 1 }
  } catch (error) {
    if (isSnapshotterError(error)) return error.line
    throw error
  }
}

const FILE = {
  name: 'usr/lib/a.so', type: 'reg', size: 12, modtime: '2023-01-02T03:04:05.000000006Z', mode: 0o104755, uid: 1, gid: 2, userName: 'u', groupName: 'g',
  offset: 512, innerOffset: 1, digest: DIGEST, chunkOffset: 3, chunkSize: 4, chunkDigest: OTHER
}

describe('takes and reads as the precise way', () => {
  test.each<[string, object]>([
    ['a file with all its fields', FILE],
    ['a file with one digest twice', { ...FILE, chunkDigest: DIGEST }],
    ['a file without digests', { ...FILE, digest: '', chunkDigest: undefined }],
    ['a directory', { name: 'usr/', type: 'dir', mode: 0o755 }],
    ['a link', { name: 'a', type: 'symlink', linkName: '../b' }],
    ['a device', { name: 'a', type: 'char', devMajor: 5, devMinor: 1 }],
    ['a chunk', { name: 'a', type: 'chunk', offset: 9, chunkOffset: 1, chunkDigest: DIGEST }]
  ])('%s', (_name, fields) => {
    for (const indent of [undefined, '\t', ' \n']) {
      const text = JSON.stringify(fields, null, indent)
      expect(usual(text)).not.toBeNull()
      expect(usual(text)).toEqual(precise(text))
    }
  })
})

test.each([
  ['an unknown field', '{"name":"a","type":"dir","new":1}'],
  ['a look-alike', '{"Name":"a","name":"a","type":"dir"}'],
  ['a duplicate', '{"name":"a","name":"a","type":"dir"}'],
  ['an escape', '{"name":"\\u0061","type":"dir"}'],
  ['an escaped key', '{"\\u006eame":"a","type":"dir"}'],
  ['a name beyond ASCII', '{"name":"é","type":"dir"}'],
  ['xattrs', '{"name":"a","type":"dir","xattrs":{}}'],
  ['null', '{"name":null,"type":"dir"}'],
  ['a text for a number', '{"name":"a","type":"reg","size":"1"}'],
  ['a number for a text', '{"name":1,"type":"dir"}'],
  ['a fraction', '{"name":"a","type":"reg","size":1.0}'],
  ['an exponent', '{"name":"a","type":"reg","size":1e1}'],
  ['a negative number', '{"name":"a","type":"reg","size":-1}'],
  ['leading zeros', '{"name":"a","type":"reg","size":01}'],
  ['a number beyond 2^53', '{"name":"a","type":"reg","size":9007199254740993}'],
  ['a raw newline', '{"name":"a\nb","type":"dir"}'],
  ['no type', '{"name":"a"}'],
  ['another type', '{"name":"a","type":"door"}'],
  ['dots', '{"name":"a/../b","type":"dir"}'],
  ['a time that is none', '{"name":"a","type":"dir","modtime":"2023-02-30T00:00:00Z"}'],
  ['an upper-case digest', `{"name":"a","type":"reg","digest":"${DIGEST.toUpperCase()}"}`],
  ['a short digest', `{"name":"a","type":"reg","digest":"${DIGEST.slice(1)}"}`],
  ['a trailing comma', '{"name":"a","type":"dir",}'],
  ['no comma', '{"name":"a" "type":"dir"}'],
  ['no colon', '{"name" "a"}'],
  ['a cut object', '{"name":"a","type":"dir"'],
  ['a cut string', '{"name":"a'],
  ['an empty object', '{}'],
  ['a list', '[]'],
  ['nothing', '']
])('leaves to the precise way: %s', (_name, text) => {
  expect(usual(text)).toBeNull()
})

test('any damage to an entry leaves it to the precise way or changes nothing of what that says', () => {
  const text = JSON.stringify(FILE)
  const piece = fc.constantFrom('"', '\\', '{', '}', ',', ':', '0', '1', 'e', '.', '-', ' ', 'size', '"uid":7,', 'null', '\0', '\u0080', 'Z', 'A', '..')
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat(text.length), fc.nat(3), piece), { minLength: 1, maxLength: 3 }), (damages) => {
    const damaged = damages.reduce((whole, [at, cut, put]) => whole.slice(0, at) + put + whole.slice(at + cut), text)
    const taken = usual(damaged) as { end: number } | null
    if (taken !== null) expect(taken).toEqual(precise(Buffer.from(damaged).subarray(0, taken.end - 1).toString()))
  }), { numRuns: 5000 })
})

test('in a list, usual and other elements come in order, whatever stands between them', () => {
  const usually = '{"name":"u","type":"dir"}'
  const unusually = fc.string({ unit: 'binary' }).map((name) => JSON.stringify({ name, 'né😀': 1 }))
  fc.assert(fc.property(fc.string(), fc.array(fc.oneof(fc.constant(usually), unusually)), (before, elements) => {
    const bytes = Buffer.from(`{${JSON.stringify(`é😀${before}`)}:1,"list": [\n${elements.join(' ,\t')} ] }`)
    const reader = new TocLineReader(bytes)
    const got: string[] = []
    const each = (value: JsonValue): void => { got.push(JSON.stringify(value)) }
    const take = (at: number): number => {
      const entry = reader.read(at)
      if (entry === null) return -1
      got.push(usually)
      return reader.end
    }
    const value = parseStrictJson(bytes, { what: 'toc', code: 'TOC_INVALID', bytesMax: 1 << 20, list: { key: 'list', each, usual: take } })
    expect(Object.keys(value as object)).toHaveLength(2)
    expect(got).toEqual(elements)
  }))
})
