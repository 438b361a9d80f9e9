// The metadata of one snapshotter, on disk before a call returns. Every method is one transaction, and synchronous: no
// other request of this process runs inside it. Semantics: containerd core/snapshots/storage.
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite'
import type { Clock } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { LIST_BATCH } from '../base/limits.ts'
import { applyMask, type Labels } from '../base/labels.ts'
import { inTransaction, openDatabase } from '../cache/database.ts'
import { type Kind, LABEL_SNAPSHOT_REF, type SnapshotInfo, type Usage } from './snapshot.ts'
import { SNAPSHOTS_SCHEMA } from './store-schema.ts'

/** A snapshot with what only we know of it. */
export interface StoredSnapshot {
  readonly id: number
  readonly info: SnapshotInfo
  readonly usage: Usage
  /** Of a lazily mounted layer. */
  readonly lazy: { readonly chainId: string, readonly restore: string } | null
}

export interface NewSnapshot {
  readonly kind: Kind
  readonly name: string
  readonly parent: string
  readonly labels: Labels
  readonly lazy: StoredSnapshot['lazy']
}

const COLUMNS = `s.id, s.name, ifnull(p.name, '') AS parent, s.kind, s.created_ns, s.updated_ns, s.labels, s.size, s.inodes,
  s.chain_id, s.restore FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent_id`

