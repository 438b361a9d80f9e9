// Style that is not checked does not exist: import direction, third-party fences, lengths and banned calls.
import { expect, test } from '@jest/globals'
import { readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import ts from 'typescript'

const root = resolve(import.meta.dirname, '..')
const FILE_LINES_MAX = 300
const FUNCTION_LINES_MAX = 60
const LINE_LENGTH_MAX = 160

/** Design §6: a file imports from its own folder or from a lower number. */
const LEVELS: Readonly<Record<string, number>> = {
  base: 0, verify: 1, config: 1, ipfs: 2, oci: 2, image: 3, layer: 3, erofs: 4, cache: 4, mount: 5, snapshots: 6,
  content: 6, grpc: 7, http: 7, publish: 7, pinning: 7, library: 8, daemon: 8, cli: 9
}

/** Which rooms (or single files) may import a package. */
const FENCES: Readonly<Record<string, readonly string[]>> = {
  '@grpc/grpc-js': ['grpc/'],
  '@grpc/proto-loader': ['grpc/'],
  '@helia/unixfs': ['ipfs/', 'publish/'],
  '@ipfs-shipyard/pinning-service-client': ['pinning/'],
  '@ipld/car': ['ipfs/', 'publish/', 'http/'],
  commander: ['cli/'],
  'fuse-native': ['mount/'],
  helia: ['ipfs/'],
  multiformats: [''],
  'node:sqlite': ['snapshots/', 'cache/', 'content/'],
  pino: ['base/log.ts'],
  'prom-client': ['http/'],
  'smol-toml': ['config/'],
  undici: ['ipfs/', 'pinning/'],
  zod: ['config/', 'oci/', 'pinning/']
}

const BANNED: ReadonlyArray<{ readonly call: RegExp, readonly allowed: readonly string[], readonly why: string }> = [
  { call: /\bconsole\./, allowed: [], why: 'logs go through base/log.ts, results through cli/' },
  { call: /\bDate\.now\(|\bperformance\.now\(|\bhrtime\b/, allowed: ['base/clock.ts'], why: 'time comes from a Clock' },
  { call: /\bMath\.random\b/, allowed: [], why: 'not random enough for names, not repeatable for tests' },
  { call: /\bprocess\.exit\b(?!Code)/, allowed: ['cli/main.ts', 'cli/ending.ts'], why: 'only the entry point ends the process' },
  { call: /\bprocess\.env\b/, allowed: ['config/'], why: 'settings have one door' },
  { call: /\b(TODO|FIXME|XXX)\b/, allowed: [], why: 'leftover marker' },
  { call: /@ts-(ignore|expect-error|nocheck)/, allowed: [], why: 'types that lie' }
]

function filesBelow (folder: string, endings: readonly string[]): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => endings.some((ending) => name.endsWith(ending)))
    .map((name) => join(folder, name))
    .sort()
}

const sources = filesBelow('src', ['.ts'])
const texts = new Map(sources.map((path) => [path, readFileSync(join(root, path), 'utf8')]))

function importsOf (path: string): string[] {
  const info = ts.preProcessFile(texts.get(path) ?? '', true, true)
  return info.importedFiles.map((file) => file.fileName)
}

function roomOf (path: string): string {
  return relative('src', path).split('/')[0] ?? ''
}

function within (path: string, places: readonly string[]): boolean {
  return places.some((place) => relative('src', path).startsWith(place))
}

test('the top level holds what the design names', () => {
  const known = ['.ci', '.gitignore', '.npmrc', 'README.md', 'bench', 'docs', 'monitoring', 'native', 'package-lock.json', 'package.json', 'packaging',
    'proto', 'scripts', 'src', 'systemd', 'test', 'tsconfig.json']
  const built = ['.git', 'build', 'dist', 'node_modules']

  expect(readdirSync(root).filter((name) => !known.includes(name) && !built.includes(name))).toEqual([])
})

test('imports run downhill only', () => {
  const uphill = sources.flatMap((path) => importsOf(path)
    .filter((name) => name.startsWith('.'))
    .map((name) => join(dirname(path), name))
    .filter((target) => {
      const from = roomOf(path); const to = roomOf(target)
      return from !== to && !((LEVELS[from] ?? -1) > (LEVELS[to] ?? 99))
    })
    .map((target) => `${path} → ${target}`))

  expect(uphill).toEqual([])
})

test('every room has a level', () => {
  expect([...new Set(sources.map(roomOf))].filter((room) => !(room in LEVELS))).toEqual([])
})

test('third-party packages stay behind their fences', () => {
  const escaped = sources.flatMap((path) => importsOf(path)
    .filter((name) => !name.startsWith('.'))
    .filter((name) => name === 'node:sqlite' || !(name.startsWith('node:') && builtinModules.includes(name.slice(5).split('/')[0] ?? '')))
    .filter((name) => {
      const fence = Object.entries(FENCES).find(([pack]) => name === pack || name.startsWith(`${pack}/`))
      return fence === undefined || !within(path, fence[1])
    })
    .map((name) => `${path} imports ${name}`))

  expect(escaped).toEqual([])
})

test('every fenced package is a direct dependency, and every dependency is used', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
  const fenced = Object.keys(FENCES).filter((name) => !name.startsWith('node:')).sort()
  const used = new Set(sources.flatMap(importsOf))

  expect(Object.keys(manifest.dependencies).sort()).toEqual(fenced)
  expect(fenced.filter((name) => ![...used].some((used) => used === name || used.startsWith(`${name}/`)))).toEqual([])
})

