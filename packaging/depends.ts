// What a package depends on, from the programs in it: the libraries that each names, at the lowest version that has the symbols
// which it asks for. Debian's own table of symbols says which package and version that is, as for dpkg-shlibdeps.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const TABLES = '/var/lib/dpkg/info'
/** Every program's own: part of libc6. */
const LOADER = /^ld-linux/

interface Provider {
  readonly package: string
  /** Of a version node, such as GLIBC_2.34. */
  readonly since: ReadonlyMap<string, string>
}

/** "libc6 (>= 2.34), …", sorted. `files`: ELF files. @throws for a library of no package, or a symbol that this machine's lacks */
export function dependsOf (files: readonly string[]): string {
  const providers = librariesHere()
  const lowest = new Map<string, string>()
  const facts = files.map((file) => dynamicFacts(file))
  const own = new Set(facts.map(({ soname }) => soname)) // fuse-native brings the libfuse that it asks for
  for (const { file, needed } of facts) {
    for (const [library, nodes] of needed) {
      if (LOADER.test(library) || own.has(library)) continue
      const provider = providers.get(library)
      if (provider === undefined) throw new Error(`${file} needs ${library}, which no package of this machine provides`)
      for (const node of nodes) {
        const since = provider.since.get(node)
        if (since === undefined) throw new Error(`${file} needs ${node} of ${library}, which this machine's table of symbols lacks`)
        if (isNewer(since, lowest.get(provider.package) ?? '0')) lowest.set(provider.package, since)
      }
    }
  }
  return [...lowest].map(([name, version]) => `${name} (>= ${version})`).sort().join(', ')
}

/** `needed`: library → version nodes that the file asks of it. */
function dynamicFacts (file: string): { readonly file: string, readonly soname: string | undefined, readonly needed: ReadonlyMap<string, readonly string[]> } {
  const text = execFileSync('readelf', ['--wide', '--version-info', '--dynamic', file], { encoding: 'utf8', maxBuffer: 1 << 28 })
  const needed = new Map([...text.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, library = '']): [string, string[]] => [library, []]))
  let library = ''
  const [, nodes = ''] = text.split(/^Version needs section/m)
  for (const line of nodes.split('\n')) {
    library = /File: (\S+)/.exec(line)?.[1] ?? library
    const node = /Name: (\S+)/.exec(line)?.[1]
    if (node !== undefined) needed.set(library, [...needed.get(library) ?? [], node])
  }
  return { file, soname: /\(SONAME\).*\[(.+)\]/.exec(text)?.[1], needed }
}

/** deb-symbols(5): "LIBRARY PACKAGE …", then lines " NODE@NODE VERSION" among others. */
function librariesHere (): Map<string, Provider> {
  const providers = new Map<string, Provider>()
  for (const name of ['libc6', 'libgcc-s1', 'libstdc++6']) {
    const file = readdirSync(TABLES).find((one) => one === `${name}.symbols` || (one.startsWith(`${name}:`) && one.endsWith('.symbols')))
    if (file === undefined || !existsSync(join(TABLES, file))) throw new Error(`${TABLES} has no table of symbols of ${name}: this needs Debian`)
    let since = new Map<string, string>()
    for (const line of readFileSync(join(TABLES, file), 'utf8').split('\n')) {
      const [, library = '', pack = ''] = /^(\S+) (\S+)/.exec(line) ?? []
      if (library.includes('.so')) providers.set(library, { package: pack, since: since = new Map() })
      const [, node = '', version = ''] = /^ (\S+)@\1 (\S+)/.exec(line) ?? []
      if (node !== '') since.set(node, version)
    }
  }
  return providers
}

function isNewer (version: string, than: string): boolean {
  try {
    execFileSync('dpkg', ['--compare-versions', version, 'gt', than])
    return true
  } catch {
    return false
  }
}
