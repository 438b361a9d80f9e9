// Chooses the mount driver by trying it: a tiny layer is mounted, read alone, through an overlay and through an overlay
// on that; and a read that fails must be an error, since some 6.12+ kernels fill with zeros there (design §3).
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { asSnapshotterError, errnoOf, SnapshotterError, systemCode } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { layoutData } from '../layer/data-layout.ts'
import type { Inode, LayerIndex } from '../layer/layer-index.ts'
import { digestBytes, digestOf } from '../verify/digest.ts'
import type { DataPlane } from './data-plane.ts'
import type { DriverName, MountDriver } from './driver.ts'
import { placeChunks } from '../layer/placed-chunks.ts'
import type { NativeProgram } from './native-program.ts'
import type { SelfTestFiles } from './self-test-files.ts'

const GOOD = Buffer.from('every byte of this was checked\n')
const BAD = Buffer.from('this never arrives\n')

interface Parts {
  readonly state: string
  readonly dataPlane: DataPlane
  readonly native: NativeProgram
  readonly files: SelfTestFiles
  readonly log: Log
}

/** The wanted driver, or with `auto` the first of the candidates that passes. @throws ENVIRONMENT with each one's reason. */
export async function chooseDriver (wanted: DriverName | 'auto', candidates: readonly MountDriver[], parts: Parts): Promise<MountDriver> {
  const reasons: string[] = []
  for (const driver of candidates.filter(({ name }) => wanted === 'auto' || name === wanted)) {
    try {
      await selfTest(driver, parts)
      const why = wanted === 'auto' ? 'the first that passed its self-test' : 'as configured; it passed its self-test'
      parts.log.info({ driver: driver.name, wanted, rejected: reasons }, `mount driver ${driver.name}: ${why}`)
      return driver
    } catch (error) {
      reasons.push(`${driver.name}: ${asSnapshotterError(error).message}`)
    }
  }
  const which = wanted === 'auto' ? 'no mount driver works' : `the mount driver ${wanted} does not work`
  throw new SnapshotterError('ENVIRONMENT', `${which} here (${reasons.join('; ')}); Linux ≥ 5.16 with EROFS, FUSE and loop is needed, or FUSE for driver fuse`)
}

async function selfTest (driver: MountDriver, { state, native, files }: Parts): Promise<void> {
  const folder = join(state, 'self-test')
  const target = join(folder, 'fs')
  const index = sample()
  const layout = layoutData(index)
  const overlays = ['one', 'two'].map((name) => join(folder, name))
  const clear = async (): Promise<void> => {
    await driver.unmount(target)
    await native.run(['umount-tree', folder])
    await rm(folder, { recursive: true, force: true })
  }
  await clear() // of a daemon that was killed here
  for (const path of [target, ...overlays.flatMap((base) => ['up', 'work', 'merged'].map((name) => join(base, name)))]) {
    await mkdir(path, { recursive: true })
  }
  files.expect(driver.fileName(target), GOOD, errnoOf('ROOT_UNREACHABLE'))
  try {
    await driver.mount({
      index, layout, chunks: placeChunks(index, layout), digest: digestBytes(digestOf(GOOD)), cacheFolder: join(folder, 'cache')
    }, target)
    await readsWell(target)
    let lower = target
    for (const base of overlays) {
      await native.run(['mount-overlay', join(base, 'merged'), '--lower', lower, '--upper', join(base, 'up'), '--work', join(base, 'work')])
      lower = join(base, 'merged')
      await readsWell(lower)
    }
  } finally {
    files.forget(driver.fileName(target))
    await clear()
  }
}

async function readsWell (folder: string): Promise<void> {
  const good = await readFile(join(folder, 'good'))
  if (!good.equals(GOOD)) throw new SnapshotterError('ENVIRONMENT', 'a read through the mount gave other bytes')
  const outcome = await readFile(join(folder, 'bad')).then(() => 'bytes', (error: unknown) => systemCode(error))
  if (outcome !== 'EIO') {
    throw new SnapshotterError('ENVIRONMENT', `a read that must fail with EIO gave ${outcome ?? 'another error'}: this kernel hides missing data`)
  }
}

function sample (): LayerIndex {
  const file = (content: Uint8Array, firstChunk: number): Inode => ({
    ...BARE, kind: 'file', mode: 0o644, size: content.byteLength, linkCount: 1, entries: null, firstChunk, chunkCount: 1
  })
  const chunk = (content: Uint8Array, offset: number): LayerIndex['chunks'][number] => ({
    fileOffset: 0, size: content.byteLength, digest: digestBytes(digestOf(content)), offset, length: content.byteLength, innerOffset: 0
  })
  const root: Inode = {
    ...BARE,
    kind: 'directory',
    mode: 0o755,
    size: 0,
    linkCount: 2,
    entries: [{ name: Buffer.from('bad'), inode: 2 }, { name: Buffer.from('good'), inode: 1 }],
    firstChunk: 0,
    chunkCount: 0
  }
  return { format: 'tar', inodes: [root, file(GOOD, 0), file(BAD, 1)], chunks: [chunk(GOOD, 0), chunk(BAD, 4096)], prefetchBytes: 0 }
}

const BARE = { uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, rdevMajor: 0, rdevMinor: 0, target: null, xattrs: [], implied: false }
