// Builds the demo's image from Debian packages: a base layer, a Python science layer and an application layer, as a
// plain (gzip) OCI layout. Debian's own tools make the tree; GNU tar makes the layers; nothing here knows our formats.
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { run } from './run.ts'

const PACKAGES = ['python3', 'python3-numpy', 'g++', 'ca-certificates']
const PROGRAM = [
  'import time', 'import numpy',
  "print('numpy', numpy.__version__, 'sum', int(numpy.arange(1000).sum()), flush=True)", ''
].join('\n')

export interface DemoImage {
  /** OCI layout folder with plain gzip layers. */
  readonly layout: string
  /** The tree that the image was made from. */
  readonly rootfs: string
  /** Compressed bytes of all layers. */
  readonly imageBytes: number
}

interface Blob { readonly digest: string, readonly size: number }
interface Layer extends Blob { readonly diffId: string }

/** Needs root, mmdebstrap and GNU tar; leaves everything below `folder`, which the caller removes. */
export async function buildDemoImage (folder: string, say: (text: string) => void): Promise<DemoImage> {
  const rootfs = join(folder, 'rootfs')
  const layout = join(folder, 'layout')
  await mkdir(join(layout, 'blobs', 'sha256'), { recursive: true })

  say(`building the image from Debian packages: ${PACKAGES.join(', ')}`)
  const before = join(folder, 'before.list')
  await run('mmdebstrap', ['--variant=minbase', '--format=directory', `--include=${PACKAGES.join(',')}`,
    `--essential-hook=(cd "$1" && ${listing('.')} > "${before}"); tar -C "$1" ${TAR} ${PASSING.map((path) => `--exclude='${path}'`).join(' ')} -cf "${join(folder, '0.tar')}" .`,
    suite(), rootfs, sourcesFile()], { timeoutMs: 900_000 })
  await run('sh', ['-c', `${listing(rootfs)} > after.list; ${DIFFERENCE}`], { cwd: folder, timeoutMs: 120_000 })
  await run('tar', ['-C', rootfs, ...TAR.split(' '), '--no-recursion', '--null', '-T', join(folder, 'changed.list'), '-cf', join(folder, '1.tar')])
  await run('tar', ['-C', join(folder, 'gone'), ...TAR.split(' '), '--null', '-T', join(folder, 'gone.list'), '-rf', join(folder, '1.tar')])
  await mkdir(join(rootfs, 'app'))
  await writeFile(join(rootfs, 'app', 'main.py'), PROGRAM)
  await run('tar', ['-C', rootfs, ...TAR.split(' '), '-cf', join(folder, '2.tar'), 'app'])

  say('compressing three layers')
  const layers = await Promise.all([0, 1, 2].map(async (at) => await addLayer(layout, join(folder, `${at}.tar`))))
  await finishLayout(layout, layers)
  return { layout, rootfs, imageBytes: layers.reduce((sum, { size }) => sum + size, 0) }
}

const TAR = '--format=posix --numeric-owner --one-file-system --xattrs --xattrs-include=* --sort=name'
// Still mounted or downloaded while the first layer is cut, gone in the end.
const PASSING = ['./proc/*', './sys/*', './dev/*', './var/cache/apt/archives/*', './var/lib/apt/lists/*', './tmp/*']

/** One line per entry (type, mode, owner, size, mtime, link, path), to see what the package installation changed. */
function listing (folder: string): string {
  return `find ${folder} -xdev -mindepth 1 -printf '%y %m %U:%G %s %T@ %l\\t./%P\\n' | LC_ALL=C sort -t "$(printf '\\t')" -k2`
}

/** What is new or changed goes into the second layer; what is gone becomes a whiteout in it (image-spec layer.md). */
const DIFFERENCE = [
  'LC_ALL=C sort before.list > b; LC_ALL=C sort after.list > a',
  "comm -13 b a | cut -f2 | LC_ALL=C sort | tr '\\n' '\\0' > changed.list",
  'cut -f2 b | LC_ALL=C sort > b.names; cut -f2 a | LC_ALL=C sort > a.names',
  // Only what the first layer holds, and only where the folder itself is still there.
  'mkdir gone; comm -23 b.names a.names | while read -r path; do',
  '  folder=${path%/*}; [ -d "rootfs/$folder" ] && tar -tf 0.tar "$path" >/dev/null 2>&1 || continue',
  '  mkdir -p "gone/$folder"; : > "gone/$folder/.wh.${path##*/}"; done',
  '(cd gone && find . -type f -print0) > gone.list'
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

async function addLayer (layout: string, tar: string): Promise<Layer> {
  const uncompressed = createHash('sha256')
  const compressed = createHash('sha256')
  const temporary = `${tar}.gz`
  const gzip = createGzip({ level: 6 })
  gzip.on('data', (data: Buffer) => compressed.update(data))
  await pipeline(createReadStream(tar, { highWaterMark: 1 << 20 }).on('data', (data) => uncompressed.update(data)), gzip, createWriteStream(temporary))
  const digest = compressed.digest('hex')
  await rename(temporary, join(layout, 'blobs', 'sha256', digest))
  return { digest: `sha256:${digest}`, diffId: `sha256:${uncompressed.digest('hex')}`, size: statSync(join(layout, 'blobs', 'sha256', digest)).size }
}

async function finishLayout (layout: string, layers: readonly Layer[]): Promise<void> {
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64'
  const config = await addJson(layout, {
    architecture,
    os: 'linux',
    config: { Cmd: ['/usr/bin/python3', '/app/main.py'], Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map((_, at) => ({ created_by: `demo layer ${at}` }))
  })
  const manifest = await addJson(layout, {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: layers.map(({ digest, size }) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size }))
  })
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(layout, 'index.json'), JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      ...manifest,
      platform: { architecture, os: 'linux' },
      annotations: { 'org.opencontainers.image.ref.name': 'latest' }
    }]
  }))
}

async function addJson (layout: string, document: object): Promise<Blob> {
  const bytes = Buffer.from(JSON.stringify(document))
  const digest = createHash('sha256').update(bytes).digest('hex')
  await writeFile(join(layout, 'blobs', 'sha256', digest), bytes)
  return { digest: `sha256:${digest}`, size: bytes.length }
}
