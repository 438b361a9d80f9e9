// containerd's content store: blobs under their digests, written through ingests that survive a restart. Bytes are on the
// disk and match their digest before a blob is there; whatever is read is hashed during the read. Blobs of resolved images
// answer as if they were here and are fetched when they are read first. Contract: containerd core/content/content.go and
// plugins/content/local.
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError, hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { parseFilters } from '../base/filters.ts'
import { acceptLabels, applyMask, type Labels } from '../base/labels.ts'
import { CONTENT_REF_BYTES_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'
import { SingleFlight } from '../base/single-flight.ts'
import { type Digest, isDigest } from '../verify/digest.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { blobField, type BlobInfo, ingestField, type IngestStatus } from './blob.ts'
import { BlobFiles } from './blob-files.ts'
import { Ingest, quote } from './ingest.ts'
import { BlobStore, type IngestRecord } from './store.ts'
import { NO_VIRTUAL_BLOBS, type VirtualBlobs } from './virtual-blobs.ts'

export interface ContentStoreInit {
  /** Absolute; durable. */
  readonly folder: string
  readonly log: Log
  readonly clock: Clock
  readonly virtual?: VirtualBlobs
}

// Our own ingests, of virtual blobs: no client sees them, and garbage collection must not abort them.
const OWN = 'ipfs:'

export class ContentStore {
  readonly #ingests: string
  readonly #files: BlobFiles
  readonly #store: BlobStore
  readonly #log: Log
  readonly #clock: Clock
  readonly #virtual: VirtualBlobs
  /** By ref: those that somebody writes right now. */
  readonly #open = new Map<string, Ingest>()
  readonly #opening = new Set<string>()
  /** A file and its record change together. */
  readonly #turn = new Semaphore(1)
  readonly #fetches = new SingleFlight<BlobInfo>()
  readonly #closing = new AbortController()

  /** Drops what a crash left half done. @throws STATE_INVALID, ENVIRONMENT for the database. */
  static async open ({ folder, log, clock, virtual = NO_VIRTUAL_BLOBS }: ContentStoreInit): Promise<ContentStore> {
    const blobs = join(folder, 'blobs', 'sha256')
    const ingests = join(folder, 'ingest')
    for (const one of [blobs, ingests]) await mkdir(one, { recursive: true, mode: 0o700 })
    const store = new BlobStore(join(folder, 'content.sqlite'))
    const content = new ContentStore({ ingests, files: new BlobFiles(blobs), store, log, clock, virtual })
    await content.#recover()
    return content
  }

  private constructor (parts: {
    readonly ingests: string, readonly files: BlobFiles, readonly store: BlobStore, readonly log: Log, readonly clock: Clock, readonly virtual: VirtualBlobs
  }) {
    this.#ingests = parts.ingests
    this.#files = parts.files
    this.#store = parts.store
    this.#log = parts.log
    this.#clock = parts.clock
    this.#virtual = parts.virtual
  }

  has (digest: Digest): boolean {
    return this.#store.blob(digest) !== null || this.#virtual.find(digest) !== null
  }

  /** @throws NOT_FOUND */
  info (digest: Digest): BlobInfo {
    const blob = this.#store.blob(digest) ?? this.#promised(digest)
    if (blob === null) throw new SnapshotterError('NOT_FOUND', `content ${digest} not found`)
    return blob
  }

  /** @throws NOT_FOUND, INVALID_ARGUMENT for a path that is not labels. */
  update (digest: Digest, labels: Labels, paths: readonly string[]): BlobInfo {
    const blob = this.#store.blob(digest)
    if (blob === null) throw new SnapshotterError('NOT_FOUND', `content ${digest} not found`)
    const next = { ...blob, labels: applyMask(blob.labels, labels, paths), updatedNs: this.#clock.nowNs() }
    this.#store.relabel(digest, next.labels, next.updatedNs)
    return next
  }

  /** Pages of blobs that are here, virtual ones not among them: garbage collection deletes what it is shown and does not know. */
  * list (filters: readonly string[]): Generator<BlobInfo[], undefined> {
    const matches = parseFilters(filters, blobField)
    for (let after = ''; ;) {
      const page = this.#store.page(after)
      const last = page.at(-1)
      if (last === undefined) return
      const found = page.filter(matches)
      if (found.length > 0) yield found
      after = last.digest
    }
  }

  /** A virtual blob stays what it is. @throws NOT_FOUND */
  async delete (digest: Digest): Promise<void> {
    if (await this.#drop(digest)) return
    if (this.#virtual.find(digest) === null) throw new SnapshotterError('NOT_FOUND', `content ${digest} not found`)
  }

  /**
   * Bytes from `offset`, `size` of them or to the end when 0, clipped there.
   * @throws NOT_FOUND; OUT_OF_RANGE past the end; DIGEST_MISMATCH when the disk lost them: then the blob is gone.
   */
  async * read (digest: Digest, offset = 0, size = 0): AsyncGenerator<VerifiedBytes, undefined> {
    const known = this.info(digest)
    let at = Math.max(offset, 0)
    if (at > known.size) throw new SnapshotterError('OUT_OF_RANGE', `read at ${at} of content ${digest}, which has ${known.size} bytes`)
    const end = size > 0 ? Math.min(at + size, known.size) : known.size
    for (let again = false; at < end; again = true) {
      const blob = this.#store.blob(digest) ?? await this.#fetch(digest)
      try {
        for await (const piece of this.#files.read(digest, blob.size, at, end - at)) {
          at += piece.length
          yield piece
        }
      } catch (error) {
        if (!hasCode(error, 'DIGEST_MISMATCH', 'NOT_FOUND')) throw error
        this.#log.error({ digest, error: asSnapshotterError(error).line }, 'content was damaged on the disk and is removed')
        await this.#drop(digest)
        if (again || this.#virtual.find(digest) === null) throw error
      }
    }
  }

  /** @throws NOT_FOUND */
  async status (ref: string): Promise<IngestStatus> {
    const record = this.#store.ingest(ref)
    if (record === null) throw new SnapshotterError('NOT_FOUND', `ingest ${quote(ref)} not found`)
    return await this.#statusOf(record)
  }

  async statuses (filters: readonly string[]): Promise<IngestStatus[]> {
    const matches = parseFilters(filters, ingestField)
    const records = this.#store.ingests().filter(({ ref }) => !ref.startsWith(OWN))
    return (await Promise.all(records.map(async (record) => await this.#statusOf(record)))).filter(matches)
  }

  /**
   * The ingest under `ref`, old or new, locked until `leave`.
   * @throws UNAVAILABLE while somebody else writes it; ALREADY_EXISTS when `expected` is here.
   */
  async ingest (ref: string, total: number, expected: string): Promise<Ingest> {
    this.#closing.signal.throwIfAborted()
    if (ref === '' || Buffer.byteLength(ref) > CONTENT_REF_BYTES_MAX) {
      throw new SnapshotterError('INVALID_ARGUMENT', `a ref of ${Buffer.byteLength(ref)} bytes, allowed are 1 to ${CONTENT_REF_BYTES_MAX}`)
    }
    if (this.#open.has(ref) || this.#opening.has(ref)) throw new SnapshotterError('UNAVAILABLE', `ingest ${quote(ref)} is being written by somebody else`)
    this.#opening.add(ref)
    try {
      const now = this.#clock.nowNs()
      const record = this.#store.ingest(ref) ?? this.#store.addIngest({ ref, total, expected, startedNs: now, updatedNs: now })
      const ingest = await Ingest.open(this.#path(record), record, this.#clock)
      ingest.announce({ total, expected })
      this.#open.set(ref, ingest)
      return ingest
    } finally {
      this.#opening.delete(ref)
    }
  }

  /** Ends the lock; what was written stays for a later try. May be called twice, and after the ingest ended. */
  async leave (ingest: Ingest): Promise<void> {
    const { ref } = ingest.record
    if (this.#open.get(ref) !== ingest) return
    this.#open.delete(ref)
    this.#store.note(ingest.record)
    await ingest.close()
  }

  /**
   * Makes a blob of the ingest; `size` 0 and an empty `expected` mean unknown.
   * @throws FAILED_PRECONDITION for another size or digest: the ingest stays; ALREADY_EXISTS: it is gone.
   */
  async commit (ingest: Ingest, size: number, expected: string, labels: Labels): Promise<Digest> {
    const accepted = acceptLabels(labels)
    const { digest, table, size: bytes } = await ingest.finish(size, expected)
    return await this.#turn.run(async () => {
      if (this.#store.blob(digest) !== null) {
        await this.#discard(ingest.record)
        throw new SnapshotterError('ALREADY_EXISTS', `content ${digest} exists already`)
      }
      await this.#files.add(digest, ingest.path, table)
      const now = this.#clock.nowNs()
      this.#store.commit(ingest.record, { digest, size: bytes, createdNs: now, updatedNs: now, labels: accepted })
      this.#open.delete(ingest.record.ref)
      await ingest.close()
      return digest
    })
  }

  /** Whoever still writes it hears of it. @throws NOT_FOUND */
  async abort (ref: string): Promise<void> {
    const record = this.#store.ingest(ref)
    if (record === null) throw new SnapshotterError('NOT_FOUND', `ingest ${quote(ref)} not found`)
    await this.#discard(record)
  }

  async close (): Promise<void> {
    this.#closing.abort(new SnapshotterError('UNAVAILABLE', 'the content store is closing'))
    for (const ingest of this.#open.values()) await this.leave(ingest)
    await this.#turn.run(async () => { this.#store.close() })
  }

  #promised (digest: Digest): BlobInfo | null {
    const found = this.#virtual.find(digest)
    return found === null ? null : { digest, size: found.size, createdNs: found.sinceNs, updatedNs: found.sinceNs, labels: {} }
  }

  /** A virtual blob, whole and by its digest; readers at the same time share one fetch. */
  async #fetch (digest: Digest): Promise<BlobInfo> {
    return await this.#fetches.run(digest, async () => {
      const { size } = this.info(digest)
      const ingest = await this.ingest(OWN + digest, size, digest)
      try {
        await ingest.restart()
        for await (const bytes of this.#virtual.fetch(digest, this.#closing.signal)) {
          if (ingest.status.offset + bytes.length > size) break
          await ingest.write(bytes)
        }
        await this.commit(ingest, size, digest, {})
      } catch (error) {
        if (hasCode(error, 'FAILED_PRECONDITION')) {
          this.#virtual.renounce(digest)
          throw new SnapshotterError('DIGEST_MISMATCH', `content ${digest}, as an image on IPFS names it, is something else: ${messageOf(error)}`,
            {}, { cause: error })
        }
        if (!hasCode(error, 'ALREADY_EXISTS')) throw error
      } finally {
        await this.leave(ingest)
      }
      return this.info(digest)
    })
  }

  async #statusOf (record: IngestRecord): Promise<IngestStatus> {
    const live = this.#open.get(record.ref)
    if (live !== undefined) return live.status
    const { size } = await stat(this.#path(record)).catch(() => ({ size: 0 }))
    const { ref, total, expected, startedNs, updatedNs } = record
    return { ref, offset: size, total, expected, startedNs, updatedNs }
  }

  async #discard (record: IngestRecord): Promise<void> {
    const live = this.#open.get(record.ref)
    this.#open.delete(record.ref)
    this.#store.removeIngest(record)
    await live?.close()
    await rm(this.#path(record), { force: true })
  }

  /** Whether it was here. */
  async #drop (digest: Digest): Promise<boolean> {
    return await this.#turn.run(async () => {
      if (this.#store.blob(digest) === null) return false
      this.#store.removeBlob(digest)
      await this.#files.remove(digest)
      return true
    })
  }

  async #recover (): Promise<void> {
    const files = new Set(await this.#files.list())
    for (const digest of files) if (this.#store.blob(digest) === null) await this.#files.remove(digest)
    for (const { digest } of [...this.list([])].flat()) {
      if (files.has(digest)) continue
      this.#log.warn({ digest }, 'content was removed from the disk by somebody else')
      this.#store.removeBlob(digest)
    }
    const records = this.#store.ingests()
    const known = new Set(records.map(({ id }) => String(id)))
    for (const name of await readdir(this.#ingests)) if (!known.has(name)) await rm(join(this.#ingests, name), { force: true, recursive: true })
    for (const record of records) if (record.ref.startsWith(OWN)) await this.#discard(record)
  }

  #path ({ id }: IngestRecord): string {
    return join(this.#ingests, String(id))
  }
}

/** @throws INVALID_ARGUMENT */
export function requireDigest (text: string): Digest {
  if (!isDigest(text)) throw new SnapshotterError('INVALID_ARGUMENT', `${JSON.stringify(text.slice(0, 100))} is no sha256 digest`)
  return text
}
