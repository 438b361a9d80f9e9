// Blobs as files, `blobs/sha256/<hex>`, on a disk that nobody has to trust: every piece that is read is hashed during this
// very read, or is in memory since. The pieces' digests are kept in memory only; they come from the bytes as they were written, or from a pass
// over the whole file that matched the blob's own digest.
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder } from '../base/disk.ts'
import { SnapshotterError, systemCode } from '../base/errors.ts'
import { CONTENT_PIECE_BYTES, PIECE_TABLES_BYTES_MAX } from '../base/limits.ts'
import { type Digest, digestBytes, digestFromBytes, isDigest } from '../verify/digest.ts'
import { type VerifiedBytes, verifiedPart, verifyDigest } from '../verify/verified-bytes.ts'
import { PieceHasher } from './piece-hasher.ts'
import { RecentPieces } from './recent-pieces.ts'

const PIECE = CONTENT_PIECE_BYTES
const HASH_BYTES = 32

export class BlobFiles {
  readonly #folder: string
  /** By digest, the one used last at the end: a sha256 for each `CONTENT_PIECE_BYTES`. */
  readonly #tables = new Map<Digest, Uint8Array>()
  #tableBytes = 0
  readonly #recent = new RecentPieces()

  constructor (folder: string) {
    this.#folder = folder
  }

  /** Takes a finished and synced file in, durably. `table` is what a `PieceHasher` made of the bytes that were written. */
  async add (digest: Digest, from: string, table: Uint8Array): Promise<void> {
    await rename(from, this.#path(digest))
    await syncFolder(this.#folder)
    this.#remember(digest, table)
  }

  async remove (digest: Digest): Promise<void> {
    this.#forget(digest)
    this.#recent.forget(digest)
    await rm(this.#path(digest), { force: true })
  }

  /** Digests of the files that are there. */
  async list (): Promise<Digest[]> {
    return (await readdir(this.#folder)).map((name) => `sha256:${name}`).filter(isDigest)
  }

  /**
   * Bytes [offset, offset + length) of a blob of `size` bytes, which the range lies in, in pieces.
   * @throws DIGEST_MISMATCH when the disk gave back other bytes than were written; NOT_FOUND when the file is gone.
   */
  async * read (digest: Digest, size: number, offset: number, length: number): AsyncGenerator<VerifiedBytes, undefined> {
    const end = offset + length
    await using opened = new AsyncDisposableStack()
    let file: FileHandle | null = null
    for (let start = Math.floor(offset / PIECE) * PIECE; start < end; start += PIECE) {
      const [from, to] = [Math.max(offset - start, 0), Math.min(end, start + PIECE, size) - start]
      const piece = this.#recent.find(digest, start) ??
        await this.#piece(file ??= opened.use(await this.#open(digest)), digest, start, Math.min(PIECE, size - start))
      if (to - from < piece.length) this.#recent.keep(digest, start, piece)
      yield verifiedPart(piece, from, to)
    }
  }

  async #open (digest: Digest): Promise<FileHandle> {
    return await open(this.#path(digest), 'r').catch((cause: unknown) => {
      if (systemCode(cause) !== 'ENOENT') throw cause
      throw new SnapshotterError('NOT_FOUND', `content ${digest} was removed from the disk by somebody else`, {}, { cause })
    })
  }

  async #piece (file: FileHandle, digest: Digest, start: number, length: number): Promise<VerifiedBytes> {
    const table = this.#tables.get(digest) ?? await deriveTable(file, digest)
    this.#remember(digest, table)
    const wanted = digestFromBytes(table.subarray(start / PIECE * HASH_BYTES, (start / PIECE + 1) * HASH_BYTES))
    return verifyDigest(wanted, await readWhole(file, start, length), `bytes at ${start} of content ${digest} on the disk`)
  }

  #path (digest: Digest): string {
    return join(this.#folder, digest.slice('sha256:'.length))
  }

  #remember (digest: Digest, table: Uint8Array): void {
    this.#forget(digest)
    this.#tables.set(digest, table)
    this.#tableBytes += table.length
    for (const oldest of this.#tables.keys()) {
      if (this.#tableBytes <= PIECE_TABLES_BYTES_MAX) break
      this.#forget(oldest)
    }
  }

  #forget (digest: Digest): void {
    this.#tableBytes -= this.#tables.get(digest)?.length ?? 0
    this.#tables.delete(digest)
  }
}

/** @throws DIGEST_MISMATCH when the file is not this blob. */
async function deriveTable (file: FileHandle, digest: Digest): Promise<Uint8Array> {
  const hasher = new PieceHasher()
  for await (const bytes of wholeFile(file)) hasher.update(bytes)
  const got = hasher.digest()
  if (Buffer.compare(digestBytes(got), digestBytes(digest)) !== 0) {
    throw new SnapshotterError('DIGEST_MISMATCH', `content ${digest} on the disk has other bytes (${got})`, { want: digest, got })
  }
  return hasher.table()
}

/** From the beginning to the end, in pieces; each is valid until the next. */
export async function * wholeFile (file: FileHandle): AsyncGenerator<Uint8Array, undefined> {
  const buffer = Buffer.allocUnsafe(PIECE)
  for (let at = 0; ;) {
    const { bytesRead } = await file.read(buffer, 0, PIECE, at)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
    at += bytesRead
  }
}

/** Shorter when the file ends: its hash will not fit. */
async function readWhole (file: FileHandle, at: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(length)
  let done = 0
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return bytes.subarray(0, done)
}
