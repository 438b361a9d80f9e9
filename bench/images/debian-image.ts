// An image from Debian packages: a base layer, a layer that installs packages, a layer with the application. Debian's own
// tools make the tree, GNU tar makes the layers; what the second layer deletes becomes whiteouts.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { run } from '../demo/run.ts'
import { EPOCH, TAR_OPTIONS } from './recipe.ts'

// Files that the build made carry the newest date of those that packages brought, so that digests depend on packages only;
// those of the packages keep theirs, which compiled Python modules name.
const NEWEST = '--clamp-mtime --mtime=@$(find "$1" -xdev -type f -mtime +0 -printf \'%Ts\\n\' | sort -n | tail -n 1)'
const TAR = `${TAR_OPTIONS.join(' ')} ${NEWEST}`
const PINNED = { timeoutMs: 900_000, env: { ...process.env, SOURCE_DATE_EPOCH: String(EPOCH) } }
// Still mounted or downloaded while the first layer is cut, gone in the end.
const PASSING = ['./proc/*', './sys/*', './dev/*', './run/*', './var/cache/apt/*', './var/lib/apt/lists/*', './tmp/*']
// Differs between two builds of the same packages.
const CLEAN = 'find "$1"/var/log -type f -delete; ' +
  'cd "$1"/var && rm -rf cache/ldconfig/aux-cache cache/apt/*.bin cache/apt/archives cache/debconf/*-old lib/dpkg/*-old'
// With SOURCE_DATE_EPOCH set, Debian compiles modules so that Python reads their source as well; without it, as on any machine, it does not.
const COMPILE = 'if [ -x "$1/usr/bin/python3" ]; then find "$1"/usr/lib/python3* -name "*.pyc" -delete; ' +
  'chroot "$1" env -u SOURCE_DATE_EPOCH python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.* >/dev/null 2>&1 || true; fi'

export interface DebianTars {
  /** The tree that the layers make together. */
  readonly rootfs: string
  /** One per layer, lowest first. */
  readonly tars: readonly string[]
}

/** Needs root, mmdebstrap and GNU tar. `application`: path in the image → content. */
export async function buildDebianTars (folder: string, packages: readonly string[], application: Readonly<Record<string, string>>): Promise<DebianTars> {
  const rootfs = join(folder, 'rootfs')
  const before = join(folder, 'before.list')
  const passing = PASSING.map((path) => `--exclude='${path}'`).join(' ')
  const base = `(cd "$1" && ${listing('.')} > "${before}"); tar -C "$1" ${TAR} ${passing} -cf "${join(folder, '0.tar')}" .`
  await run('mmdebstrap', ['--variant=minbase', '--format=directory', `--include=${packages.join(',')}`, `--essential-hook=${base}`,
    `--customize-hook=${COMPILE}`, `--customize-hook=${CLEAN}`, suite(), rootfs, sourcesFile()], PINNED)
  await run('sh', ['-c', `${listing(rootfs)} > after.list; ${DIFFERENCE}`], { cwd: folder, timeoutMs: 120_000 })
  const tar = async (options: string): Promise<void> => { await run('sh', ['-c', `tar ${TAR} ${options}`, 'tar', rootfs], { cwd: folder }) }
  await tar('-C rootfs --no-recursion --null -T changed.list -cf 1.tar')
  await tar('-C gone --null -T gone.list -rf 1.tar')
  for (const [path, content] of Object.entries(application)) {
    await mkdir(dirname(join(rootfs, path)), { recursive: true })
    await writeFile(join(rootfs, path), content)
  }
  await tar('-C rootfs -cf 2.tar app')
  return { rootfs, tars: ['0.tar', '1.tar', '2.tar'].map((name) => join(folder, name)) }
}

/** A root of these packages and what Debian cannot be without, of this machine's release or of another. */
export async function debianRoot (rootfs: string, packages: readonly string[], release = suite()): Promise<void> {
  let sources = sourcesFile()
  if (release !== suite()) {
    const text = readFileSync(sources, 'utf8').replaceAll(suite(), release)
    sources = join(dirname(rootfs), basename(sources))
    await writeFile(sources, text)
  }
  const include = packages.length === 0 ? [] : [`--include=${packages.join(',')}`]
  await run('mmdebstrap', ['--variant=minbase', '--format=directory', ...include, release, rootfs, sources], PINNED)
}

/** Only what the named package holds, nothing installed: a tree of a few megabytes. */
export async function extractPackage (rootfs: string, name: string): Promise<void> {
  await run('mmdebstrap', ['--variant=extract', '--format=directory', `--include=${name}`, suite(), rootfs, sourcesFile()], PINNED)
}

/** One line per entry (type, mode, owner, size, mtime, link, path), to see what the package installation changed. */
function listing (folder: string): string {
  const transient = ['proc', 'sys', 'run'].map((name) => `! -path '${folder}/${name}/*'`)
  return `find ${folder} -xdev -mindepth 1 ${transient.join(' ')} -printf '%y %m %U:%G %s %T@ %l\\t./%P\\n' | LC_ALL=C sort -t "$(printf '\\t')" -k2`
}

/** What is new or changed goes into the second layer; what is gone becomes a whiteout in it (image-spec layer.md). */
const DIFFERENCE = [
  'LC_ALL=C sort before.list > b; LC_ALL=C sort after.list > a',
  'comm -13 b a | cut -f2 > changed.names',
  'cut -f2 b | LC_ALL=C sort > b.names; cut -f2 a | LC_ALL=C sort > a.names; tar -tf 0.tar | sed "s|/$||" | LC_ALL=C sort > 0.names',
  // Only what the first layer holds, and only where the folder itself is still there.
  'mkdir gone; comm -23 b.names a.names | LC_ALL=C comm -12 - 0.names | while read -r path; do',
  '  folder=${path%/*}; [ -d "rootfs/$folder" ] || continue',
  '  mkdir -p "gone/$folder"; : > "gone/$folder/.wh.${path##*/}"; done',
  '(cd gone && find . -type f -print0) > gone.list',
  // With the folders above, as image builders write them: some tools look for them.
  "(cat changed.names; cd gone; find . -mindepth 1 -type d) | awk '{ print; while (sub(/\\/[^\\/]*$/, \"\") && $0 != \".\" && $0 != \"\") print }' |",
  "  LC_ALL=C sort -u | tr '\\n' '\\0' > changed.list"
].join('\n')

/** The machine's own Debian sources, whatever mirror they name. */
function sourcesFile (): string {
  const list = '/etc/apt/sources.list'
  if (existsSync(list) && /^\s*deb /m.test(readFileSync(list, 'utf8'))) return list
  const folder = '/etc/apt/sources.list.d'
  const found = readdirSync(folder).filter((name) => name.endsWith('.sources') || name.endsWith('.list'))
    .find((name) => /debian-archive-keyring|Suites:\s*\w+/.test(readFileSync(join(folder, name), 'utf8')))
  if (found === undefined) throw new Error('this machine names no Debian package sources in /etc/apt')
  return join(folder, found)
}

function suite (): string {
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  if (release === undefined) throw new Error('/etc/os-release names no Debian release')
  return release
}
