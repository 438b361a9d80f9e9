// What resolved images promise: the digest of each of their blobs, and where its bytes are. On disk, since containerd may
// have taken a promise for a blob; the oldest are forgotten first. Documents are kept themselves, for they were read already.
import type { DatabaseSync } from 'node:sqlite'
import type { Clock } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { PROMISES_MAX, RESOLVED_IMAGES_MAX } from '../base/limits.ts'
import { inTransaction, openDatabase, type Schema } from '../cache/database.ts'
import type { Digest } from '../verify/digest.ts'
import { type VerifiedBytes, verifyDigest } from '../verify/verified-bytes.ts'
import type { VirtualBlob, VirtualBlobs } from './virtual-blobs.ts'

/** "IPSP" */
const SCHEMA: Schema = {
  applicationId: 0x49505350,
  migrations: [`
    CREATE TABLE promises (
      digest TEXT PRIMARY KEY,
      size INTEGER NOT NULL,
      since_ns INTEGER NOT NULL,
      place TEXT NOT NULL,
      bytes BLOB
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX promises_by_age ON promises (since_ns);
  `, `
    CREATE TABLE images (
      manifest TEXT PRIMARY KEY,
      since_ns INTEGER NOT NULL,
      reference TEXT NOT NULL,
      name TEXT,
      platform TEXT NOT NULL,
      layers TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
  `]
}

/** Where a blob lies: a CID, and the gateways that its pull named. */
export interface Place { readonly cid: string, readonly gateways: readonly string[] }

export interface PromisedBlob {
  readonly digest: Digest
  readonly size: number
  /** A document itself, or where the blob can be fetched. */
  readonly from: VerifiedBytes | Place
}

/** An image that was resolved here, for people. */
export interface ResolvedImage {
  /** `ipfs://<cid>@<manifest digest>`. */
  readonly reference: string
  /** In containerd, where the pull chose one. */
  readonly name: string | null
  readonly manifestDigest: string
  readonly platform: string
  /** Digests, base first. */
  readonly layers: readonly string[]
}

export type FetchFrom = (place: Place, size: number, signal: AbortSignal) => AsyncIterable<VerifiedBytes>

const INSERT = 'INSERT OR REPLACE INTO promises (digest, size, since_ns, place, bytes) VALUES (?, ?, ?, ?, ?)'
const TRIM = 'DELETE FROM promises WHERE digest IN (SELECT digest FROM promises ORDER BY since_ns DESC LIMIT -1 OFFSET ?)'
const INSERT_IMAGE = `INSERT INTO images (manifest, since_ns, reference, name, platform, layers) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (manifest) DO UPDATE SET since_ns = excluded.since_ns, reference = excluded.reference, name = coalesce(excluded.name, name),
  platform = excluded.platform, layers = excluded.layers`
const TRIM_IMAGES = 'DELETE FROM images WHERE manifest IN (SELECT manifest FROM images ORDER BY since_ns DESC LIMIT -1 OFFSET ?)'
const SELECT_IMAGES = 'SELECT manifest, reference, name, platform, layers FROM images ORDER BY since_ns DESC'

export class Promises implements VirtualBlobs {
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #fetch: FetchFrom
  readonly #clock: Clock

  /** @throws STATE_INVALID, ENVIRONMENT: see `openDatabase`. */
  constructor (path: string, fetch: FetchFrom, clock: Clock) {
    this.#path = path
    this.#database = openDatabase(path, SCHEMA)
    this.#fetch = fetch
    this.#clock = clock
  }

  /** All of an image, in one step; a newer promise takes the place of an older one. */
  add (blobs: readonly PromisedBlob[], image: ResolvedImage | null = null): void {
    const now = this.#clock.nowNs()
    inTransaction(this.#database, this.#path, () => {
      const insert = this.#database.prepare(INSERT)
      for (const { digest, size, from } of blobs) {
        const [place, bytes] = 'cid' in from ? [JSON.stringify(from), null] : ['', from]
        insert.run(digest, size, now, place, bytes)
      }
      this.#database.prepare(TRIM).run(PROMISES_MAX)
      if (image === null) return
      const { manifestDigest, reference, name, platform, layers } = image
      this.#database.prepare(INSERT_IMAGE).run(manifestDigest, now, reference, name, platform, layers.join(' '))
      this.#database.prepare(TRIM_IMAGES).run(RESOLVED_IMAGES_MAX)
    })
  }

  /** The one that was resolved last comes first. */
  images (): ResolvedImage[] {
    return this.#database.prepare(SELECT_IMAGES).all().map(({ manifest, reference, name, platform, layers }) => ({
      reference: String(reference),
      name: typeof name === 'string' ? name : null,
      manifestDigest: String(manifest),
      platform: String(platform),
      layers: String(layers).split(' ')
    }))
  }

  find (digest: Digest): VirtualBlob | null {
    const statement = this.#database.prepare('SELECT size, since_ns FROM promises WHERE digest = ?')
    statement.setReadBigInts(true)
    const row = statement.get(digest)
    return row === undefined ? null : { size: Number(row['size']), sinceNs: row['since_ns'] as bigint }
  }

  async * fetch (digest: Digest, signal: AbortSignal): AsyncGenerator<VerifiedBytes, undefined> {
    const row = this.#database.prepare('SELECT size, place, bytes FROM promises WHERE digest = ?').get(digest)
    if (row === undefined) throw new SnapshotterError('NOT_FOUND', `content ${digest} is promised by no image any more`)
    const { size, place, bytes } = row
    if (bytes instanceof Uint8Array) yield verifyDigest(digest, bytes, `document ${digest} in ${this.#path}`)
    else yield * this.#fetch(JSON.parse(String(place)) as Place, Number(size), signal)
  }

  renounce (digest: Digest): void {
    inTransaction(this.#database, this.#path, () => { this.#database.prepare('DELETE FROM promises WHERE digest = ?').run(digest) })
  }

  close (): void {
    this.#database.close()
  }
}
