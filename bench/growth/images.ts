// What grows: layers of many files, images of many layers, large files. Made once and kept as CARs; each has one static
// program that waits, for containers that do nothing but be there.
import { createCipheriv } from 'node:crypto'
import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../demo/run.ts'
import { once, published, type StoredImage } from '../images/image-store.ts'
import { writeLayout } from '../images/oci-layout.ts'
import { EPOCH, TAR_OPTIONS } from '../images/recipe.ts'

const VERSION = '1'
const FILES_PER_FOLDER = 500
const FILES_PER_LAYER = 50
const PIECE = 256 * 1024
const SEED = 4096 // one piece is copies of it: pieces differ, and deflate is quick
export const WAIT = '/bin/wait'

export interface GrownImage { readonly reference: string, readonly car: string, readonly layers: number }

export async function filesImage (cache: string, files: number, say: (text: string) => void): Promise<GrownImage> {
  return await grown(cache, `files-${files}`, 2, say, async (folder, bytes) => {
    const root = join(folder, 'tree')
    for (let at = 0; at < files; at++) {
      const directory = join(root, 'data', String(Math.floor(at / FILES_PER_FOLDER)))
      if (at % FILES_PER_FOLDER === 0) await mkdir(directory, { recursive: true })
      await writeFile(join(directory, String(at)), bytes(100 + at * 977 % 900).toString('hex'))
    }
    return [await tarOf(folder, root, 'files')]
  })
}

/** `layers` in all, the one with the program included. */
export async function layersImage (cache: string, layers: number, say: (text: string) => void): Promise<GrownImage> {
  return await grown(cache, `layers-${layers}`, layers, say, async (folder, bytes) => {
    const tars: string[] = []
    for (let layer = 1; layer < layers; layer++) {
      const root = join(folder, `tree-${layer}`)
      await mkdir(join(root, 'data', String(layer)), { recursive: true })
      for (let at = 0; at < FILES_PER_LAYER; at++) await writeFile(join(root, 'data', String(layer), String(at)), bytes(500 + at * 131).toString('hex'))
      tars.push(await tarOf(folder, root, String(layer)))
    }
    return tars
  })
}

export async function fileImage (cache: string, mebibytes: number, say: (text: string) => void): Promise<GrownImage> {
  return await grown(cache, `file-${mebibytes}`, 2, say, async (folder, bytes) => {
    const root = join(folder, 'tree')
    await mkdir(join(root, 'data'), { recursive: true })
    const file = await open(join(root, 'data', 'large'), 'w')
    for (let at = 0; at < mebibytes * 2 ** 20; at += PIECE) await file.write(Buffer.alloc(PIECE, bytes(SEED)))
    await file.close()
    return [await tarOf(folder, root, 'file')]
  })
}

type Build = (folder: string, bytes: (count: number) => Buffer) => Promise<string[]>

async function grown (cache: string, name: string, layers: number, say: (text: string) => void, build: Build): Promise<GrownImage> {
  const folder = join(cache, 'grown', `${name}-${VERSION}`)
  await once(folder, async (building) => {
    say(`building ${name}`)
    const tars = [await programTar(building), ...await build(building, noise(name))]
    await writeLayout(join(building, 'layout'), tars, [WAIT])
    await run('sh', ['-c', 'find . -mindepth 1 -maxdepth 1 ! -name layout -exec rm -rf {} +'], { cwd: building, timeoutMs: 300_000 })
  })
  // Only what `published` asks of an image.
  const image = { recipe: { name: `grown-${name}`, version: VERSION }, layout: join(folder, 'layout') } as StoredImage
  const { reference, car } = await published(cache, image, [], say)
  return { reference, car, layers }
}

async function programTar (folder: string): Promise<string> {
  const root = join(folder, 'program')
  for (const name of ['bin', 'proc', 'sys', 'dev', 'tmp']) await mkdir(join(root, name), { recursive: true })
  const source = join(folder, 'wait.cc')
  await writeFile(source, '#include <unistd.h>\nint main() { for (;;) pause(); }\n')
  await run('g++', ['-O1', '-static', '-s', '-o', join(root, WAIT), source], { timeoutMs: 60_000 })
  return await tarOf(folder, root, 'program')
}

async function tarOf (folder: string, root: string, name: string): Promise<string> {
  const tar = join(folder, `${name}.tar`)
  await run('tar', ['-C', root, ...TAR_OPTIONS, `--mtime=@${EPOCH}`, '-cf', tar, '.'], { timeoutMs: 600_000 })
  await rm(root, { recursive: true })
  return tar
}

/** A stream of pseudo-random bytes. */
function noise (name: string): (bytes: number) => Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.from(name.padEnd(16)).subarray(0, 16))
  return (bytes) => cipher.update(Buffer.alloc(bytes))
}
