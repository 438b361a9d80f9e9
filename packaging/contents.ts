// What both kinds of package install, below usr/ as Debian has it.
import { extname, join } from 'node:path'
import { programFacts } from './commands.ts'
import { bashCompletion, fishCompletion } from './completion.ts'
import { changelog } from './control.ts'
import { copyright, LINKED_IN, linkedInLicence } from './copyright.ts'
import type { Machine } from './machine.ts'
import { manual } from './manual.ts'
import { filesOf, productionPackages } from './production.ts'
import type { Tree } from './tree.ts'

export interface Parts {
  readonly root: string
  readonly machine: Machine
  /** The JavaScript, and the status page, that scripts/build-package made. */
  readonly javascript: string
  /** The native program for that machine. */
  readonly native: string
  /** Where what other machines need is downloaded to. */
  readonly fetched: string
  readonly version: string
  /** Seconds since 1970. */
  readonly when: number
}

export const LIB = 'usr/lib/ipfs-snapshotter'
export const UNIT = 'usr/lib/systemd/system/ipfs-snapshotter.service'
const DOC = 'usr/share/doc/ipfs-snapshotter'

/** The ELF files among it, as paths in the tree. */
export async function fill (tree: Tree, parts: Parts): Promise<string[]> {
  const { root, machine, javascript, native } = parts
  tree.copyFolder(javascript, `${LIB}/dist`, (path) => ['.js', '.html'].includes(extname(path)))
  tree.copyFolder(join(root, 'proto'), `${LIB}/proto`, () => true)
  tree.write(`${LIB}/package.json`, `${JSON.stringify({ name: 'ipfs-snapshotter', version: parts.version, type: 'module' })}\n`)
  tree.program(join(root, 'packaging/ipfs-snapshotter'), `${LIB}/bin/ipfs-snapshotter`)
  tree.copy(join(root, 'scripts/node-settings'), `${LIB}/bin/node-settings`)
  tree.program(native, `${LIB}/bin/ipfs-snapshotter-native`)
  tree.link('usr/bin/ipfs-snapshotter', '../lib/ipfs-snapshotter/bin/ipfs-snapshotter')
  const elf = [`${LIB}/bin/ipfs-snapshotter-native`, `${LIB}/bin/node`]
  const packages = productionPackages(root, machine.arch, parts.fetched)
  for (const one of packages) {
    for (const path of filesOf(one, machine.arch)) {
      const from = join(one.folder, path)
      const to = `${LIB}/${one.place}/${path}`
      if (path === 'bin/node') tree.program(from, `${LIB}/bin/node`)
      else tree.copy(from, to)
      if (['.node', '.so'].includes(extname(path))) elf.push(to)
    }
  }
  tree.write(`${DOC}/copyright`, copyright(packages))
  await describe(tree, parts)
  return elf
}

async function describe (tree: Tree, { root, version, when }: Parts): Promise<void> {
  const facts = await programFacts()
  tree.writeZipped('usr/share/man/man1/ipfs-snapshotter.1.gz', manual({ ...facts, version }, new Date(when * 1000).toISOString().slice(0, 10)))
  tree.write('usr/share/bash-completion/completions/ipfs-snapshotter', bashCompletion(facts))
  tree.write('usr/share/fish/vendor_completions.d/ipfs-snapshotter.fish', fishCompletion(facts))
  tree.copy(join(root, 'systemd/ipfs-snapshotter.service'), UNIT)
  tree.copy(join(root, 'README.md'), `${DOC}/README.md`)
  for (const name of ['docs', 'monitoring']) tree.copyFolder(join(root, name), `${DOC}/${name}`, () => true)
  for (const name of LINKED_IN) tree.write(`${DOC}/licences/${name}`, linkedInLicence(name))
  tree.writeZipped(`${DOC}/changelog.gz`, changelog(version, when))
}
