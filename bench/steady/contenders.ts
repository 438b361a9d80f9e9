// What is measured: our drivers, bare and below overlayfs; the same tree unpacked on the disk's own filesystem below
// overlayfs; and the same tree as mkfs.erofs makes it. Each is measured in states of caches, some of them on one mount:
//   first    nothing is here, all comes from the gateway
//   restart  a fresh mount, its bytes in the cache: what a new worker believes of them it has to prove again
//   cold     names, attributes and pages of the mount are dropped; the file that backs it is in the page cache
//   disk     and that file is not either
//   warm     the second pass of the last one
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DriverName } from '../../src/mount/driver.ts'
import type { NativeProgram } from '../../src/mount/native-program.ts'
import { run } from '../demo/run.ts'
import type { LazyPlane } from './lazy-plane.ts'
import type { SteadyTree } from './tree.ts'

export type State = 'first' | 'restart' | 'cold' | 'disk'

export interface Contender {
  readonly name: string
  /** What is measured on one mount, in this order; then it is mounted anew for the next list. */
  readonly mounts: ReadonlyArray<readonly State[]>
  /** Returns where the tree is. */
  readonly mount: (state: State) => Promise<string>
  /** Of the mounted tree. */
  readonly enter: (state: State) => Promise<void>
  readonly unmount: () => Promise<void>
}

interface Parts {
  readonly folder: string
  readonly tree: SteadyTree
  readonly lazy: LazyPlane
  /** The compiled measure.cc. */
  readonly measure: string
  /** A cache that holds all that the workloads read. */
  readonly filled: string
}

export function contenders (parts: Parts): Contender[] {
  const { tree, lazy: { native } } = parts
  const folder = join(parts.folder, 'unpacked')
  return [
    ours(parts, 'erofs', false),
    ours(parts, 'erofs', true),
    ours(parts, 'erofs-loop', false),
    ours(parts, 'fuse', false),
    {
      name: 'overlay on unpacked',
      mounts: [['disk']],
      mount: async () => await mountOverlay(native, tree.rootfs, folder),
      enter: dropCaches,
      unmount: async () => { await native.run(['umount', join(folder, 'merged')]) }
    },
    plainErofs(parts, false),
    plainErofs(parts, true)
  ]
}

function ours (parts: Parts, driver: DriverName, overlaid: boolean): Contender {
  const { lazy, measure, filled } = parts
  const folder = join(parts.folder, `${driver}${overlaid ? '-overlay' : ''}`)
  const target = join(folder, 'mount')
  let fresh: string | null = null
  return {
    name: `ours ${driver}${overlaid ? ' + overlay' : ''}`,
    mounts: overlaid ? [['restart', 'cold']] : [['first'], ['restart', 'cold', 'disk']],
    mount: async (state) => {
      fresh = state === 'first' ? lazy.newCache() : null
      await lazy.mount(driver, fresh ?? filled, target)
      return overlaid ? await mountOverlay(lazy.native, target, folder) : target
    },
    enter: async (state) => {
      if (state === 'cold' || state === 'disk') await dropCaches()
      if (state === 'cold' || state === 'restart') await run(measure, ['remember', join(filled, 'data')])
    },
    unmount: async () => {
      if (overlaid) await lazy.native.run(['umount', join(folder, 'merged')])
      await lazy.unmount(driver, target)
      if (fresh !== null) await rm(fresh, { recursive: true, force: true })
    }
  }
}

function plainErofs ({ folder, tree, lazy: { native }, measure }: Parts, overlaid: boolean): Contender {
  const scratch = join(folder, overlaid ? 'plain-overlay' : 'plain')
  const target = join(scratch, 'mount')
  return {
    name: overlaid ? 'plain EROFS + overlay' : 'plain EROFS',
    mounts: overlaid ? [['cold']] : [['cold', 'disk']],
    mount: async () => {
      await mkdir(target, { recursive: true })
      await native.run(['mount-erofs', tree.erofs, target])
      return overlaid ? await mountOverlay(native, target, scratch) : target
    },
    enter: async (state) => {
      await dropCaches()
      if (state === 'cold') await run(measure, ['remember', tree.erofs])
    },
    unmount: async () => {
      if (overlaid) await native.run(['umount', join(scratch, 'merged')])
      await native.run(['umount', target])
    }
  }
}

async function mountOverlay (native: NativeProgram, lower: string, folder: string): Promise<string> {
  const [upper, work, merged] = ['upper', 'work', 'merged'].map((name) => join(folder, name)) as [string, string, string]
  for (const path of [upper, work, merged]) await mkdir(path, { recursive: true })
  await native.run(['mount-overlay', merged, '--lower', lower, '--upper', upper, '--work', work])
  return merged
}

/** Everything that the kernel caches of any filesystem and can read again. File by file it takes a minute for this tree. */
async function dropCaches (): Promise<void> {
  await writeFile('/proc/sys/vm/drop_caches', '3')
}
