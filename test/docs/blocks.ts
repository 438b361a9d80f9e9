// The fenced blocks of README and docs: what people copy. A block of shell that no test can type or check says so in its first line,
// `# not typed by a test: WHY`.
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

export interface Block {
  readonly page: string
  /** The nearest heading above. */
  readonly heading: string
  readonly language: string
  readonly text: string
}

export const ROOT = resolve(import.meta.dirname, '../..')
const UNTYPED = /^# not typed by a test: \S/

export function pages (): string[] {
  return ['README.md', ...readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md')).map((name) => join('docs', name))]
}

export function blocksOf (page: string, text = readFileSync(join(ROOT, page), 'utf8')): Block[] {
  let heading = ''
  return [...text.matchAll(/^#+ (.+)$|^```(\w*)\n([^]*?)^```$/mg)].flatMap(([, title, language = '', text = '']) => {
    heading = title ?? heading
    return title === undefined ? [{ page, heading, language, text }] : []
  })
}

/** Those of shell below one heading, or of a whole page. */
export function shellOf (page: string, heading?: string): Block[] {
  return blocksOf(page).filter((block) => block.language === 'sh' && (heading === undefined || block.heading === heading))
}

export function isUntyped ({ text }: Block): boolean {
  return UNTYPED.test(text)
}

/** A here-document is one command with the line that begins it. */
export function commandsOf ({ text }: Block): string[] {
  return (text.match(/^.*<< '(\w+)'\n[^]*?^\1$|^.+$/mg) ?? []).filter((line) => !line.startsWith('#'))
}

/** What a here-document holds that becomes a file of this name. */
export function fileIn (command: string, name: string): string | null {
  const [, file = '', text = ''] = /^cat > (\S+) << '\w+'\n([^]*\n)\w+$/.exec(command) ?? []
  return file.endsWith(name) ? text : null
}

/** The words of a line as a shell makes them, without what it keeps for itself: comments, redirections, `&`. One list for each command of `&&`. */
export function wordsOf (line: string): string[][] {
  const lists: string[][] = [[]]
  for (const [token] of line.matchAll(/#.*$|&&|\||[<>]+\s*\S+|&|(?:"[^"]*"|'[^']*'|[^\s"'&|<>]|<[A-Za-z]+>)+/g)) {
    if (token.startsWith('#')) break
    if (token === '&&' || token === '|') lists.push([])
    else if (token !== '&' && !/^[<>]+\s/.test(token) && !/^>/.test(token)) lists.at(-1)?.push(token.replace(/["']/g, ''))
  }
  return lists
}
