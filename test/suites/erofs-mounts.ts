// Mounts what the EROFS builder made, in every form that a driver uses and one more, through the native helper.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { buildErofs } from '../../src/erofs/build-erofs.ts'
import { layoutData } from '../../src/layer/data-layout.ts'
import { type Layer, writeDataFile } from './layer-from-tree.ts'
import { treeDumpProgram } from './tree-dump.ts'

const run = promisify(execFile)
const ROOT = resolve(import.meta.dirname, '../..')
export const UUID = Uint8Array.from({ length: 16 }, (_, i) => i + 1)

/** Null, or why EROFS cannot be mounted here. */
export function whyNoMounts (): string | null {
  if (process.getuid?.() !== 0) return 'mounting needs root'
  return readFileSync('/proc/filesystems', 'utf8').includes('\terofs') ? null : 'this kernel has no EROFS (modprobe erofs)'
}

let program: Promise<string> | null = null

/** Runs a job of the native program, building that first; IPFS_SNAPSHOTTER_NATIVE names another build of it. */
export async function native (...words: string[]): Promise<string> {
  program ??= buildNative()
  return (await run(await program, words)).stdout
}

/** For beforeAll: compiles what mounting tests run, so that no test's patience covers a compiler. */
export async function preparePrograms (): Promise<void> {
  program ??= buildNative()
  await Promise.all([program, treeDumpProgram()])
}

export const PREPARE_MS = 300_000

async function buildNative (): Promise<string> {
  const given = process.env['IPFS_SNAPSHOTTER_NATIVE']
  return given ?? (await run('sh', [join(ROOT, 'scripts/build-native')])).stdout.trim()
}

/** A directory with ramfs at `ramfs`; everything mounted below it is unmounted and it is removed, whatever happens. */
export async function withScratch<T> (use: (scratch: string) => Promise<T>): Promise<T> {
  await preparePrograms()
  const scratch = mkdtempSync(join(tmpdir(), 'erofs-test-'))
  try {
    mkdirSync(join(scratch, 'ramfs'))
    await native('mount-ramfs', join(scratch, 'ramfs'))
    return await use(scratch)
  } finally {
    await native('umount-tree', scratch)
    rmSync(scratch, { recursive: true, force: true })
  }
}

const TMPFS_MAGIC = 0x01021994 // linux/magic.h

export interface Images {
  /** two-devices: metadata, on ramfs. */
  readonly meta: string
  readonly data: string
  /** one-file: metadata and data. */
  readonly one: string
}

/** Builds both forms below `scratch`, under `name`. */
export function writeImages (scratch: string, layer: Layer, name = 'image'): Images {
  const layout = layoutData(layer.index)
  const ramfs = join(scratch, 'ramfs')
  // Where /tmp is a tmpfs, EROFS cannot read metadata from it (ENOTBLK).
  const disk = statfsSync(scratch).type === TMPFS_MAGIC ? ramfs : scratch
  const images = { meta: join(ramfs, `${name}.meta`), data: join(scratch, `${name}.data`), one: join(disk, `${name}.one`) }
  writeFileSync(images.meta, buildErofs(layer.index, layout, { form: 'two-devices', uuid: UUID }))
  writeDataFile(images.data, layer, layout)
  writeDataFile(images.one, layer, layout, buildErofs(layer.index, layout, { form: 'one-file', uuid: UUID }))
  return images
}

export const MOUNT_FORMS = ['two files', 'one file', 'one loop', 'two loops'] as const
export type MountForm = typeof MOUNT_FORMS[number]

/** The one-file forms need a backing file system that EROFS reads from: a loop takes any, `one file` not tmpfs. */
export async function mountImages (images: Images, form: MountForm, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true })
  if (form === 'two files') await native('mount-erofs', images.meta, directory, '--device', images.data)
  else if (form === 'one file') await native('mount-erofs', images.one, directory)
  else if (form === 'one loop') await native('mount-loop', images.one, directory)
  else await mountTwoLoops(images, directory)
}

async function mountTwoLoops (images: Images, directory: string): Promise<void> {
  const loops: string[] = []
  try {
    for (const file of [images.meta, images.data]) {
      loops.push((await run('losetup', ['--find', '--read-only', '--show', file])).stdout.trim())
    }
    await native('mount-erofs', loops[0] ?? '', directory, '--device', loops[1] ?? '')
  } finally {
    for (const loop of loops) await run('losetup', ['--detach', loop]) // takes effect when the mount goes
  }
}
