// The tree that steady state is measured on, made once: Debian packages unpacked (python, node, gcc, a large library),
// the same tree as an EROFS image by mkfs.erofs, and published as a one-layer image in a CAR.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../demo/run.ts'
import { buildDebianTars } from '../images/debian-image.ts'
import { once, published, type StoredImage } from '../images/image-store.ts'
import { writeLayout } from '../images/oci-layout.ts'
import { TAR_OPTIONS } from '../images/recipe.ts'
import { shuffled, seededRandom } from '../statistics.ts'

const NAME = 'steady'
const VERSION = '1'
const PACKAGES = ['python3', 'python3-pip', 'python3-numpy', 'python3-django', 'nodejs', 'g++', 'libllvm14', 'ca-certificates']
const SMALL_FILES = 5000
const SMALL_BYTES_MAX = 64 * 1024

export interface SteadyTree {
  /** Unpacked on the disk. */
  readonly rootfs: string
  /** mkfs.erofs of it, uncompressed. */
  readonly erofs: string
  readonly car: string
  readonly reference: string
  readonly entries: number
  readonly bytes: number
  /** Paths below the root, one a line. */
  readonly smallFiles: string
  /** The three largest files, below the root: read in order, at random, mapped. */
  readonly large: readonly [sequential: string, random: string, mapped: string]
}

/** Needs root, mmdebstrap and mkfs.erofs. */
export async function steadyTree (cache: string, say: (text: string) => void): Promise<SteadyTree> {
  const folder = join(cache, 'trees', `${NAME}-${VERSION}`)
  await once(folder, async (building) => {
    say(`building the tree for steady state from ${PACKAGES.join(', ')}`)
    const { rootfs, tars } = await buildDebianTars(building, PACKAGES, { 'app/none': '' })
    for (const tar of tars) await rm(tar)
    await run('sh', ['-c', 'rm -rf dev/* proc/* sys/* run/* tmp/* var/cache/apt/* var/lib/apt/lists/*'], { cwd: rootfs })
    const tar = join(building, 'all.tar')
    await run('tar', ['-C', rootfs, ...TAR_OPTIONS, '-cf', tar, '.'], { timeoutMs: 300_000 })
    await writeLayout(join(building, 'layout'), [tar], ['/bin/true'])
    await rm(tar, { force: true })
    await run('mkfs.erofs', [join(building, 'plain.erofs'), rootfs], { timeoutMs: 300_000 })
    const { files, entries } = await listFiles(rootfs)
    const small = shuffled(files.filter(({ size }) => size > 0 && size <= SMALL_BYTES_MAX), seededRandom(1)).slice(0, SMALL_FILES)
    await writeFile(join(building, 'small.list'), small.map(({ path }) => `${path}\n`).join(''))
    const large = [...files].sort((a, b) => b.size - a.size).slice(0, 3).map(({ path }) => path)
    await writeFile(join(building, 'facts.json'), JSON.stringify({ entries, bytes: files.reduce((sum, { size }) => sum + size, 0), large }))
  })
  const facts = JSON.parse(await readFile(join(folder, 'facts.json'), 'utf8')) as Pick<SteadyTree, 'entries' | 'bytes' | 'large'>
  // Only what `published` asks of an image.
  const image = { recipe: { name: NAME, version: VERSION }, layout: join(folder, 'layout') } as StoredImage
  const { car, reference } = await published(cache, image, [], say)
  return { ...facts, rootfs: join(folder, 'rootfs'), erofs: join(folder, 'plain.erofs'), smallFiles: join(folder, 'small.list'), car, reference }
}

interface Listed { readonly path: string, readonly size: number }

async function listFiles (root: string): Promise<{ readonly files: readonly Listed[], readonly entries: number }> {
  const { stdout } = await run('find', ['.', '-mindepth', '1', '-printf', '%y %s %P\\n'], { cwd: root })
  const lines = stdout.trim().split('\n')
  const files = lines.flatMap((line) => {
    const [, size, path] = /^f (\d+) (.+)$/.exec(line) ?? []
    return size === undefined || path === undefined ? [] : [{ path, size: Number(size) }]
  })
  return { files: files.sort((a, b) => a.path < b.path ? -1 : 1), entries: lines.length }
}
