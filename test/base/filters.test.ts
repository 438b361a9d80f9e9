import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { unquote } from '../../src/base/filter-quote.ts'
import { compilePattern } from '../../src/base/filter-regexp.ts'
import { parseFilters } from '../../src/base/filters.ts'
import { snapshotField, type SnapshotInfo } from '../../src/snapshots/snapshot.ts'

const info = (some: Partial<SnapshotInfo> = {}): SnapshotInfo =>
  ({ name: 'name', parent: '', kind: 'active', createdNs: 1n, updatedNs: 1n, labels: {}, ...some })
const matches = (filter: string | readonly string[], some: Partial<SnapshotInfo> = {}): boolean =>
  parseFilters(typeof filter === 'string' ? [filter] : filter, snapshotField)(info(some))

const CHAIN = `sha256:${'ab'.repeat(32)}`

describe('a filter', () => {
  test('finds a remote snapshot the way containerd asks for it', () => {
    const labels = { 'containerd.io/snapshot.ref': CHAIN }
    const asked = `labels."containerd.io/snapshot.ref"==${CHAIN},parent==""`
    expect(matches(asked, { labels })).toBe(true)
    expect(matches(asked, { labels, parent: 'p' })).toBe(false)
    expect(matches(`labels."containerd.io/snapshot.ref"==${CHAIN},parent=="default/3/${CHAIN}"`, { labels, parent: `default/3/${CHAIN}` })).toBe(true)
    expect(matches(asked)).toBe(false)
  })

  test('matches all when there is none or an empty one', () => {
    expect(matches([])).toBe(true)
    expect(matches('')).toBe(true)
    expect(matches(['name==other', ''])).toBe(true)
  })

  test('joins with AND inside one string and OR between strings', () => {
    expect(matches('name==name,kind==active')).toBe(true)
    expect(matches('name==name,kind==view')).toBe(false)
    expect(matches(['kind==view', 'kind==active'])).toBe(true)
  })

  test('asks for presence without an operator, and != also matches what is absent', () => {
    expect(matches('labels.a', { labels: { a: 'x' } })).toBe(true)
    expect(matches('labels.a')).toBe(false)
    expect(matches('parent')).toBe(true)
    expect(matches('size')).toBe(false)
    expect(matches('labels.a!=x')).toBe(true)
    expect(matches('labels.a!=""')).toBe(false)
    expect(matches('labels.a==""')).toBe(false)
  })

  test('takes a label key quoted, or spelled in dotted words', () => {
    const labels = { 'containerd.io/gc.root': 'x', 'a.b.c': 'y', 'with "quotes"': 'z' }
    expect(matches('labels."containerd.io/gc.root"==x', { labels })).toBe(true)
    expect(matches('labels.a.b.c==y', { labels })).toBe(true)
    expect(matches('labels.a."b".c==y', { labels })).toBe(true)
    expect(matches('labels."with \\"quotes\\""==z', { labels })).toBe(true)
  })

  test('lets an unquoted value run to a comma or white space', () => {
    expect(matches('name==a/b:c.d-e==f,kind==active', { name: 'a/b:c.d-e==f' })).toBe(true)
    expect(matches('name == näme', { name: 'näme' })).toBe(true)
    expect(matches('name=="with, comma and space"', { name: 'with, comma and space' })).toBe(true)
  })

  test('searches with ~=, quoted by slashes or pipes', () => {
    expect(matches('name~=/^sha256:[0-9a-f]{64}$/', { name: CHAIN })).toBe(true)
    expect(matches('name~=|a/b|', { name: 'xa/by' })).toBe(true)
    expect(matches('name~=me$')).toBe(true)
    expect(matches('labels.absent~=^$')).toBe(true)
  })

  test('never finds what JavaScript objects inherit', () => {
    expect(matches('labels.constructor')).toBe(false)
    expect(matches('labels.__proto__')).toBe(false)
  })

  test.each([
    'name==/quoted/', 'name==|quoted|', 'name=', 'name===x', 'name=~x', 'name==', 'name==a b', 'name==a,', ',name==a', 'name==a,,kind==view',
    '.name', 'name.', 'labels.', '"name', 'name=="open', 'name=="bad \\q"', 'name=="line\nbreak"', 'na-me==x', 'name==,', '==x', '/name/==x', 'name ', 'a b'
  ])('refuses %j', (filter) => {
    expect(() => parseFilters([filter], snapshotField)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('refuses more or longer filters than its limits', () => {
    expect(() => parseFilters(Array.from({ length: 65 }, () => 'name'), snapshotField)).toThrow(/limit 64/)
    expect(() => parseFilters([`name==${'x'.repeat(9000)}`], snapshotField)).toThrow(/longer than/)
  })

  test('finds any name and any label by its quoted value, and nothing else', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1 }).filter((value) => !/[\0\n\ud800-\udfff]/.test(value))
    fc.assert(fc.property(text, text, text, (key, value, other) => {
      const filter = `labels.${goQuote(key)}==${goQuote(value)},name==${goQuote(other)}`
      expect(matches(filter, { name: other, labels: { [key]: value } })).toBe(true)
      expect(matches(filter, { name: other, labels: { [key]: `${value}x` } })).toBe(false)
      expect(matches(filter, { name: `${other}x`, labels: { [key]: value } })).toBe(false)
    }))
  })

  test('ends in a match or in INVALID_ARGUMENT, whatever the text', () => {
    const piece = fc.constantFrom('name', 'labels', '.', ',', '==', '!=', '~=', '"', '/', '|', '\\', ' ', 'x', '(', ')', '*', '[', 'ü', '\u0000')
    const pieces = fc.array(piece, { maxLength: 12 })
    fc.assert(fc.property(pieces, (parts) => {
      try {
        expect(typeof matches(parts.join(''))).toBe('boolean')
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' })
      }
    }), { numRuns: 1000 })
  })
})

