// What README and docs tell people to type: options and arguments are those of the program, settings those of the schema, scripts those
// of package.json. test/e2e types the pages for nodes and publishers to the letter.
import { describe, expect, test } from '@jest/globals'
import type { Command } from 'commander'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse as parseToml } from 'smol-toml'
import { program } from '../../src/cli/commands.ts'
import { configSchema } from '../../src/config/schema.ts'
import { METRICS } from '../../src/http/metric-table.ts'
import { type Block, blocksOf, commandsOf, fileIn, isUntyped, pages, ROOT, shellOf, wordsOf } from './blocks.ts'

/** Pages that are typed to the letter, and by which test. */
const TYPED: ReadonlyArray<{ readonly page: string, readonly heading?: string }> = [
  { page: 'README.md', heading: 'Use it on your node' }, // test/e2e/readme
  { page: 'docs/PUBLISHING.md' }, // test/e2e/guides
  { page: 'docs/DEPLOY.md' } // test/e2e/guides
]
const UNTYPED_MAX = 2
const CID = 'bafkqaaa'
/** Pages for people who use the program. */
const GUIDES = ['README.md', ...['PUBLISHING', 'DEPLOY', 'CONFIG', 'LIMITS', 'ERRORS', 'PROGRESS', 'PLATFORMS'].map((name) => `docs/${name}.md`)]
/** Of containerd's files: config.toml, hosts.toml. */
const CONTAINERD_KEYS = ['version', 'disabled_plugins', 'proxy_plugins', 'plugins', 'server', 'capabilities', 'host']

const shell = pages().flatMap((page) => shellOf(page))
const scripts = Object.keys((JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> }).scripts)
const typed = new Set(TYPED.flatMap(({ page, heading }) => shellOf(page, heading)).flatMap(commandsOf))

/** Null, or what is wrong with a line of shell. */
async function complaint (line: string): Promise<string | null> {
  const found = await Promise.all(wordsOf(line.split('\n', 1)[0] ?? '').map(async (words) => {
    const [name, ...rest] = words.slice(words.findIndex((word) => !/^\w+=/.test(word)))
    if (name === 'ipfs-snapshotter') return await misuse(rest.map((word) => word.replace('<CID>', CID).replace('<manifest>', '0'.repeat(64))))
    if (name === 'npm') return rest[0] === 'run' && !scripts.includes(rest[1] ?? '') ? `package.json has no script ${rest[1] ?? ''}` : null
    return typed.has(line) ? null : `nobody tries ${name ?? line}`
  }))
  return found.find((one) => one !== null) ?? null
}

/** What the real program says of these words. Nothing is run: its actions are taken out. */
async function misuse (words: readonly string[]): Promise<string | null> {
  let said = ''
  const disarmed = (command: Command): Command => {
    command.exitOverride().showHelpAfterError(false).configureOutput({ writeErr: (text) => { said += text } })
    if (command.commands.length === 0) command.action(() => {})
    command.commands.forEach(disarmed)
    return command
  }
  try {
    await disarmed(await program(words[0])).parseAsync(words, { from: 'user' })
    return null
  } catch {
    return said.trim()
  }
}

/** Null, or why this is neither a configuration of ours nor one of containerd's. */
function wrongToml (text: string): string | null {
  const value = parseToml(text)
  if (Object.keys(value).every((key) => CONTAINERD_KEYS.includes(key))) return null
  const { error } = configSchema.safeParse(value)
  return error === undefined ? null : error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
}

async function complaints (blocks: readonly Block[]): Promise<string[]> {
  const found = await Promise.all(blocks.filter((block) => !isUntyped(block)).flatMap(({ page, text, ...rest }) =>
    commandsOf({ page, text, ...rest }).map(async (line) => ({ page, line, why: await complaint(line) }))))
  return found.flatMap(({ page, line, why }) => why === null ? [] : [`${page}: ${line}: ${why}`])
}

test('every command of README and docs is one that the program takes, or one that a test types', async () => {
  expect(await complaints(shell)).toEqual([])
  expect(shell.flatMap(commandsOf).filter((line) => line.includes('ipfs-snapshotter ')).length).toBeGreaterThan(20)
})

