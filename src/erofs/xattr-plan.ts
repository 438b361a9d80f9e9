// Where extended attributes go: behind their inode, or once into the shared area when that makes the image smaller
// (a security label that every file carries). Writes both. Sharing follows the order of first use, so it is deterministic.

import { alignUp } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { SHARED_XATTRS_MAX, XATTR_BODY_BYTES_MAX, XATTR_BODY_HEADER_BYTES, XATTR_ENTRY_HEADER_BYTES } from './format.ts'
import type { StoredXattr } from './xattr-rules.ts'

const ID_BYTES = 4

/** One name and value, wherever it is used. */
interface Entry {
  readonly xattr: StoredXattr
  /** With header and padding. */
  readonly bytes: number
  uses: number
  /** Offset in the shared area / 4, or -1: written behind each inode. */
  sharedId: number
}

/** The attributes of one inode. */
export interface XattrBody {
  readonly entries: readonly Entry[]
  /** Bytes behind the inode; known after XattrPlan.share(). */
  bytes: number
}

export class XattrPlan {
  readonly #entries = new Map<string, Entry>()
  readonly #bodies: XattrBody[] = []
  #sharedBytes = 0

  /** Null for an inode without attributes. */
  add (xattrs: readonly StoredXattr[]): XattrBody | null {
    if (xattrs.length === 0) return null
    const body = { entries: xattrs.map((xattr) => this.#entry(xattr)), bytes: 0 }
    this.#bodies.push(body)
    return body
  }

  /** To be called once, after the last add(). Throws LIMIT_EXCEEDED when an inode's attributes do not fit its header. */
  share (): void {
    for (const entry of this.#entries.values()) {
      if (entry.uses * entry.bytes <= entry.bytes + entry.uses * ID_BYTES) continue
      entry.sharedId = this.#sharedBytes / ID_BYTES
      this.#sharedBytes += entry.bytes
    }
    for (const body of this.#bodies) {
      body.bytes = bodyBytes(body)
      if (body.bytes <= XATTR_BODY_BYTES_MAX) continue
      throw new SnapshotterError('LIMIT_EXCEEDED',
        `extended attributes of one file need ${body.bytes} bytes, more than ${XATTR_BODY_BYTES_MAX}`)
    }
  }

  /** Of the shared area; 0 when nothing is shared. */
  get sharedBytes (): number {
    return this.#sharedBytes
  }

  writeShared (out: Buffer, position: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.sharedId >= 0) writeEntry(out, position + entry.sharedId * ID_BYTES, entry)
    }
  }

  #entry (xattr: StoredXattr): Entry {
    const { name: { index, suffix }, value } = xattr
    const key = `${index}${latin1(suffix)}\0${latin1(value)}`
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = { xattr, bytes: alignUp(XATTR_ENTRY_HEADER_BYTES + suffix.length + value.length, 4), uses: 0, sharedId: -1 }
      this.#entries.set(key, entry)
    }
    entry.uses++
    return entry
  }
}

export function writeXattrBody (out: Buffer, position: number, body: XattrBody): void {
  let filter = 0xFFFFFFFF // a set bit says: no attribute whose name hashes to it
  let shared = 0
  let at = position + XATTR_BODY_HEADER_BYTES
  for (const entry of body.entries) {
    filter &= ~(1 << entry.xattr.name.filterBit)
    if (!isShared(entry, shared)) continue
    out.writeUInt32LE(entry.sharedId, at)
    at += ID_BYTES
    shared++
  }
  out.writeUInt32LE(filter >>> 0, position)
  out[position + 4] = shared
  let skipped = 0
  for (const entry of body.entries) {
    if (isShared(entry, skipped)) skipped++
    else at = writeEntry(out, at, entry)
  }
}

function bodyBytes (body: XattrBody): number {
  let bytes = XATTR_BODY_HEADER_BYTES
  let shared = 0
  for (const entry of body.entries) {
    if (isShared(entry, shared)) {
      bytes += ID_BYTES
      shared++
    } else bytes += entry.bytes
  }
  return bytes
}

/** The count of shared attributes is one byte: what comes after 255 of them stands behind the inode. */
function isShared (entry: Entry, sharedBefore: number): boolean {
  return entry.sharedId >= 0 && sharedBefore < SHARED_XATTRS_MAX
}

function writeEntry (out: Buffer, position: number, entry: Entry): number {
  const { name, value } = entry.xattr
  out[position] = name.suffix.length
  out[position + 1] = name.index
  out.writeUInt16LE(value.length, position + 2)
  out.set(name.suffix, position + XATTR_ENTRY_HEADER_BYTES)
  out.set(value, position + XATTR_ENTRY_HEADER_BYTES + name.suffix.length)
  return position + entry.bytes
}

function latin1 (bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}
