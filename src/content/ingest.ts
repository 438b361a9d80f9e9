// A blob that is being written, by one writer at a time: bytes are appended, counted and hashed; what was written stays
// for a later try when the writer leaves. The digest so far is that of the bytes as they came.
import { type FileHandle, open } from 'node:fs/promises'
import { asWriteFailure } from '../base/disk.ts'
import { SnapshotterError } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import type { Digest } from '../verify/digest.ts'
import type { IngestStatus } from './blob.ts'
import { wholeFile } from './blob-files.ts'
import { PieceHasher } from './piece-hasher.ts'
import type { IngestRecord } from './store.ts'

/** What its writer says it will be: 0 and empty for unknown. */
export interface Announced { readonly total: number, readonly expected: string }

export class Ingest {
  readonly path: string
  readonly #file: FileHandle
  readonly #clock: Clock
  #record: IngestRecord
  #hasher: PieceHasher
  #isOpen = true

  /** Goes on where the file ends; what is in it is hashed again. */
  static async open (path: string, record: IngestRecord, clock: Clock): Promise<Ingest> {
    const file = await open(path, 'a+', 0o600)
    try {
      const hasher = new PieceHasher()
      for await (const bytes of wholeFile(file)) hasher.update(bytes)
      return new Ingest(path, file, record, hasher, clock)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  private constructor (path: string, file: FileHandle, record: IngestRecord, hasher: PieceHasher, clock: Clock) {
    this.path = path
    this.#file = file
    this.#record = record
    this.#hasher = hasher
    this.#clock = clock
  }

  get record (): IngestRecord {
    return this.#record
  }

  get status (): IngestStatus {
    const { ref, total, expected, startedNs, updatedNs } = this.#record
    return { ref, offset: this.#hasher.bytes, total, expected, startedNs, updatedNs }
  }

  /** Of the bytes so far. */
  get digest (): Digest {
    return this.#hasher.digest()
  }

  announce (announced: Announced): void {
    this.#record = { ...this.#record, ...announced }
  }

  /** @throws RESOURCE_EXHAUSTED: nothing of `bytes` stays; NOT_FOUND when the ingest was aborted meanwhile. */
  async write (bytes: Uint8Array): Promise<void> {
    this.#requireOpen()
    try {
      for (let at = 0; at < bytes.length;) at += (await this.#file.write(bytes, at)).bytesWritten
    } catch (cause) {
      await this.#file.truncate(this.#hasher.bytes).catch(() => {})
      throw full(this.#record.ref, cause)
    }
    this.#hasher.update(bytes)
    this.#record = { ...this.#record, updatedNs: this.#clock.nowNs() }
  }

  async restart (): Promise<void> {
    this.#requireOpen()
    await this.#file.truncate(0)
    this.#hasher = new PieceHasher()
    this.#record = { ...this.#record, updatedNs: this.#clock.nowNs() }
  }

  /**
   * Bytes are on the disk, and are what was announced: their digest and the table of their pieces.
   * @throws FAILED_PRECONDITION when size (unless 0) or digest (unless empty) are others; the ingest stays.
   */
  async finish (size: number, expected: string): Promise<{ readonly digest: Digest, readonly size: number, readonly table: Uint8Array }> {
    this.#requireOpen()
    const { ref } = this.#record
    const got = this.#hasher.bytes
    if (size > 0 && size !== got) throw new SnapshotterError('FAILED_PRECONDITION', `ingest ${quote(ref)} has ${got} bytes, ${size} were announced`)
    const digest = this.#hasher.digest()
    if (expected !== '' && expected !== digest) {
      throw new SnapshotterError('FAILED_PRECONDITION', `ingest ${quote(ref)} has digest ${digest}, ${expected.slice(0, 100)} was announced`)
    }
    await this.#file.sync().catch((cause: unknown) => { throw full(ref, cause) })
    return { digest, size: got, table: this.#hasher.table() }
  }

  async close (): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#file.close()
  }

  #requireOpen (): void {
    if (!this.#isOpen) throw new SnapshotterError('NOT_FOUND', `ingest ${quote(this.#record.ref)} was aborted`)
  }
}

function full (ref: string, cause: unknown): unknown {
  return asWriteFailure(`ingest ${quote(ref)}`, cause)
}

export function quote (ref: string): string {
  return JSON.stringify(ref.slice(0, 200))
}