const SQL = {
  byName: `SELECT ${COLUMNS} WHERE s.name = ?`,
  byChain: `SELECT ${COLUMNS} WHERE s.chain_id = ? AND ifnull(p.name, '') = ?`,
  lazy: `SELECT ${COLUMNS} WHERE s.chain_id IS NOT NULL ORDER BY s.id`,
  uncommitted: `SELECT ${COLUMNS} WHERE s.kind <> 'committed'`,
  page: `SELECT ${COLUMNS} WHERE (s.chain_id IS NULL, s.id) > (?, ?) ORDER BY s.chain_id IS NULL, s.id LIMIT ${LIST_BATCH}`,
  ancestors: `WITH RECURSIVE up (id, depth) AS (SELECT id, 0 FROM snapshots WHERE name = ?
    UNION ALL SELECT s.parent_id, up.depth + 1 FROM snapshots s JOIN up ON s.id = up.id WHERE s.parent_id IS NOT NULL)
    SELECT ${COLUMNS} JOIN up ON up.id = s.id ORDER BY up.depth`,
  ids: 'SELECT id FROM snapshots',
  byActiveKey: `SELECT ${COLUMNS} WHERE s.active_key = ? ORDER BY s.id DESC LIMIT 1`,
  child: 'SELECT name FROM snapshots WHERE parent_id = ? LIMIT 1',
  nextId: 'UPDATE sequence SET last_id = last_id + 1 RETURNING last_id',
  raiseId: 'UPDATE sequence SET last_id = max(last_id, ?)',
  insert: `INSERT INTO snapshots (id, name, parent_id, kind, created_ns, updated_ns, labels, chain_id, restore)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  commit: `UPDATE snapshots SET name = ?, kind = 'committed', created_ns = ?, updated_ns = ?, labels = ?, size = ?, inodes = ?, active_key = name
    WHERE id = ?`,
  recommit: 'UPDATE snapshots SET name = ?, updated_ns = ?, labels = ? WHERE id = ?',
  relabel: 'UPDATE snapshots SET labels = ?, updated_ns = ? WHERE id = ?',
  renew: 'UPDATE snapshots SET restore = ? WHERE id = ?',
  remove: 'DELETE FROM snapshots WHERE id = ?'
} as const

type Row = Record<string, SQLOutputValue>

export class SnapshotStore {
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #statements: Readonly<Record<keyof typeof SQL, StatementSync>>
  readonly #clock: Clock
  #open = true

  /** @throws STATE_INVALID, ENVIRONMENT: see `openDatabase`. */
  constructor (path: string, clock: Clock) {
    this.#path = path
    this.#database = openDatabase(path, SNAPSHOTS_SCHEMA)
    this.#clock = clock
    this.#statements = Object.fromEntries(Object.entries(SQL).map(([name, sql]) => {
      const statement = this.#database.prepare(sql)
      statement.setReadBigInts(true)
      return [name, statement]
    })) as Record<keyof typeof SQL, StatementSync>
  }

  /** @throws NOT_FOUND */
  get (name: string): StoredSnapshot {
    const row = this.#statements.byName.get(name)
    if (row === undefined) throw new SnapshotterError('NOT_FOUND', `snapshot ${quote(name)} does not exist`)
    return decode(row)
  }

  /** The lazily mounted layer of this chain ID on this very parent, or null. */
  findLazy (chainId: string, parent: string): StoredSnapshot | null {
    const row = this.#statements.byChain.get(chainId, parent)
    return row === undefined ? null : decode(row)
  }

  allLazy (): StoredSnapshot[] {
    return this.#statements.lazy.all().map(decode)
  }

  uncommitted (): StoredSnapshot[] {
    return this.#statements.uncommitted.all().map(decode)
  }

  /**
   * Up to `LIST_BATCH` snapshots that come after the one given; the caller may do anything between two pages. Lazy ones
   * come first: of several that stand for one chain ID containerd takes the first listed, and eager copies of other
   * namespaces carry the same label.
   */
  page (after: StoredSnapshot | null): StoredSnapshot[] {
    return this.#statements.page.all(after === null || after.lazy !== null ? 0 : 1, after?.id ?? 0).map(decode)
  }

  /** The snapshot and all below it, nearest first. @throws NOT_FOUND */
  chain (name: string): [StoredSnapshot, ...StoredSnapshot[]] {
    const [first, ...rest] = this.#statements.ancestors.all(name).map(decode)
    if (first === undefined) throw new SnapshotterError('NOT_FOUND', `snapshot ${quote(name)} does not exist`)
    return [first, ...rest]
  }

  ids (): Set<number> {
    return new Set(this.#statements.ids.all().map((row) => Number(row['id'])))
  }

  has (name: string): boolean {
    return this.#statements.byName.get(name) !== undefined
  }

  /** A number for a directory; never given twice. */
  reserveId (): number {
    return this.#transaction(() => this.#nextId())
  }

  /** Numbers up to `id` will not be given. */
  raiseId (id: number): void {
    this.#statements.raiseId.run(id)
  }

  /** @throws NOT_FOUND when there is no such parent, INVALID_ARGUMENT when it is not committed; empty is fine. */
  requireParent (parent: string): void {
    this.#parentId(parent)
  }

  /**
   * Records a snapshot under `id`, a fresh one if none was reserved; `place` runs inside the transaction, so that record
   * and directory appear together.
   * @throws NOT_FOUND, INVALID_ARGUMENT for the parent; ALREADY_EXISTS for the name.
   */
  create (snapshot: NewSnapshot, place: (id: number) => void, reserved: number | null = null): number {
    return this.#transaction(() => {
      const parentId = this.#parentId(snapshot.parent)
      if (this.has(snapshot.name)) throw new SnapshotterError('ALREADY_EXISTS', `snapshot ${quote(snapshot.name)} exists already`)
      const id = reserved ?? this.#nextId()
      const now = this.#clock.nowNs()
      this.#statements.insert.run(id, snapshot.name, parentId, snapshot.kind, now, now, JSON.stringify(snapshot.labels),
        snapshot.lazy?.chainId ?? null, snapshot.lazy?.restore ?? null)
      place(id)
      return id
    })
  }

  /**
   * The snapshot that a Commit of `key` as `name` is about: `key` itself, or what it became in a Commit that the caller never
   * heard of. containerd commits here first and then in its own database; when it or we die in between, its transaction is
   * lost, and it asks again for the same key, maybe with another number in the name (metadata/snapshot.go Commit, createKey).
   * @throws NOT_FOUND
   */
  toCommit (key: string, name: string): StoredSnapshot {
    return this.has(key) ? this.get(key) : this.#unheard(key, name) ?? this.get(key)
  }

  /** @throws NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION when `key` is not active. Made again without having been heard, it is done once. */
  commit (key: string, name: string, labels: Labels, usage: Usage): void {
    this.#transaction(() => {
      if (!this.has(key) && this.#recommit(key, name, labels)) return
      if (this.has(name)) throw new SnapshotterError('ALREADY_EXISTS', `committed snapshot ${quote(name)} exists already`)
      const active = this.get(key)
      if (active.info.kind !== 'active') {
        throw new SnapshotterError('FAILED_PRECONDITION', `snapshot ${quote(key)} is ${active.info.kind}, only an active one can be committed`)
      }
      const now = this.#clock.nowNs()
      this.#statements.commit.run(name, now, now, JSON.stringify(labels), usage.size, usage.inodes, active.id)
    })
  }

  /** @throws NOT_FOUND, INVALID_ARGUMENT for a path that is not labels. */
  update (name: string, labels: Labels, paths: readonly string[]): SnapshotInfo {
    return this.#transaction(() => {
      const { id, info, lazy } = this.get(name)
      const next = applyMask(info.labels, labels, paths)
      // containerd finds a lazy layer by this label alone (core/metadata/snapshot.go), so no update may lose it.
      const kept = lazy === null ? next : { ...next, [LABEL_SNAPSHOT_REF]: lazy.chainId }
      const updatedNs = this.#clock.nowNs()
      this.#statements.relabel.run(JSON.stringify(kept), updatedNs, id)
      return { ...info, labels: kept, updatedNs }
    })
  }

  /** Another restore text for a lazy layer; nothing when the snapshot is gone. */
  renew (id: number, restore: string): void {
    this.#transaction(() => { this.#statements.renew.run(restore, id) })
  }

  /** @throws NOT_FOUND, FAILED_PRECONDITION while a child exists. */
  remove (name: string): StoredSnapshot {
    return this.#transaction(() => {
      const snapshot = this.get(name)
      const child = this.#statements.child.get(snapshot.id)
      if (child !== undefined) {
        throw new SnapshotterError('FAILED_PRECONDITION', `cannot remove snapshot ${quote(name)}: it has a child, ${quote(String(child['name']))}`)
      }
      this.#statements.remove.run(snapshot.id)
      return snapshot
    })
  }

  close (): void {
    if (!this.#open) return
    this.#open = false
    this.#database.close()
  }

  #recommit (key: string, name: string, labels: Labels): boolean {
    const done = this.#unheard(key, name)
    if (done !== null) this.#statements.recommit.run(name, this.#clock.nowNs(), JSON.stringify(labels), done.id)
    return done !== null
  }

  /** What `key` became, if it may still be called `name`: it is already, or nobody else is and nobody has built on it. */
  #unheard (key: string, name: string): StoredSnapshot | null {
    const row = this.#statements.byActiveKey.get(key)
    const done = row === undefined ? null : decode(row)
    if (done === null || done.info.name === name) return done
    const free = sameButNumber(done.info.name, name) && !this.has(name) && this.#statements.child.get(done.id) === undefined
    return free ? done : null
  }

  #nextId (): number {
    return Number(this.#statements.nextId.get()?.['last_id'])
  }

  #parentId (parent: string): number | null {
    if (parent === '') return null
    const row = this.#statements.byName.get(parent)
    if (row === undefined) throw new SnapshotterError('NOT_FOUND', `parent snapshot ${quote(parent)} does not exist`)
    const { id, info } = decode(row)
    if (info.kind === 'committed') return id
    throw new SnapshotterError('INVALID_ARGUMENT', `parent snapshot ${quote(parent)} is ${info.kind}, not committed`)
  }

  #transaction<Result> (work: () => Result): Result {
    return inTransaction(this.#database, this.#path, work)
  }
}

function decode (row: Row): StoredSnapshot {
  const { name, parent, kind, created_ns: createdNs, updated_ns: updatedNs, chain_id: chainId, restore } = row
  return {
    id: Number(row['id']),
    info: {
      name: String(name),
      parent: String(parent),
      kind: kind as Kind,
      createdNs: createdNs as bigint,
      updatedNs: updatedNs as bigint,
      labels: decodeLabels(String(row['labels']), String(name))
    },
    usage: { size: Number(row['size']), inodes: Number(row['inodes']) },
    lazy: typeof chainId === 'string' && typeof restore === 'string' ? { chainId, restore } : null
  }
}

function decodeLabels (text: string, name: string): Labels {
  try {
    return JSON.parse(text) as Labels
  } catch (cause) {
    throw new SnapshotterError('STATE_INVALID', `labels of snapshot ${quote(name)} are damaged on disk`, {}, { cause })
  }
}

/** Names as containerd gives them, namespace/number/name, that differ in the number alone. */
function sameButNumber (one: string, other: string): boolean {
  const [a, b] = [one, other].map((name) => /^([^/]+)\/\d+\/(.*)$/s.exec(name))
  return a != null && b != null && a[1] === b[1] && a[2] === b[2]
}

export function quote (name: string): string {
  return JSON.stringify(name.slice(0, 200))
}
