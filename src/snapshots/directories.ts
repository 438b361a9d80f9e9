// The directories of one snapshotter, `<root>/<id>/{fs,work}`: made under a temporary name, renamed when their record
// is written, removed when no record names them. Modes as containerd's overlay snapshotter (plugins/snapshots/overlay).
import { randomUUID } from 'node:crypto'
import { renameSync } from 'node:fs'
import { chmod, lchown, lstat, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asSnapshotterError, SnapshotterError, systemCode } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Owner } from './id-mapping.ts'
import type { LazyLayers } from './lazy-layers.ts'
import { mountPointsBelow } from './mount-table.ts'
import type { Kind } from './snapshot.ts'

const MODE_ROOT = 0o700
const MODE_UPPER = 0o755 // becomes the container's `/`
const MODE_WORK = 0o711
const YOUNG = 'new-'
const CONDEMNED = 'old-'

export interface YoungDirectory {
  /** Gives it its number. Synchronous, to run inside a transaction. */
  readonly place: (id: number) => void
  /** Resolves when it survives power loss: SQLite's own fsync may bring nothing but its log to the disk. After `place`. */
  readonly settle: () => Promise<void>
  /** Removes it, placed or not. */
  readonly discard: () => Promise<void>
}

export class SnapshotDirectories {
  readonly root: string
  readonly #layers: LazyLayers
  readonly #log: Log
  /** Names that belong to requests under way and have no record yet. */
  readonly #protected = new Set<string>()

  constructor (root: string, layers: LazyLayers, log: Log) {
    this.root = root
    this.#layers = layers
    this.#log = log
  }

  /** The layer's own files: upper directory of an active snapshot, lower directory of a committed one. */
  fs (id: number): string {
    return join(this.root, String(id), 'fs')
  }

  work (id: number): string {
    return join(this.root, String(id), 'work')
  }

  /** Makes the root; answers the highest number in use there. */
  async open (): Promise<number> {
    await mkdir(this.root, { recursive: true, mode: MODE_ROOT })
    const names = await readdir(this.root)
    return names.filter(isNumber).reduce((highest, name) => Math.max(highest, Number(name)), 0)
  }

  /** A directory without a record. `owner` is for its `fs`. @throws RESOURCE_EXHAUSTED when the disk is full. */
  async make (kind: Kind, owner: Owner | null): Promise<YoungDirectory> {
    let name = `${YOUNG}${randomUUID()}`
    const path = join(this.root, name)
    this.#protected.add(name)
    const place = (id: number): void => {
      renameSync(path, join(this.root, String(id)))
      this.#protected.delete(name)
      name = String(id)
    }
    const settle = async (): Promise<void> => {
      for (const directory of [join(this.root, name), this.root]) await syncDirectory(directory)
    }
    const discard = async (): Promise<void> => {
      this.#protected.delete(name)
      await this.#remove(name)
    }
    try {
      await mkdir(path, { mode: MODE_ROOT })
      await makeExactly(join(path, 'fs'), MODE_UPPER)
      if (kind === 'active') await makeExactly(join(path, 'work'), MODE_WORK)
      if (owner !== null) await lchown(join(path, 'fs'), owner.uid, owner.gid)
      return { place, settle, discard }
    } catch (error) {
      await discard()
      throw explain(error, path)
    }
  }

  /** Keeps `id` from being swept until its record is written. */
  protect (id: number): void {
    this.#protected.add(String(id))
  }

  unprotect (id: number): void {
    this.#protected.delete(String(id))
  }

  async has (id: number): Promise<boolean> {
    return await lstat(join(this.root, String(id))).then(() => true, (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false
      throw error
    })
  }

  /** Puts back what a wiped disk took from under a record. */
  async ensure (id: number): Promise<void> {
    await mkdir(join(this.root, String(id)), { recursive: true, mode: MODE_ROOT })
    await mkdir(this.fs(id), { recursive: true, mode: MODE_UPPER }).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOTCONN') throw error // a mount whose server died: it is there, and mounting anew takes it away
    })
  }

  /** Takes the empty `fs` of a layer that is not mounted away; `ensure` puts it back. */
  async close (id: number): Promise<void> {
    await this.#tryTo('close', String(id), async () => { await rmdir(this.fs(id)) })
  }

  /** Unmounts and deletes; what resists is logged and stays for the next sweep. */
  async reclaim (id: number): Promise<void> {
    await this.#remove(String(id))
  }

  /**
   * Unmounts and renames every directory that neither a record nor a running request names, so that `sweep` can delete
   * it at leisure.
   */
  async condemn (recorded: () => ReadonlySet<number>): Promise<void> {
    const found = await readdir(this.root)
    // Asked for after the listing: whatever was created in between is recorded or protected, never an orphan.
    const known = recorded()
    const orphans = found.filter((name) => !name.startsWith(CONDEMNED) && !this.#protected.has(name) && !(isNumber(name) && known.has(Number(name))))
    for (const name of orphans) await this.#tryTo('unmount', name, () => this.#condemnOne(name))
  }

  /** Deletes what is condemned. */
  async sweep (): Promise<void> {
    const found = await readdir(this.root)
    for (const name of found.filter((name) => name.startsWith(CONDEMNED))) await this.#remove(name)
  }

  async #remove (name: string): Promise<void> {
    await this.#tryTo('remove', name, async () => {
      const condemned = name.startsWith(CONDEMNED) ? name : await this.#condemnOne(name)
      if (condemned !== null) await rm(join(this.root, condemned), { recursive: true, force: true })
    })
  }

  /** Null when there is nothing of that name. @throws FAILED_PRECONDITION when a mount stays on it. */
  async #condemnOne (name: string): Promise<string | null> {
    const path = join(this.root, name)
    const points = await mountPointsBelow(path)
    for (const point of points) await this.#layers.unmount(point)
    const left = points.length === 0 ? [] : await mountPointsBelow(path)
    if (left.length > 0) throw new SnapshotterError('FAILED_PRECONDITION', `${left.join(', ')} is still mounted`)
    const condemned = `${CONDEMNED}${randomUUID()}`
    try {
      await rename(path, join(this.root, condemned))
      return condemned
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null
      throw error
    }
  }

  async #tryTo (what: string, name: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#log.warn({ path: join(this.root, name), error: asSnapshotterError(error).line }, `could not ${what} a snapshot directory`)
    }
  }
}

export async function ownerOf (path: string): Promise<Owner> {
  const { uid, gid } = await lstat(path)
  return { uid, gid }
}

async function syncDirectory (path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function isNumber (name: string): boolean {
  return /^\d+$/.test(name)
}

async function makeExactly (path: string, mode: number): Promise<void> {
  await mkdir(path)
  await chmod(path, mode) // mkdir's mode is subject to the umask
}

function explain (error: unknown, path: string): unknown {
  const code = systemCode(error) ?? ''
  if (!['ENOSPC', 'EDQUOT', 'EROFS'].includes(code)) return error
  return new SnapshotterError('RESOURCE_EXHAUSTED', `no space left for a snapshot in ${path} (${code})`, {}, { cause: error })
}
