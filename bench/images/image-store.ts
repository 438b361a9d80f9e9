// Images of the benchmark, built once and kept: the layout, the list of files that a run opens, and its first line. A
// build that ends early leaves nothing that looks finished.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createHash } from 'node:crypto'
import { product } from '../demo/product.ts'
import { recordPrefetchList, WITH_DEVICES } from '../demo/prefetch-list.ts'
import { run } from '../demo/run.ts'
import { writeLayout } from './oci-layout.ts'
import type { Recipe } from './recipe.ts'

export interface StoredImage {
  readonly recipe: Recipe
  /** OCI layout folder with plain gzip layers. */
  readonly layout: string
  /** Paths that a run opens, one a line, in order; files of more than 64 MiB left out. */
  readonly prefetchList: string
  /** First line of its program. */
  readonly expected: string
  readonly imageBytes: number
  readonly tarBytes: number
  readonly layers: number
  readonly filesTouched: number
  readonly bytesTouched: number
}

export interface Published { readonly car: string, readonly cid: string, readonly reference: string, readonly nerdctlCid: string }

const LISTED_BYTES_MAX = 64 * 2 ** 20

type Facts = Omit<StoredImage, 'recipe' | 'layout' | 'prefetchList'>

/** Builds the image on its first use. */
export async function storedImage (cache: string, recipe: Recipe, say: (text: string) => void): Promise<StoredImage> {
  const folder = join(cache, 'images', `${recipe.name}-${recipe.version}`)
  await once(folder, async (building) => {
    say(`building the image ${recipe.name}: ${recipe.about}`)
    const tars = await recipe.build(building)
    const rootfs = join(building, 'rootfs')
    const written = await writeLayout(join(building, 'layout'), tars, recipe.program)
    const list = join(building, 'prefetch.list')
    const filesTouched = await recordPrefetchList(rootfs, recipe.program, list)
    const touched = await run('sh', ['-c', 'tr "\\n" "\\0" < "$0" | (cd "$1" && sed -z "s|^/||" | xargs -0 stat -c %s)', list, rootfs])
    await leaveOutLargeFiles(rootfs, list)
    const output = await run('unshare', ['-m', '-n', 'sh', '-c', WITH_DEVICES, rootfs, 'chroot', rootfs, ...recipe.program], { timeoutMs: 120_000 })
    const facts: Facts = {
      ...written, filesTouched, expected: output.stdout.split('\n')[0] ?? '',
      bytesTouched: touched.stdout.trim().split('\n').reduce((sum, size) => sum + Number(size), 0)
    }
    await writeFile(join(building, 'facts.json'), JSON.stringify(facts))
    const others = 'find . -mindepth 1 -maxdepth 1 ! -name layout ! -name prefetch.list ! -name facts.json'
    await run('sh', ['-c', `${others} -exec rm -rf --one-file-system {} +`], { cwd: building })
  })
  const facts = JSON.parse(await readFile(join(folder, 'facts.json'), 'utf8')) as Facts
  return { ...facts, recipe, layout: join(folder, 'layout'), prefetchList: join(folder, 'prefetch.list') }
}

/** What is listed is fetched whole before it is needed: nobody would list a file of which a few places are read. */
async function leaveOutLargeFiles (rootfs: string, list: string): Promise<void> {
  const paths = (await readFile(list, 'utf8')).split('\n').filter((path) => path !== '' && statSync(join(rootfs, path)).size <= LISTED_BYTES_MAX)
  await writeFile(list, paths.map((path) => `${path}\n`).join(''))
}

/** Publishes the image on first use with this state of the publishing code and these options. */
export async function published (cache: string, image: StoredImage, options: readonly string[], say: (text: string) => void): Promise<Published> {
  const named = JSON.stringify([image.recipe.name, image.recipe.version, options])
  const key = createHash('sha256').update(named).update(publishSources()).digest('hex').slice(0, 16)
  const folder = join(cache, 'published', `${image.recipe.name}-${key}`)
  await once(folder, async (building) => {
    say(`publishing ${image.recipe.name} ${options.map((option) => option.replace(/^\/.*\//, '')).join(' ')}`)
    const result = await product<Omit<Published, 'car'>>(['publish', image.layout, '--car', join(building, 'image.car'), ...options])
    await writeFile(join(building, 'published.json'), JSON.stringify(result))
  })
  return { ...JSON.parse(await readFile(join(folder, 'published.json'), 'utf8')) as Published, car: join(folder, 'image.car') }
}

/** Makes a folder complete or not at all; when two make it at once, the first stays. */
export async function once (folder: string, build: (building: string) => Promise<void>): Promise<void> {
  if (existsSync(folder)) return
  await mkdir(join(folder, '..'), { recursive: true })
  const building = await mkdtemp(`${folder}.building-`)
  try {
    await build(building)
    await rename(building, folder).catch((error: unknown) => { if (!existsSync(folder)) throw error })
  } finally {
    await run('rm', ['-rf', '--one-file-system', building], { mayFail: true })
    if (existsSync(building)) await rm(building, { recursive: true, force: true })
  }
}

/** The command has the defaults, so it counts too. */
function publishSources (): string {
  const source = resolve(import.meta.dirname, '..', '..', 'src')
  const files = readdirSync(join(source, 'publish')).sort().map((name) => join('publish', name))
  return [...files, join('cli', 'publish.ts')].map((file) => readFileSync(join(source, file), 'utf8')).join('\n')
}
