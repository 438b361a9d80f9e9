// The SQLite file of one plugin name: its settings, its schema and the schema's versions. One writer at a time: the
// file stays locked while we have it open, so a second daemon on the same root is refused instead of believed.
import { DatabaseSync } from 'node:sqlite'
import { SnapshotterError } from '../base/errors.ts'

/** "IPSN", for file(1) and for us: another program's database is not ours to migrate. */
const APPLICATION_ID = 0x4950534e

/** `MIGRATIONS[n]` leads from version n to n + 1. */
const MIGRATIONS: readonly string[] = [`
  CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    parent_id INTEGER REFERENCES snapshots (id),
    kind TEXT NOT NULL CHECK (kind IN ('view', 'active', 'committed')),
    created_ns INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL,
    labels TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    inodes INTEGER NOT NULL DEFAULT 0,
    chain_id TEXT,
    restore TEXT,
    CHECK ((chain_id IS NULL) = (restore IS NULL))
  ) STRICT;
  CREATE INDEX snapshots_by_parent ON snapshots (parent_id);
  CREATE UNIQUE INDEX lazy_by_chain ON snapshots (chain_id, ifnull(parent_id, 0)) WHERE chain_id IS NOT NULL;
  CREATE INDEX snapshots_as_listed ON snapshots (chain_id IS NULL, id);
  CREATE TABLE sequence (only INTEGER PRIMARY KEY CHECK (only = 1), last_id INTEGER NOT NULL) STRICT;
  INSERT INTO sequence VALUES (1, 0);
`, `
  ALTER TABLE snapshots ADD COLUMN active_key TEXT; -- of a committed one: what it was called before
  CREATE INDEX snapshots_by_active_key ON snapshots (active_key) WHERE active_key IS NOT NULL;
`]

/** @throws STATE_INVALID when the file is no database, another program's or a newer version's; ENVIRONMENT when it is in use. */
export function openDatabase (path: string): DatabaseSync {
  let database: DatabaseSync | null = null
  try {
    database = new DatabaseSync(path, { timeout: 0 })
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
    migrate(database, path)
    return database
  } catch (error) {
    database?.close()
    throw explain(error, path)
  }
}

function migrate (database: DatabaseSync, path: string): void {
  database.exec('BEGIN IMMEDIATE')
  const application = pragma(database, 'application_id')
  const version = pragma(database, 'user_version')
  if (application !== APPLICATION_ID && (application !== 0 || version !== 0 || hasTables(database))) {
    throw new SnapshotterError('STATE_INVALID', `${path} belongs to another program (application id ${application})`)
  }
  if (version > MIGRATIONS.length) {
    throw new SnapshotterError('STATE_INVALID', `${path} has schema ${version}, this version knows ${MIGRATIONS.length}: it was written by a newer one`)
  }
  for (const step of MIGRATIONS.slice(version)) database.exec(step)
  database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}; COMMIT`)
}

function pragma (database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name])
}

function hasTables (database: DatabaseSync): boolean {
  return database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() !== undefined
}

function explain (error: unknown, path: string): unknown {
  switch (sqliteCode(error)) {
    case SQLITE.BUSY: return new SnapshotterError('ENVIRONMENT', `${path} is in use: another ipfs-snapshotter runs on this root`, {}, { cause: error })
    case SQLITE.CORRUPT:
    case SQLITE.NOTADB: return damaged(path, error)
    default: return error
  }
}

/** Primary result codes, https://sqlite.org/rescode.html. */
export const SQLITE = { BUSY: 5, READONLY: 8, IOERR: 10, CORRUPT: 11, FULL: 13, NOTADB: 26 } as const

/** 0 for what SQLite did not throw. */
export function sqliteCode (error: unknown): number {
  return typeof error === 'object' && error !== null && 'errcode' in error ? Number(error.errcode) & 0xff : 0
}

export function damaged (path: string, cause: unknown): SnapshotterError {
  return new SnapshotterError('STATE_INVALID', `${path} is damaged or no database; move it away to start empty`, {}, { cause })
}
