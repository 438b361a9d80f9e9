// Images that no distribution has: very many files, one very large file, very many layers. A static busybox is all the
// system in them. Content is pseudo-random from a fixed seed, so digests do not depend on machine or time.
import { createCipheriv } from 'node:crypto'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../demo/run.ts'
import { extractPackage } from './debian-image.ts'
import { EPOCH, TAR_OPTIONS } from './recipe.ts'

const FOLDERS = 250
const FILES_PER_FOLDER = 400
const BIG_BYTES = 2 ** 30
const BIG_BLOCK = 2 ** 20
const BIG_SEED_BYTES = 512 // then seven copies: deflate makes an eighth of it, and no page is like another
const BIG_REPEAT = 8
const LAYERS = 60
const FILES_PER_LAYER = 60

export const FILES_PROGRAM = ['/bin/busybox', 'sh', '-c',
  `i=0; while [ $i -lt 300 ]; do echo /data/$((i * 37 % ${FOLDERS}))/$((i * 89 % ${FILES_PER_FOLDER})); i=$((i + 1)); done | ` +
  '/bin/busybox xargs /bin/busybox cat | /bin/busybox md5sum']
export const BIG_PROGRAM = ['/bin/busybox', 'sh', '-c',
  'i=0; while [ $i -lt 16 ]; do /bin/busybox dd if=/data/big bs=4096 count=1 skip=$((i * 15013 + 7)) 2>/dev/null; i=$((i + 1)); done | /bin/busybox md5sum']
export const LAYERS_PROGRAM = ['/bin/busybox', 'sh', '-c',
  `i=1; while [ $i -lt ${LAYERS} ]; do /bin/busybox cat /data/$i/7; i=$((i + 1)); done | /bin/busybox md5sum`]

export async function buildManyFiles (folder: string): Promise<string[]> {
  const bytes = noise('files100k')
  const { rootfs, tar } = await base(folder)
  for (let at = 0; at < FOLDERS; at++) {
    await mkdir(join(rootfs, 'data', String(at)), { recursive: true })
    for (let file = 0; file < FILES_PER_FOLDER; file++) {
      await writeFile(join(rootfs, 'data', String(at), String(file)), textLike(bytes, 200 + (at * 131 + file * 977) % 3000))
    }
  }
  return [tar, await cut(folder, '1', 'data')]
}

export async function buildBigFile (folder: string): Promise<string[]> {
  const bytes = noise('big1g')
  const { rootfs, tar } = await base(folder)
  await mkdir(join(rootfs, 'data'))
  const file = await open(join(rootfs, 'data', 'big'), 'w')
  for (let at = 0; at < BIG_BYTES; at += BIG_BLOCK) {
    const block = Buffer.alloc(BIG_BLOCK)
    for (let to = 0; to < BIG_BLOCK; to += BIG_SEED_BYTES * BIG_REPEAT) block.fill(bytes(BIG_SEED_BYTES), to, to + BIG_SEED_BYTES * BIG_REPEAT)
    await file.write(block)
  }
  await file.close()
  return [tar, await cut(folder, '1', 'data')]
}

export async function buildManyLayers (folder: string): Promise<string[]> {
  const bytes = noise('layers60')
  const { rootfs, tar } = await base(folder)
  const tars = [tar]
  for (let at = 1; at < LAYERS; at++) {
    await mkdir(join(rootfs, 'data', String(at)), { recursive: true })
    for (let file = 0; file < FILES_PER_LAYER; file++) {
      await writeFile(join(rootfs, 'data', String(at), String(file)), textLike(bytes, 2000 + (at * 131 + file * 977) % 30_000))
    }
    tars.push(await cut(folder, String(at), '--no-recursion', 'data', '--recursion', join('data', String(at))))
  }
  return tars
}

async function base (folder: string): Promise<{ rootfs: string, tar: string }> {
  const rootfs = join(folder, 'rootfs')
  await extractPackage(rootfs, 'busybox-static')
  return { rootfs, tar: await cut(folder, '0', '.') }
}

async function cut (folder: string, name: string, ...paths: readonly string[]): Promise<string> {
  const tar = join(folder, `${name}.tar`)
  const excluded = ['proc', 'sys', 'dev'].map((name) => `--exclude=./${name}/*`)
  await run('tar', ['-C', join(folder, 'rootfs'), ...TAR_OPTIONS, `--mtime=@${EPOCH}`, ...excluded, '-cf', tar, ...paths], { timeoutMs: 300_000 })
  return tar
}

/** A stream of pseudo-random bytes. */
function noise (name: string): (bytes: number) => Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.from(name.padEnd(16)).subarray(0, 16))
  return (bytes) => cipher.update(Buffer.alloc(bytes))
}

/** Compresses to about a quarter, as program text does. */
function textLike (bytes: (count: number) => Buffer, length: number): Buffer {
  const half = bytes(Math.ceil(length / 4)).toString('hex')
  return Buffer.from((half + half).slice(0, length))
}
