// What is measured: our drivers, bare and below overlayfs; the same tree unpacked on the disk's own filesystem below
// overlayfs; and the same tree as mkfs.erofs makes it. Each can be mounted in a state of caches:
//   first  nothing is here, all comes from the gateway
//   disk   the bytes are on the disk, none of them in the page cache
//   cold   a fresh mount whose backing bytes are in the page cache
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DriverName } from '../../src/mount/driver.ts'
import type { NativeProgram } from '../../src/mount/native-program.ts'
import { run } from '../demo/run.ts'
import type { LazyPlane } from './lazy-plane.ts'
import type { SteadyTree } from './tree.ts'

export type State = 'first' | 'disk' | 'cold'

export interface Contender {
  readonly name: string
  readonly states: readonly State[]
  /** Where the tree is then. */
  readonly mount: (state: State) => Promise<string>
  readonly unmount: () => Promise<void>
}

export interface Parts {
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
  return [
    ours(parts, 'erofs', false),
    ours(parts, 'erofs', true),
    ours(parts, 'erofs-loop', false),
    {
      name: 'overlay on unpacked',
      states: ['disk'],
      mount: async () => {
        await forget(parts.measure, tree.rootfs)
        return await mountOverlay(native, tree.rootfs, join(parts.folder, 'unpacked'))
      },
      unmount: async () => { await native.run(['umount', join(parts.folder, 'unpacked', 'merged')]) }
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
    states: overlaid ? ['cold'] : ['first', 'disk', 'cold'],
    mount: async (state) => {
      fresh = state === 'first' ? lazy.newCache() : null
      if (state === 'disk') await forget(measure, join(filled, 'data'))
      if (state === 'cold') await run(measure, ['remember', join(filled, 'data')])
      await lazy.mount(driver, fresh ?? filled, target)
      return overlaid ? await mountOverlay(lazy.native, target, folder) : target
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
    states: overlaid ? ['cold'] : ['disk', 'cold'],
    mount: async (state) => {
      await mkdir(target, { recursive: true })
      if (state === 'disk') await forget(measure, tree.erofs)
      else await run(measure, ['remember', tree.erofs])
      await native.run(['mount-erofs', tree.erofs, target])
      return overlaid ? await mountOverlay(native, target, scratch) : target
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

/** The pages of files are dropped one by one, names and attributes by the kernel's own switch: only those, of all filesystems. */
async function forget (measure: string, path: string): Promise<void> {
  await run(measure, ['forget', path], { timeoutMs: 300_000 })
  await writeFile('/proc/sys/vm/drop_caches', '2')
}
