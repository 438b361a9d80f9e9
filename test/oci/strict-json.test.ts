import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { type JsonValue, parseStrictJson } from '../../src/oci/strict-json.ts'

const OPTIONS = { what: 'text', code: 'NOT_OCI', bytesMax: 1 << 20 } as const

function parse (text: string | Uint8Array, options: Partial<Parameters<typeof parseStrictJson>[1]> = {}): JsonValue {
  return parseStrictJson(typeof text === 'string' ? Buffer.from(text) : text, { ...OPTIONS, ...options })
}

function lineOf (work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (isSnapshotterError(error)) return error.line
    throw error
  }
  return 'accepted'
}

describe('reads what JSON.parse reads', () => {
  test('of any JSON value, in any layout', () => {
    fc.assert(fc.property(fc.jsonValue({ maxDepth: 8 }), fc.constantFrom(0, 1, '\t', ' \n'), (value, indent) => {
      const text = JSON.stringify(value, null, indent)
      expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)))
    }), { numRuns: 500 })
  })

  test.each([
    ['"\\u00e9\\n\\t\\r\\b\\f\\/\\\\\\""', 'é\n\t\r\b\f/\\"'], ['"\\ud83d\\ude00"', '😀'], ['"😀 é"', '😀 é'], [' [ ] ', []],
    ['-0.5e+2', -50], ['0', 0], ['9007199254740991', 9007199254740991], ['true', true], ['null', null]
  ])('%s', (text, value) => {
    expect(parse(text)).toEqual(value)
  })
})

describe('refuses', () => {
  test.each([
    ['duplicate keys', '{"a":1,"a":1}', 'character 10: duplicate key "a"'],
    ['duplicate keys deep inside', '[{"x":{"b":[{"k":1,"k":2}]}}]', 'character 22: duplicate key "k"'],
    ['duplicate keys spelled differently', '{"a":1,"\\u0061":2}', 'character 15: duplicate key "a"'],
    ['a second __proto__', '{"__proto__":1,"__proto__":2}', 'character 26: duplicate key "__proto__"'],
    ['data after the end', '{} {}', 'character 3: data after the end'],
    ['a NUL after the end', '{}\0', 'character 2: data after the end'],
    ['a byte order mark', '\ufeff{}', 'character 0: a value was expected'],
    ['nothing', '', 'character 0: the text ends early'],
    ['half a document', '{"a":', 'character 5: the text ends early'],
    ['half a string', '"abc', 'character 4: the text ends inside a string'],
    ['a trailing comma', '[1,]', 'character 3: a value was expected'],
    ['a trailing comma in an object', '{"a":1,}', 'character 7: a key was expected'],
    ['a missing comma', '[1 2]', 'character 3: "," or "]" was expected'],
    ['a missing colon', '{"a" 1}', 'character 5: ":" was expected'],
    ['a wrong closing bracket', '{"a":1]', 'character 6: "," or "}" was expected'],
    ['a key without quotes', '{a:1}', 'character 1: a key was expected'],
    ['single quotes', "{'a':1}", 'character 1: a key was expected'],
    ['comments', '{/**/}', 'character 1: a key was expected'],
    ['NaN', 'NaN', 'character 0: a value was expected'],
    ['Infinity', '1e999', 'character 0: number out of range'],
    ['leading zeros', '[01]', 'character 2: "," or "]" was expected'],
    ['a plus sign', '+1', 'character 0: a value was expected'],
    ['a bare point', '.5', 'character 0: a value was expected'],
    ['a bare minus', '-', 'character 0: bad number'],
    ['hex', '0x10', 'character 1: data after the end'],
    ['a raw newline in a string', '"a\nb"', 'character 2: control character in a string'],
    ['a bad escape', '"\\x41"', 'character 1: bad escape'],
    ['a short \\u escape', '"\\u12"', 'character 1: bad escape'],
    ['half a surrogate pair', '"\\ud83d"', 'character 1: half a surrogate pair'],
    ['half a word', 'tru', 'character 0: a value was expected'],
    ['a non-breaking space', '\u00a0{}', 'character 0: a value was expected']
  ])('%s', (_name, text, reason) => {
    expect(lineOf(() => parse(text))).toBe(`NOT_OCI: text: not strict JSON at ${reason}`)
  })

  test.each([
    ['an overlong NUL', [0x22, 0xc0, 0x80, 0x22]], ['a CESU surrogate', [0x22, 0xed, 0xa0, 0x80, 0x22]],
      ['a cut sequence', [0x22, 0xe2, 0x82, 0x22]]
  ])('%s in UTF-8', (_name, bytes) => {
    expect(lineOf(() => parse(Uint8Array.from(bytes)))).toBe('NOT_OCI: text: not UTF-8')
  })

  test('with the code that the caller names', () => {
    expect(lineOf(() => parse('[', { code: 'TOC_INVALID' }))).toBe('TOC_INVALID: text: not strict JSON at character 1: the text ends early')
  })
})

describe('has limits: the limit passes, one more does not', () => {
  test('bytes', () => {
    expect(parse('[1]', { bytesMax: 3 })).toEqual([1])
    expect(lineOf(() => parse('[1] ', { bytesMax: 3 }))).toBe('LIMIT_EXCEEDED: text has 4 bytes, limit 3')
  })

  test('depth', () => {
    expect(parse('[{"a":[]}]', { depthMax: 3 })).toEqual([{ a: [] }])
    expect(lineOf(() => parse('[{"a":[[]]}]', { depthMax: 3 }))).toBe('LIMIT_EXCEEDED: text nests deeper than 3')
    expect(lineOf(() => parse('['.repeat(100_000)))).toBe('LIMIT_EXCEEDED: text nests deeper than 64')
  })

  test('values', () => {
    expect(parse('[1,2]', { valuesMax: 3 })).toEqual([1, 2])
    expect(lineOf(() => parse('[1,2,3]', { valuesMax: 3 }))).toBe('LIMIT_EXCEEDED: text has more than 3 values')
  })
})

test('keys are keys, whatever they are called', () => {
  const value = parse('{"__proto__":{"polluted":1},"constructor":2,"toString":3}') as Record<string, JsonValue>

  expect(Object.keys(value)).toEqual(['__proto__', 'constructor', 'toString'])
  expect(value['polluted']).toBeUndefined()
  expect('hasOwnProperty' in value).toBe(false)
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
})

const jsonish = (characters: string): fc.Arbitrary<string> => fc.string({ unit: fc.constantFrom(...characters.split('')) })

test('any bytes end in a value or in an error of ours', () => {
  const text = jsonish('{}[]",:\\u0d8 1e-.atrufl').map((characters) => Buffer.from(characters))
  fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 40 }), text), (bytes) => {
    expect(lineOf(() => parse(bytes))).toMatch(/^(accepted|NOT_OCI: text: .+)$/)
  }), { numRuns: 2000 })
})

test('accepts no text that JSON.parse refuses', () => {
  fc.assert(fc.property(jsonish('{}[]",:\\u0d8 1e-.'), (text) => {
    if (lineOf(() => parse(text)) === 'accepted') expect(() => JSON.parse(text) as unknown).not.toThrow()
  }), { numRuns: 5000 })
})
