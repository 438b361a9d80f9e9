// What the content store knows of its blobs and ingests, on disk before a call returns. The bytes are files beside it.
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite'
import type { Labels } from '../base/labels.ts'
import { LIST_BATCH } from '../base/limits.ts'
import { inTransaction, openDatabase, type Schema } from '../cache/database.ts'
import type { Digest } from '../verify/digest.ts'
import type { BlobInfo, IngestStatus } from './blob.ts'

/** "IPSC" */
const SCHEMA: Schema = {
  applicationId: 0x49505343,
  migrations: [`
    CREATE TABLE blobs (
      digest TEXT PRIMARY KEY,
      size INTEGER NOT NULL,
      created_ns INTEGER NOT NULL,
      updated_ns INTEGER NOT NULL,
      labels TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ingests (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      ref TEXT NOT NULL UNIQUE,
      total INTEGER NOT NULL,
      expected TEXT NOT NULL,
      started_ns INTEGER NOT NULL,
      updated_ns INTEGER NOT NULL
    ) STRICT;
  `]
}

const SQL = {
  blob: 'SELECT * FROM blobs WHERE digest = ?',
  page: `SELECT * FROM blobs WHERE digest > ? ORDER BY digest LIMIT ${LIST_BATCH}`,
  addBlob: 'INSERT INTO blobs (digest, size, created_ns, updated_ns, labels) VALUES (?, ?, ?, ?, ?)',
  relabel: 'UPDATE blobs SET labels = ?, updated_ns = ? WHERE digest = ?',
  removeBlob: 'DELETE FROM blobs WHERE digest = ?',
  ingest: 'SELECT * FROM ingests WHERE ref = ?',
  ingests: 'SELECT * FROM ingests ORDER BY ref',
  addIngest: 'INSERT INTO ingests (ref, total, expected, started_ns, updated_ns) VALUES (?, ?, ?, ?, ?) RETURNING id',
  note: 'UPDATE ingests SET total = ?, expected = ?, updated_ns = ? WHERE id = ?',
  removeIngest: 'DELETE FROM ingests WHERE id = ?'
} as const

/** `offset` is the length of its file, which only the file knows. */
export type IngestRecord = Omit<IngestStatus, 'offset'> & { readonly id: number }

type Row = Record<string, SQLOutputValue>

export class BlobStore {
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #statements: Readonly<Record<keyof typeof SQL, StatementSync>>

  /** @throws STATE_INVALID, ENVIRONMENT: see `openDatabase`. */
  constructor (path: string) {
    this.#path = path
    this.#database = openDatabase(path, SCHEMA)
    this.#statements = Object.fromEntries(Object.entries(SQL).map(([name, sql]) => {
      const statement = this.#database.prepare(sql)
      statement.setReadBigInts(true)
      return [name, statement]
    })) as Record<keyof typeof SQL, StatementSync>
  }

  blob (digest: Digest): BlobInfo | null {
    const row = this.#statements.blob.get(digest)
    return row === undefined ? null : decodeBlob(row)
  }

  /** Up to `LIST_BATCH` blobs after the one given, in the order of their digests. */
  page (after: string): BlobInfo[] {
    return this.#statements.page.all(after).map(decodeBlob)
  }

  /** The ingest becomes a blob, in one step. */
  commit (ingest: IngestRecord, blob: BlobInfo): void {
    this.#transaction(() => {
      this.#statements.addBlob.run(blob.digest, blob.size, blob.createdNs, blob.updatedNs, JSON.stringify(blob.labels))
      this.#statements.removeIngest.run(ingest.id)
    })
  }

  relabel (digest: Digest, labels: Labels, updatedNs: bigint): void {
    this.#transaction(() => { this.#statements.relabel.run(JSON.stringify(labels), updatedNs, digest) })
  }

  removeBlob (digest: Digest): void {
    this.#transaction(() => { this.#statements.removeBlob.run(digest) })
  }

  ingest (ref: string): IngestRecord | null {
    const row = this.#statements.ingest.get(ref)
    return row === undefined ? null : decodeIngest(row)
  }

  ingests (): IngestRecord[] {
    return this.#statements.ingests.all().map(decodeIngest)
  }

  addIngest (ingest: Omit<IngestRecord, 'id'>): IngestRecord {
    return this.#transaction(() => {
      const row = this.#statements.addIngest.get(ingest.ref, ingest.total, ingest.expected, ingest.startedNs, ingest.updatedNs)
      return { ...ingest, id: Number(row?.['id']) }
    })
  }

  note ({ id, total, expected, updatedNs }: IngestRecord): void {
    this.#transaction(() => { this.#statements.note.run(total, expected, updatedNs, id) })
  }

  removeIngest ({ id }: IngestRecord): void {
    this.#transaction(() => { this.#statements.removeIngest.run(id) })
  }

  close (): void {
    this.#database.close()
  }

  #transaction<Result> (work: () => Result): Result {
    return inTransaction(this.#database, this.#path, work)
  }
}

function decodeBlob (row: Row): BlobInfo {
  return {
    digest: row['digest'] as Digest,
    size: Number(row['size']),
    createdNs: row['created_ns'] as bigint,
    updatedNs: row['updated_ns'] as bigint,
    labels: JSON.parse(String(row['labels'])) as Labels
  }
}

function decodeIngest (row: Row): IngestRecord {
  return {
    id: Number(row['id']),
    ref: String(row['ref']),
    total: Number(row['total']),
    expected: String(row['expected']),
    startedNs: row['started_ns'] as bigint,
    updatedNs: row['updated_ns'] as bigint
  }
}
