// The table of contents of an eStargz layer, written as stargz's own reader and ours understand it (stargz
// docs/estargz.md): one JSON object per tar entry, one more per further chunk, RFC 3339 times with nanoseconds. Refuses
// nothing; `whyNotJson` says beforehand which entries JSON cannot express.
import { isUtf8 } from 'node:buffer'
import { PUBLISH_READ_BYTES } from '../base/limits.ts'
import { formatRfc3339 } from '../layer/rfc3339.ts'
import { digestFromBytes } from '../verify/digest.ts'
import type { PlacedEntry } from './tar-entries.ts'

/** The one byte of both landmarks. */
export const LANDMARK_CONTENT = Buffer.of(0x0f)

/** A line of the table under construction: places and hashes come when the bytes have passed. */
export interface TocEntry {
  readonly fields: Readonly<Record<string, unknown>>
  /** Start of the gzip member that begins with its chunk. */
  offset?: number
  /** sha256 of the whole file. */
  digest?: Uint8Array
  readonly chunk?: { readonly offset: number, readonly size: number, readonly last: boolean, readonly digest: Uint8Array }
  /** False while `digest` is still to come. */
  ready: boolean
}

const TYPES = {
  file: 'reg', directory: 'dir', symlink: 'symlink', hardlink: 'hardlink', char: 'char', block: 'block', fifo: 'fifo'
} as const
// Go's time.Time in JSON: years 0 to 9999.
const SECONDS_MIN = -62_167_219_200
const SECONDS_MAX = 253_402_300_799

/** Why this entry has no line in JSON, or null. */
export function whyNotJson (entry: PlacedEntry): string | null {
  if (entry.type === 'sparse') return 'is stored as a sparse file'
  if (entry.type === 'global') return null
  if (!isText(entry.path)) return 'has a name that is not UTF-8'
  if (entry.path.split('/').includes('..')) return 'has a name with ".." in it'
  if (!isText(entry.linkTarget)) return 'has a link target that is not UTF-8'
  if ([...entry.xattrs.keys()].some((name) => !isText(name))) return 'has an xattr name that is not UTF-8'
  if (entry.mtimeSeconds < SECONDS_MIN || entry.mtimeSeconds > SECONDS_MAX) return 'has a time outside the years 0 to 9999'
  return null
}

/** What the entry's header says; owner names only where `names` has not seen the id. */
export function tocFields (entry: PlacedEntry, names: OwnerNames): Record<string, unknown> {
  if (entry.type === 'global' || entry.type === 'sparse') return {}
  const xattrs = [...entry.xattrs].sort(([one], [other]) => one < other ? -1 : 1)
    .map(([name, value]) => [text(name), Buffer.from(value).toString('base64')])
  const isDevice = entry.type === 'char' || entry.type === 'block'
  return {
    name: text(entry.path),
    type: TYPES[entry.type],
    size: orNothing(entry.size),
    modtime: formatRfc3339({ seconds: entry.mtimeSeconds, nanoseconds: entry.mtimeNanoseconds }),
    linkName: entry.linkTarget === '' ? undefined : text(entry.linkTarget),
    mode: orNothing(entry.mode),
    uid: orNothing(entry.uid),
    gid: orNothing(entry.gid),
    userName: names.user(entry.uid, entry.userName),
    groupName: names.group(entry.gid, entry.groupName),
    devMajor: isDevice ? orNothing(entry.deviceMajor) : undefined,
    devMinor: isDevice ? orNothing(entry.deviceMinor) : undefined,
    xattrs: xattrs.length === 0 ? undefined : Object.fromEntries(xattrs)
  }
}

/** The format names an owner where its id first appears, and not again. */
export class OwnerNames {
  readonly #users = new Set<number>()
  readonly #groups = new Set<number>()

  user (id: number, name: string): string | undefined { return first(this.#users, id, name) }
  group (id: number, name: string): string | undefined { return first(this.#groups, id, name) }
}

/** The table's bytes in the order of `add`; an entry that is not ready holds back those behind it. */
export class TocWriter {
  readonly #pieces: Buffer[] = []
  readonly #waiting: TocEntry[] = []
  #text = '{"version":1,"entries":['
  #separator = '\n'

  add (entries: readonly TocEntry[]): void {
    this.#waiting.push(...entries)
    let ready = 0
    while (this.#waiting[ready]?.ready === true) ready++
    for (const entry of this.#waiting.splice(0, ready)) {
      this.#text += `${this.#separator}${line(entry)}`
      this.#separator = ',\n'
    }
    // Pieces stay until the end. Small buffers would each keep alive the slab that Node cut them from.
    if (this.#text.length >= PUBLISH_READ_BYTES) this.#flush()
  }

  finish (): readonly Buffer[] {
    this.#text += '\n]}\n'
    this.#flush()
    return this.#pieces
  }

  #flush (): void {
    this.#pieces.push(Buffer.from(this.#text))
    this.#text = ''
  }
}

function line ({ fields, offset, digest, chunk }: TocEntry): string {
  return JSON.stringify({
    ...fields,
    offset,
    digest: digest === undefined ? undefined : digestFromBytes(digest),
    chunkOffset: chunk === undefined ? undefined : orNothing(chunk.offset),
    chunkSize: chunk === undefined || chunk.last ? undefined : chunk.size,
    chunkDigest: chunk === undefined ? undefined : digestFromBytes(chunk.digest)
  })
}

function first (seen: Set<number>, id: number, name: string): string | undefined {
  if (seen.has(id) || name === '' || !isText(name)) return undefined
  seen.add(id)
  return text(name)
}

function orNothing (value: number): number | undefined {
  return value === 0 ? undefined : value
}

function isText (binary: string): boolean {
  return isUtf8(Buffer.from(binary, 'latin1'))
}

function text (binary: string): string {
  return Buffer.from(binary, 'latin1').toString('utf8')
}
