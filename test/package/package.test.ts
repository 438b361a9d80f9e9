// The Debian package and the tarball: what is in them, that two builds are one, and that a fresh Debian needs nothing else.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { programFacts } from '../../packaging/commands.ts'
import { loadConfig } from '../../src/config/load.ts'
import { command } from '../e2e/command.ts'
import { shelf } from '../e2e/harness.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { buildPackage, type BuiltPackage, CLONE, copyOfClone, digestOf, whyNoPackage } from './built-package.ts'
import { FreshRoot, whyNoFreshRoot } from './fresh-root.ts'
import { FILE, GATEWAY, LISTING, provide, PUBLISH, RUN, SERVE } from './node-life.ts'

const PACKED_MAX = 120e6
const LIB = 'usr/lib/ipfs-snapshotter'
const why = whyNoPackage()
if (why !== null) process.stderr.write(`package: skipped, ${why}\n`)
const suite = why === null ? describe : describe.skip
const whyNoRoot = why ?? whyNoFreshRoot()
if (whyNoRoot !== null) process.stderr.write(`package: installation skipped, ${whyNoRoot}\n`)
const installed = whyNoRoot === null ? test : test.skip

suite('the package', () => {
  const folder = shelf()
  const tree = join(folder, 'tree')
  let built: BuiltPackage
  let files: string[]
  const read = (path: string): string => readFileSync(join(tree, path), 'utf8')

  beforeAll(async () => {
    built = await buildPackage(join(folder, 'here'))
    execFileSync('dpkg-deb', ['--raw-extract', built.deb, tree])
    files = execFileSync('find', [tree, '!', '-type', 'd', '-printf', '%P\n'], { encoding: 'utf8' }).trim().split('\n')
  }, PREPARE_MS)
  afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

  test('has everything where Debian looks for it, and its size is printed', () => {
    expect(files).toEqual(expect.arrayContaining([
      'usr/bin/ipfs-snapshotter', `${LIB}/bin/node`, `${LIB}/bin/ipfs-snapshotter-native`, `${LIB}/dist/cli/main.js`, 'etc/ipfs-snapshotter/config.toml',
      'usr/lib/systemd/system/ipfs-snapshotter.service', 'usr/share/man/man1/ipfs-snapshotter.1.gz', 'usr/share/bash-completion/completions/ipfs-snapshotter',
      'usr/share/doc/ipfs-snapshotter/copyright', 'usr/share/doc/ipfs-snapshotter/README.md', 'usr/share/doc/ipfs-snapshotter/docs/CLIENTS.md'
    ]))
    expect(read('DEBIAN/conffiles')).toBe('/etc/ipfs-snapshotter/config.toml\n')
    for (const path of [built.deb, built.tarball]) {
      expect(statSync(path).size).toBeLessThan(PACKED_MAX)
      expect(built.printed).toContain(path)
    }
    expect(built.printed).toMatch(/^ +12\d\.\d MB {2}usr\/lib\/ipfs-snapshotter\/bin\/node$/m)
  })

  test('has what runs in production on this machine, each with its licence, and nothing else of any dependency', () => {
    const lock = JSON.parse(readFileSync(join(CLONE, 'package-lock.json'), 'utf8')) as { packages: Record<string, { dev?: boolean }> }
    const dev = Object.keys(lock.packages).filter((place) => lock.packages[place]?.dev === true)
    const places = new Set(files.map((path) => path.slice(LIB.length + 1, path.lastIndexOf('/'))))
    expect(dev.length).toBeGreaterThan(100)
    expect(dev.filter((place) => places.has(place))).toEqual([])
    expect(files.filter((path) => /\.(d\.[cm]?ts|ts|map|md|h)$/.test(path) && !/\/licen[cs]e|share\/doc/i.test(path))).toEqual([])
    expect(files.filter((path) => path.includes('prebuilds/') && !path.includes(`prebuilds/linux-${process.arch}/`))).toEqual([])
    const copyright = read('usr/share/doc/ipfs-snapshotter/copyright')
    const { dependencies } = JSON.parse(readFileSync(join(CLONE, 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
    for (const [name, version] of Object.entries(dependencies)) {
      expect(copyright).toMatch(new RegExp(`^Files: ${LIB}/node_modules/${name}/\\*\nCopyright: the authors of ${name} ${version}\nLicense: \\S`, 'm'))
    }
    expect(copyright).not.toContain('not stated')
  })

  test('depends on nothing that a minimal Debian lacks', () => {
    const depends = /^Depends: (.*)$/m.exec(read('DEBIAN/control'))?.[1] ?? ''
    expect(depends.split(', ').map((one) => one.split(' ')[0])).toEqual(['libc6', 'libgcc-s1', 'libstdc++6'])
  })

  test('two builds, in two folders, are the same bytes', async () => {
    const again = await buildPackage(join(folder, 'there'), copyOfClone(join(folder, 'copy of the clone')))
    expect([digestOf(again.deb), digestOf(again.tarball)]).toEqual([digestOf(built.deb), digestOf(built.tarball)])
  }, PREPARE_MS)

  test('scripts of the package are POSIX sh', () => {
    const scripts = ['DEBIAN/postinst', 'DEBIAN/prerm', 'DEBIAN/postrm', `${LIB}/bin/ipfs-snapshotter`]
    for (const path of scripts) execFileSync('dash', ['-n', join(tree, path)])
  })

  test('the default configuration is the default, and so is what it shows as such', () => {
    const text = read('etc/ipfs-snapshotter/config.toml')
    const load = (toml: string): unknown => {
      const path = join(folder, 'config.toml')
      writeFileSync(path, toml)
      return loadConfig(path)
    }
    const shown = text.replace(/^# (?=\[|\w+ = )/gm, '')
    expect(shown).toContain('\n[cache]\nmax_size')
    expect(load(text)).toEqual(load(''))
    expect(load(shown.replace(/^\[registry\]\n.*\n|^\[\[source\]\]\n.*\n.*\n/gm, ''))).toEqual(load(''))
    expect(load(shown)).toMatchObject({ registryAddress: '127.0.0.1:5050', sources: [{ type: 'gateway' }] })
  })

  test('man page and completion name every command and option that the help names', async () => {
    const { commands } = await programFacts()
    const page = execFileSync('gzip', ['-dc', join(tree, 'usr/share/man/man1/ipfs-snapshotter.1.gz')], { encoding: 'utf8' }).replaceAll('\\-', '-')
    const complete = (...words: string[]): string[] => execFileSync('bash', ['-c',
      'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ipfs_snapshotter; printf "%s\\n" "${COMPREPLY[@]}"',
      join(tree, 'usr/share/bash-completion/completions/ipfs-snapshotter'), 'ipfs-snapshotter', ...words], { encoding: 'utf8' }).trim().split('\n')
    const help = async (...words: string[]): Promise<string[]> => (await command([...words, '--help'])).stdout.match(/(?<=^ {2})(-\w, )?--[\w-]+/gm) ?? []

    for (const { words, below } of commands) {
      if (below.length > 0) continue
      const named = await help(...words)
      const section = page.split('\n.S').find((one) => one.startsWith(`S ${words.join(' ')}`)) ?? ''
      expect(named.length).toBeGreaterThan(1)
      expect([...section.matchAll(/^\.B ((-\w, )?--[\w-]+)/gm)].map(([, flags]) => flags)).toEqual(named)
      expect(complete(...words, '-').sort()).toEqual(named.flatMap((flags) => flags.split(', ')).sort())
    }
    expect(complete('pu').sort()).toEqual(['publish', 'pull'])
    expect(complete('profile', '')).toEqual(['record'])
    expect(complete('serve', '--log-level', 'd')).toEqual(['debug'])
  })

  installed('a fresh Debian installs it without a network, publishes, pulls and runs; a purge leaves nothing', async () => {
    await preparePrograms()
    const share = join(folder, 'share')
    const image = provide(share, join(folder, 'image'), built.deb)
    const machine = await FreshRoot.make(join(folder, 'fresh'), share, ['containerd', 'runc'])
    try {
      const { code, stdout, stderr } = await machine.run(`
        ! command -v npm g++ node
        ${LISTING} >/root/before
        dpkg --install /mnt/package.deb >/dev/null
        dpkg --verify ipfs-snapshotter
        echo "version $(ipfs-snapshotter --version)"
        ${PUBLISH} ${GATEWAY}
        ${SERVE} ${RUN}
        ipfs-snapshotter verify "$reference" >/dev/null 2>&1
        dpkg --remove ipfs-snapshotter >/dev/null
        echo "mounts $(grep -c /ipfs-snapshotter/ /proc/mounts)" || true
        test -e /etc/ipfs-snapshotter/config.toml
        dpkg --purge ipfs-snapshotter >/dev/null
        test ! -e /run/ipfs-snapshotter
        ${LISTING} >/root/after
        diff /root/before /root/after && echo "nothing left"`)
      expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: '', stdout: expect.stringMatching(/nothing left\n$/) })
      const { version } = JSON.parse(readFileSync(join(CLONE, 'package.json'), 'utf8')) as { version: string }
      expect(stdout.split('\n')).toEqual(expect.arrayContaining([`version ${version}`, `ran ${image.hashes.get(FILE) ?? ''} ${FILE}`, 'mounts 0']))
    } finally {
      machine.remove()
    }
  }, PREPARE_MS)
})
