// An SQLite file of ours: its settings, its schema's versions, and what its failures mean. One writer at a time: the file
// stays locked while we have it open, so a second daemon on the same root is refused instead of believed.
import { DatabaseSync } from 'node:sqlite'
import { SnapshotterError } from '../base/errors.ts'

export interface Schema {
  /** For file(1) and for us: another program's database is not ours to migrate. */
  readonly applicationId: number
  /** `migrations[n]` leads from version n to n + 1. */
  readonly migrations: readonly string[]
}

/** @throws STATE_INVALID when the file is no database, another program's or a newer version's; ENVIRONMENT when it is in use. */
export function openDatabase (path: string, schema: Schema): DatabaseSync {
  let database: DatabaseSync | null = null
  try {
    database = new DatabaseSync(path, { timeout: 0 })
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
    migrate(database, path, schema)
    return database
  } catch (error) {
    database?.close()
    throw explain(error, path)
  }
}

function migrate (database: DatabaseSync, path: string, { applicationId, migrations }: Schema): void {
  database.exec('BEGIN IMMEDIATE')
  const application = pragma(database, 'application_id')
  const version = pragma(database, 'user_version')
  if (application !== applicationId && (application !== 0 || version !== 0 || hasTables(database))) {
    throw new SnapshotterError('STATE_INVALID', `${path} belongs to another program (application id ${application})`)
  }
  if (version > migrations.length) {
    throw new SnapshotterError('STATE_INVALID', `${path} has schema ${version}, this version knows ${migrations.length}: it was written by a newer one`)
  }
  for (const step of migrations.slice(version)) database.exec(step)
  database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${migrations.length}; COMMIT`)
}

function pragma (database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name])
}

function hasTables (database: DatabaseSync): boolean {
  return database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() !== undefined
}

/** All or nothing; no other request of this process runs inside `work`. @throws RESOURCE_EXHAUSTED, STATE_INVALID, and what `work` throws. */
export function inTransaction<Result> (database: DatabaseSync, path: string, work: () => Result): Result {
  try {
    database.exec('BEGIN IMMEDIATE')
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw explain(error, path)
  }
}

function explain (error: unknown, path: string): unknown {
  switch (sqliteCode(error)) {
    case SQLITE.BUSY: return new SnapshotterError('ENVIRONMENT', `${path} is in use: another ipfs-snapshotter runs on this root`, {}, { cause: error })
    case SQLITE.READONLY:
    case SQLITE.IOERR:
      return new SnapshotterError('RESOURCE_EXHAUSTED', `${path} cannot be written, the disk is read-only or failing`, {}, { cause: error })
    case SQLITE.FULL: return new SnapshotterError('RESOURCE_EXHAUSTED', `no space left for ${path}`, {}, { cause: error })
    case SQLITE.CORRUPT:
    case SQLITE.NOTADB: return damaged(path, error)
    default: return error
  }
}

/** Primary result codes, https://sqlite.org/rescode.html. */
const SQLITE = { BUSY: 5, READONLY: 8, IOERR: 10, CORRUPT: 11, FULL: 13, NOTADB: 26 } as const

/** 0 for what SQLite did not throw. */
function sqliteCode (error: unknown): number {
  return typeof error === 'object' && error !== null && 'errcode' in error ? Number(error.errcode) & 0xff : 0
}

function damaged (path: string, cause: unknown): SnapshotterError {
  return new SnapshotterError('STATE_INVALID', `${path} is damaged or no database; move it away to start empty`, {}, { cause })
}