test('no file is longer than one idea', () => {
  const long = [...sources, ...filesBelow('native', ['.cc', '.hh'])]
    .map((path) => ({ path, lines: readFileSync(join(root, path), 'utf8').split('\n').length }))
    .filter(({ lines }) => lines > FILE_LINES_MAX)

  expect(long).toEqual([])
})

test('no function is longer than a screen', () => {
  const long = sources.flatMap((path) => longFunctions(path))

  expect(long).toEqual([])
})

function longFunctions (path: string): string[] {
  const file = ts.createSourceFile(path, texts.get(path) ?? '', ts.ScriptTarget.Latest, true)
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const first = file.getLineAndCharacterOfPosition(node.getStart()).line
      const last = file.getLineAndCharacterOfPosition(node.getEnd()).line
      if (last - first + 1 > FUNCTION_LINES_MAX) found.push(`${path}:${first + 1} has ${last - first + 1} lines`)
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

test('no line is too long, has trailing blanks or control characters', () => {
  const odd = [...sources, ...filesBelow('test', ['.test.ts'])].flatMap((path) => readFileSync(join(root, path), 'utf8').split('\n')
    // eslint-disable-next-line no-control-regex -- looking for them is the point
    .flatMap((line, at) => line.length > LINE_LENGTH_MAX || /[ \t]$|[\u0000-\u0008\u000b-\u001f\u007f]/.test(line) ? [`${path}:${at + 1}`] : []))

  expect(odd).toEqual([])
})

test('no source makes a banned call', () => {
  const banned = sources.flatMap((path) => (texts.get(path) ?? '').split('\n').flatMap((line, at) => BANNED
    .filter(({ call, allowed }) => call.test(line) && !within(path, allowed))
    .map(({ why }) => `${path}:${at + 1}: ${why}`)))

  expect(banned).toEqual([])
})

test('every file opens by saying what it is', () => {
  expect(sources.filter((path) => !(texts.get(path) ?? '').startsWith('// '))).toEqual([])
})

test('no test is focused or silently skipped', () => {
  const found = filesBelow('test', ['.test.ts'])
    .filter((path) => /\b(test|it|describe)\.(only|todo)\b|\b(fit|fdescribe|xit|xdescribe)\(/.test(readFileSync(join(root, path), 'utf8')))

  expect(found.filter((path) => !path.endsWith('tidy.test.ts'))).toEqual([])
})

test('every source is reached from an entry point', () => {
  const reached = new Set<string>()
  const visit = (path: string): void => {
    if (reached.has(path) || !texts.has(path)) return
    reached.add(path)
    for (const name of importsOf(path)) if (name.startsWith('.')) visit(join(dirname(path), name))
  }
  visit('src/cli/main.ts')
  visit('src/library/index.ts')

  expect(sources.filter((path) => !reached.has(path))).toEqual([])
})
