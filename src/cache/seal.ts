// Authenticates our own records on a disk that may belong to the host: an HMAC under a key that is kept on that disk
// ("disk": for hosts whose disk is trusted) or in memory only ("boot": after a reboot nothing opens and all is fetched
// again). A record opens only as what it was sealed as.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { asWriteFailure, syncFolder } from '../base/disk.ts'
import { SnapshotterError, systemCode } from '../base/errors.ts'

const KEY_BYTES = 32
const MAC_BYTES = 32

export class Seal {
  readonly #key: Uint8Array

  constructor (key: Uint8Array) {
    this.#key = key
  }

  /** Reads the key at `path`, or makes one (mode 0600, durable) when there is none. @throws STATE_INVALID */
  static async at (path: string): Promise<Seal> {
    const key = await readFile(path).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return null
      throw error
    })
    if (key === null) {
      const fresh = randomBytes(KEY_BYTES)
      await writeDurably(path, fresh)
      return new Seal(fresh)
    }
    if (key.length !== KEY_BYTES) {
      throw new SnapshotterError('STATE_INVALID', `${path} holds ${key.length} bytes, not a key of ${KEY_BYTES}; remove it to start with an empty cache`)
    }
    return new Seal(key)
  }

  /** `kind` and `name` are bound into the seal: a record cannot stand in for another one. */
  seal (kind: string, name: string, bytes: Uint8Array): Uint8Array {
    return Buffer.concat([this.#mac(kind, name, bytes), bytes])
  }

  /** @throws STATE_INVALID when the record was not sealed by this key as this. */
  open (kind: string, name: string, sealed: Uint8Array): Uint8Array {
    const bytes = sealed.subarray(MAC_BYTES)
    if (sealed.length < MAC_BYTES || !timingSafeEqual(sealed.subarray(0, MAC_BYTES), this.#mac(kind, name, bytes))) {
      throw new SnapshotterError('STATE_INVALID', `${kind} ${name} on disk does not carry our seal`)
    }
    return bytes
  }

  #mac (kind: string, name: string, bytes: Uint8Array): Uint8Array {
    return createHmac('sha256', this.#key).update(`${kind}\0${name}\0`).update(bytes).digest()
  }
}

/** Temporary file, fsync, rename, fsync of the folder: after power loss the old file or the new one is there, whole. */
export async function writeDurably (path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new-${randomBytes(6).toString('hex')}`
  try {
    await using file = await open(temporary, 'wx', 0o600)
    await file.writeFile(bytes)
    await file.sync()
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw asWriteFailure(path, error)
  }
  await syncFolder(dirname(path))
}
