// Makes a .deb and a tarball out of what scripts/package built, and prints what is in them by size.
// node packaging/main.ts ARCH JAVASCRIPT NATIVE OUTPUT: folders of the first and last, file of the native program.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fill, type Parts, UNIT } from './contents.ts'
import { control, md5sums } from './control.ts'
import { dependsOf } from './depends.ts'
import { machineOf } from './machine.ts'
import { sizesOf } from './sizes.ts'
import { Tree } from './tree.ts'

const ROOT = resolve(import.meta.dirname, '..')
const CONFIG = 'etc/ipfs-snapshotter/config.toml'
const SCRIPTS = ['postinst', 'prerm', 'postrm']

/** Returns its path. dpkg-deb takes the time from the environment, and sorts. */
function makeDeb (tree: Tree, elf: readonly string[], { machine, version, when }: Parts, description: string, output: string): string {
  tree.copy(join(ROOT, 'packaging/config.toml'), CONFIG)
  const files = tree.files()
  const installedBytes = files.reduce((sum, path) => sum + tree.size(path), 0)
  const depends = dependsOf(elf.map((path) => join(tree.folder, path)))
  tree.write('DEBIAN/control', control({ version, description, machine, depends, installedBytes }))
  tree.write('DEBIAN/conffiles', `/${CONFIG}\n`)
  tree.write('DEBIAN/md5sums', md5sums(tree.folder, files.filter((path) => path !== 'usr/bin/ipfs-snapshotter')))
  for (const name of SCRIPTS) tree.program(join(ROOT, 'packaging/debian', name), `DEBIAN/${name}`)
  tree.settle(when)
  const path = join(output, `ipfs-snapshotter_${version}_${machine.debian}.deb`)
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zzstd', '-z12', '--build', tree.folder, path],
    { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, SOURCE_DATE_EPOCH: String(when) } })
  return path
}

/** For /usr/local, where systemd, man and shells look, too. Gzipped: every Debian unpacks that without a further package. */
function makeTarball (tree: Tree, { machine, version, when }: Parts, output: string): string {
  const name = `ipfs-snapshotter-${version}-linux-${machine.arch}`
  const folder = new Tree(join(tree.folder, '..', name))
  cpSync(join(tree.folder, 'usr'), folder.folder, { recursive: true, verbatimSymlinks: true })
  const unit = UNIT.slice('usr/'.length)
  folder.write(unit, folder.read(unit).replace('ExecStart=/usr/bin/', 'ExecStart=/usr/local/bin/'))
  folder.copy(join(ROOT, 'packaging/config.toml'), 'share/doc/ipfs-snapshotter/config.toml')
  folder.settle(when)
  const path = join(output, `${name}.tar.gz`)
  const tar = ['--sort=name', '--format=gnu', '--owner=0', '--group=0', '--numeric-owner', '-C', join(folder.folder, '..'), '-cf', '-', name]
  execFileSync('sh', ['-c', 'LC_ALL=C tar "$@" | gzip -n -6 > "$0"', path, ...tar])
  return path
}

async function main (): Promise<void> {
  const [arch = '', javascript = '', native = '', output = ''] = process.argv.slice(2)
  const { version, description } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string, description: string }
  const given = process.env['IPFS_SNAPSHOTTER_PACKAGE_VERSION'] ?? version
  const when = Number(process.env['SOURCE_DATE_EPOCH'])
  if (!Number.isSafeInteger(when) || when <= 0) throw new Error('SOURCE_DATE_EPOCH is not set: build through scripts/package')
  mkdirSync(output, { recursive: true })
  const work = mkdtempSync(join(process.env['TMPDIR'] ?? tmpdir(), 'package-'))
  try {
    const parts: Parts = { root: ROOT, machine: machineOf(arch), javascript, native, fetched: work, version: given, when }
    const tree = new Tree(join(work, 'tree'))
    const elf = await fill(tree, parts)
    const made = [makeTarball(tree, parts, output), makeDeb(tree, elf, parts, description, output)]
    for (const line of sizesOf(tree)) process.stdout.write(`${line}\n`)
    for (const path of made) process.stdout.write(`${(statSync(path).size / 1e6).toFixed(1).padStart(7)} MB  ${path}\n`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

await main()
