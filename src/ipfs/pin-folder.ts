// What of a store of blocks stays: an empty file `pins/<CID>` for the root of each DAG that was pinned, which holds all of it.
import { mkdir, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { asWriteFailure, syncFolder } from '../base/disk.ts'
import { SnapshotterError, systemCode } from '../base/errors.ts'
import { PINS_MAX } from '../base/limits.ts'
import { parseCid } from '../verify/cid.ts'

export class PinFolder {
  readonly #folder: string

  constructor (folder: string) {
    this.#folder = join(folder, 'pins')
  }

  /** As they were pinned, in the order of their names. */
  async list (): Promise<CID[]> {
    const names = await readdir(this.#folder).catch((cause: unknown) => {
      if (systemCode(cause) === 'ENOENT') return []
      throw cause
    })
    return names.sort().flatMap(readName)
  }

  /** The pin as it was made; CIDs of either version are one. */
  async find (root: CID): Promise<CID | null> {
    return (await this.list()).find((pin) => pin.toV1().equals(root.toV1())) ?? null
  }

  /** On the disk when it resolves. @throws LIMIT_EXCEEDED, RESOURCE_EXHAUSTED */
  async add (root: CID): Promise<void> {
    const pins = await this.list()
    if (pins.some((pin) => pin.toV1().equals(root.toV1()))) return
    if (pins.length >= PINS_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `${pins.length} pins, limit ${PINS_MAX}`)
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 })
      await using file = await open(join(this.#folder, root.toString()), 'wx', 0o600)
      await file.sync()
      await syncFolder(this.#folder)
    } catch (cause) {
      throw asWriteFailure(`the pin of ${root.toString()}`, cause)
    }
  }

  async remove (pin: CID): Promise<void> {
    await rm(join(this.#folder, pin.toString()), { force: true })
    await syncFolder(this.#folder)
  }
}

/** Nothing for a file that is not ours. */
function readName (name: string): CID[] {
  try {
    return [parseCid(name)]
  } catch {
    return []
  }
}