test('every option that guides name in their text is one of the command that they name, or of some command', async () => {
  const options = await optionsByCommand()
  const wrong = GUIDES.flatMap((page) => spansOf(page).flatMap((span) => unknownOptions(span, options).map((option) => `${page}: ${span}: ${option}`)))

  expect(wrong).toEqual([])
  expect(unknownOptions('publish SOURCE --stop', options)).toEqual(['--stop'])
  expect(unknownOptions('--nothing', options)).toEqual(['--nothing'])
})

/** Long options of each command, with those of its own commands. */
async function optionsByCommand (): Promise<Map<string, Set<string>>> {
  const below = (command: Command): string[] => [...command.options.map(({ long }) => long ?? ''), ...command.commands.flatMap(below)]
  return new Map((await program()).commands.map((command) => [command.name(), new Set(below(command))]))
}

/** Pieces of code in the text of a page. */
function spansOf (page: string): string[] {
  const text = readFileSync(join(ROOT, page), 'utf8').replace(/^```[^]*?^```$/mg, '')
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span.replace(/^ipfs-snapshotter /, ''))
}

/** Of a piece that begins with an option or a command of ours; others speak of other programs. */
function unknownOptions (span: string, options: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const known = options.get(span.split(' ', 1)[0] ?? '') ?? (span.startsWith('--') ? new Set([...options.values()].flatMap((some) => [...some])) : null)
  return known === null ? [] : (span.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? []).filter((option) => !known.has(option))
}

test('README names every command', async () => {
  const spans = spansOf('README.md')

  expect((await program()).commands.map((command) => command.name()).filter((name) => !spans.some((span) => span.split(' ', 1)[0] === name))).toEqual([])
})

test('blocks that nobody types or checks say so, and are few', () => {
  const untyped = shell.filter(isUntyped).map(({ page, heading }) => `${page}: ${heading}`)

  expect({ untyped, tooMany: untyped.length > UNTYPED_MAX }).toEqual({ untyped, tooMany: false })
})

test('every TOML of README and docs is a configuration of ours, or has the keys of containerd’s', () => {
  const files = shell.flatMap(commandsOf).flatMap((command) => fileIn(command, 'config.toml') ?? [])
  const texts = [...pages().flatMap((page) => blocksOf(page)).filter(({ language }) => language === 'toml').map(({ text }) => text), ...files]

  expect(texts.flatMap((text) => wrongToml(text) ?? [])).toEqual([])
  expect(texts.length).toBeGreaterThan(5)
})

test('every metric that docs name is there', () => {
  const named = pages().flatMap((page) => readFileSync(join(ROOT, page), 'utf8').match(/\bipfs_snapshotter_\w+/g) ?? [])

  expect(named.filter((name) => !METRICS.some((metric) => `ipfs_snapshotter_${metric.name}` === name))).toEqual([])
  expect(named.length).toBeGreaterThan(5)
})

describe('these checks see', () => {
  test.each([
    ['an option that is not there', 'ipfs-snapshotter publish ./layout --car a.car --tar b.tar', /unknown option '--tar'/],
    ['an argument that is missing', 'ipfs-snapshotter pull', /missing required argument/],
    ['one too many', 'ipfs-snapshotter status everything', /too many arguments/],
    ['a command that is not there', 'ipfs-snapshotter pulls ipfs://<CID>', /unknown command/],
    ['a choice that is none', 'ipfs-snapshotter publish ./layout --car a.car --format zip', /Allowed choices/],
    ['a script that is not there', 'npm run benches -- --quick', /no script benches/],
    ['a program that nobody runs', 'docker run ipfs:0/<CID>', /nobody tries docker/],
    ['the second of two', 'npm ci && npm run nothing', /no script nothing/]
  ])('%s', async (_, line, why) => {
    expect(await complaint(line)).toMatch(why)
  })

  test.each([
    ['a key that is not there', '[cache]\nmax = "1GiB"', /max/],
    ['a value that is none', '[read]\ndeadline = "soon"', /deadline/],
    ['a source without its URL', '[[source]]\ntype = "gateway"', /url/]
  ])('%s in a TOML', (_, text, why) => {
    expect(wrongToml(text)).toMatch(why)
  })
})
