// The schema of one plugin name's snapshots, and its versions.
import type { Schema } from '../cache/database.ts'

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

/** "IPSN" */
export const SNAPSHOTS_SCHEMA: Schema = { applicationId: 0x4950534e, migrations: MIGRATIONS }