describe('a quoted string', () => {
  test.each([
    ['a\\tb', 'a\tb'], ['\\x41\\101\\u0041\\U00000041', 'AAAA'], ['\\xc3\\xa4', 'ä'], ['\\"', '"'], ['\\\\', '\\'], ['plain', 'plain'], ['', '']
  ])('reads %j', (text, value) => {
    expect(unquote(text, '"')).toBe(value)
  })

  test.each(['\\', '\\q', '\\x4', '\\u12', '\\777', '\\U00110000', '\\/', '\\1', '\\xzz'])('refuses %j', (text) => {
    expect(unquote(text, '"')).toBeNull()
  })
})

describe('a pattern', () => {
  test.each([
    ['^a.*z$', 'a to z', true], ['a\\.b', 'a.b', true], ['a\\.b', 'axb', false], ['[^/]+/x', 'ab/x', true], ['[]a]', ']', true], ['a{2,3}', 'caat', true],
    ['(?:ab)+c', 'ababc', true], ['(?P<name>x)', 'x', true], ['a|b', 'cb', true], ['\\d\\D\\w\\W', '1aa-', true],
    ['a-b', 'a-b', true], ['\\-\\@\\#', '-@#', true],
    ['a}', 'a}', true], ['\\x41', 'A', true], ['^.$', '\u2028', true], ['^\\s$', '\u00a0', false], ['[a[]', '[', true], ['ä+', 'ää', true]
  ])('%j finds in %j: %p', (pattern, text, found) => {
    expect(compilePattern(pattern).test(text)).toBe(found)
  })

  test.each([
    '(', ')', '*a', 'a**', '[', 'a{3,2}', '\\', '(?i)a', '(?=a)', '(?!a)', '(?<=a)b',
    '\\1', '\\pL', '\\Qa\\E', '[[:alpha:]]', '(a+)+', '(a|a)*', '(a?){9}', '((a*)b)*',
    'a*a*a*a*', `x${'y'.repeat(600)}`, '\\z', '\\u0041'
  ])('refuses %j', (pattern) => {
    expect(() => compilePattern(pattern)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('reads what has no syntax in it as itself', () => {
    fc.assert(fc.property(fc.string({ unit: fc.constantFrom(...Array.from('abcXYZ019 _-@#%&=~:;<>,!"\'`/ä€')) }), (text) => {
      expect(compilePattern(`^${text}$`).test(text)).toBe(true)
    }))
  })
})

/** strconv.Quote as containerd's client uses it. */
function goQuote (text: string): string {
  return `"${text.replace(/[\\"]/g, '\\$&').replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)}"`
}
