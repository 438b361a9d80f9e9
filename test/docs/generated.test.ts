// Pages of docs/ say what the code says: their marked parts are made of its tables by `npm run docs`, and links lead somewhere.
import { describe, expect, test } from '@jest/globals'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import ts from 'typescript'
import { z } from 'zod'
import { tablesOf } from '../../scripts/docs/config-tables.ts'
import { filled } from '../../scripts/docs/filled.ts'
import { limitsIn } from '../../scripts/docs/limit-tables.ts'
import { picture } from '../../scripts/docs/picture.ts'
import { MEANINGS } from '../../src/base/error-codes.ts'
import { type ErrorCode, ERROR_CODES } from '../../src/base/errors.ts'
import { configSchema } from '../../src/config/schema.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const PAGES = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md')).map((name) => join('docs', name))
const EXAMPLE_LETTERS_MIN = 7 // that stand in the source as they are

function read (path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

test('every page is what the code says', () => {
  const old = PAGES.filter((page) => filled(read(page)) !== read(page))

  expect({ old, hint: 'npm run docs' }).toEqual({ old: [], hint: 'npm run docs' })
})

test('the picture is drawn of its text', () => {
  expect({ isDrawn: read('docs/data-flow.svg') === picture(read('docs/data-flow.txt')), hint: 'npm run docs' }).toEqual({ isDrawn: true, hint: 'npm run docs' })
})

test.each([
  ['a box that is not there', 'box a 0 0 "a"\narrow a b ""', /no box b/],
  ['a line that means nothing', 'bax a 0 0 "a"', /begins with bax/]
])('a picture with %s is not drawn', (_, text, why) => {
  expect(() => picture(text)).toThrow(why)
})

test('pages have the tables that they are there for', () => {
  expect(read('docs/LIMITS.md')).toContain('| `LAYERS_MAX` | 127 |')
  for (const key of Object.keys(configSchema.shape)) expect(read('docs/CONFIG.md')).toMatch(new RegExp(`^(\\| \`${key}\`|### \`\\[+${key}\\])`, 'm'))
  for (const code of ERROR_CODES) expect(read('docs/ERRORS.md')).toContain(`\n### ${code}\n`)
})

test('what was changed by hand in a marked part is seen, and a mark that names nothing is an error', () => {
  const page = '# A page\n\n<!-- npm run docs: named-limits LAYERS_MAX -->\n\n| `LAYERS_MAX` | 128 |\n\n<!-- end -->\n'

  expect(filled(page)).toContain('| `LAYERS_MAX` | 127 | overlayfs and docker stop here |')
  expect(filled(filled(page))).toBe(filled(page))
  expect(() => filled(page.replace('named-limits', 'limit'))).toThrow(/limit; there are .*named-limits/)
  expect(() => filled(page.replace('LAYERS_MAX', 'LAYERS_LEAST'))).toThrow(/no LAYERS_LEAST/)
})

test('a limit without a reason and a key without a description are errors that name them', () => {
  expect(() => limitsIn('// OCI\nexport const LAYERS_MAX = 127\n')).toThrow(/no reason behind .*LAYERS_MAX/)
  expect(limitsIn('// OCI\nexport const LAYERS_MAX = 127 // overlayfs\n')).toEqual([{ section: 'OCI', name: 'LAYERS_MAX', value: '127', reason: 'overlayfs' }])
  expect(() => tablesOf(z.strictObject({ cache: z.strictObject({ size: z.string().optional() }) }))).toThrow(/cache\.size has no \.describe/)
})

describe('examples in the table of error codes', () => {
  const lines = sourceLines()

  test.each(ERROR_CODES)('%s: the program can print the line', (code) => {
    expect(lines.some((line) => line.codes.has(code) && line.pattern.test(MEANINGS[code].example))).toBe(true)
  })

  test('words that no source has are not taken for a line', () => {
    expect(lines.filter(({ pattern }) => pattern.test('the moon is in the way of it; wait for the morning'))).toEqual([])
  })
})

/** Texts in the sources, each with the codes that its file mentions. What a template inserts may be anything. */
function sourceLines (): Array<{ readonly codes: ReadonlySet<ErrorCode>, readonly pattern: RegExp }> {
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts') && name !== 'base/error-codes.ts')
  return files.flatMap((name) => {
    const text = read(join('src', name))
    const codes = new Set(ERROR_CODES.filter((code) => new RegExp(`\\b${code}\\b`).test(text)))
    return codes.size === 0 ? [] : patternsIn(ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true)).map((pattern) => ({ codes, pattern }))
  })
}

function patternsIn (file: ts.Node): RegExp[] {
  const found: RegExp[] = []
  const visit = (node: ts.Node): void => {
    const parts = partsOf(node)
    if (parts !== null && parts.join('').replace(/\W/g, '').length >= EXAMPLE_LETTERS_MIN) found.push(new RegExp(`^${parts.map(escaped).join('.*')}$`))
    else ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

function escaped (text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

/** The fixed pieces of a text, of a template, or of a sum of both. */
function partsOf (node: ts.Node): string[] | null {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return [node.text]
  if (ts.isTemplateExpression(node)) return [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)]
  if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return null
  const [left, right] = [partsOf(node.left), partsOf(node.right)]
  return left === null || right === null ? null : [...left.slice(0, -1), `${left.at(-1) ?? ''}${right[0] ?? ''}`, ...right.slice(1)]
}

describe('links in README and docs', () => {
  const links = ['README.md', ...PAGES].flatMap((page) => [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => ({ page, target })))

  test('lead to files and headings that are there', () => {
    const dead = links.filter(({ page, target }) => !/^https?:/.test(target) && !isThere(page, target))

    expect(dead).toEqual([])
    expect(links.length).toBeGreaterThan(20)
  })

  test('are seen to be dead', () => {
    expect(['NOWHERE.md', 'ERRORS.md#nothing'].filter((target) => isThere('docs/LIMITS.md', target))).toEqual([])
  })
})

function isThere (page: string, target: string): boolean {
  const [file = '', anchor] = target.split('#')
  const path = file === '' ? page : relative(ROOT, resolve(ROOT, dirname(page), file))
  return existsSync(join(ROOT, path)) && (anchor === undefined || anchorsOf(read(path)).has(anchor))
}

/** As GitHub makes them of headings. */
function anchorsOf (text: string): Set<string> {
  return new Set([...text.matchAll(/^#+ (.+)$/mg)].map(([, title = '']) => title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')))
}
