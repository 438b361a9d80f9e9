// One entry of an eStargz TOC, strictly decoded: known fields have their exact type and range, look-alikes of known
// fields (Go's decoder ignores case) are refused, unknown fields are ignored. Field list: stargz estargz/types.go.
import { SnapshotterError } from '../base/errors.ts'
import { excerpt } from '../base/bytes.ts'
import { isJsonObject, type JsonObject, type JsonValue } from '../oci/strict-json.ts'
import { digestBytes, isDigest } from '../verify/digest.ts'
import { type EntryType, type LayerEntry, NO_XATTRS } from './layer-entry.ts'
import { type Instant, parseRfc3339 } from './rfc3339.ts'

/** A layer entry with its place in the blob, or one more chunk of the file before it. */
export interface TocEntry extends Omit<LayerEntry, 'type'> {
  readonly type: EntryType | 'chunk'
  /** Of the whole file: sha256, or null. */
  readonly digest: Uint8Array | null
  readonly offset: number
  readonly chunkOffset: number
  /** 0: to the end of the file. */
  readonly chunkSize: number
  readonly chunkDigest: Uint8Array | null
  readonly innerOffset: number
}

/** What messages say about the entry. */
interface Where {
  readonly toc: string
  readonly position: number
  readonly name: string
}

/** As the format spells them. */
export const ENTRY_TYPES: ReadonlyMap<string, TocEntry['type']> = new Map([
  ['dir', 'directory'], ['reg', 'file'], ['symlink', 'symlink'], ['hardlink', 'hardlink'],
  ['char', 'char'], ['block', 'block'], ['fifo', 'fifo'], ['chunk', 'chunk']
])
const KNOWN = new Set(['name', 'type', 'size', 'modtime', 'linkName', 'mode', 'uid', 'gid', 'userName', 'groupName', 'offset',
  'innerOffset', 'devMajor', 'devMinor', 'xattrs', 'digest', 'chunkOffset', 'chunkSize', 'chunkDigest'])
const KNOWN_LOWER = new Set([...KNOWN].map((key) => key.toLowerCase()))
/** No modtime means 1970: that is how stargz writes it. */
export const EPOCH: Instant = { seconds: 0, nanoseconds: 0 }

/** The entry at `position` of `toc` (a name for messages). @throws TOC_INVALID */
export function decodeTocEntry (value: JsonValue, toc: string, position: number): TocEntry {
  if (!isJsonObject(value)) throw invalid({ toc, position, name: '' }, 'is no object')
  const name = textOf(value, 'name', { toc, position, name: '' })
  const where = { toc, position, name }
  for (const key in value) if (!KNOWN.has(key)) refuseLookAlike(key, where)
  const path = toBinary(name)
  if (path.includes('\0') || (path.includes('..') && path.split('/').includes('..'))) throw invalid(where, 'has NUL or ".." in its name')
  const type = ENTRY_TYPES.get(textOf(value, 'type', where))
  if (type === undefined) throw invalid(where, 'has an unknown type')
  const isLink = type === 'symlink' || type === 'hardlink'
  const mtime = timeOf(value, where)
  return {
    path,
    type,
    mode: countOf(value, 'mode', where) & 0o7777,
    uid: countOf(value, 'uid', where),
    gid: countOf(value, 'gid', where),
    mtimeSeconds: mtime.seconds,
    mtimeNanoseconds: mtime.nanoseconds,
    size: type === 'file' ? countOf(value, 'size', where) : 0,
    deviceMajor: countOf(value, 'devMajor', where),
    deviceMinor: countOf(value, 'devMinor', where),
    linkTarget: isLink ? toBinary(textOf(value, 'linkName', where)) : '',
    xattrs: xattrsOf(value, where),
    digest: digestOf(value, 'digest', where),
    offset: countOf(value, 'offset', where),
    chunkOffset: countOf(value, 'chunkOffset', where),
    chunkSize: countOf(value, 'chunkSize', where),
    chunkDigest: digestOf(value, 'chunkDigest', where),
    innerOffset: countOf(value, 'innerOffset', where)
  }
}

/** Go's decoder ignores case, and folds two letters from outside ASCII onto k and s. */
function refuseLookAlike (key: string, where: Where): void {
  const folded = key.replaceAll('\u212a', 'k').replaceAll('\u017f', 's').toLowerCase()
  if (KNOWN_LOWER.has(folded)) throw invalid(where, `has the field ${JSON.stringify(key.slice(0, 40))}, which Go takes for another`)
}

function textOf (value: JsonObject, key: string, where: Where): string {
  const text = value[key]
  if (text === undefined) return ''
  if (typeof text !== 'string') throw invalid(where, `has a ${key} that is no text`)
  return text
}

function countOf (value: JsonObject, key: string, where: Where): number {
  const count = value[key]
  if (count === undefined) return 0
  if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0) throw invalid(where, `has a ${key} that is no whole number`)
  return count
}

function timeOf (value: JsonObject, where: Where): Instant {
  const text = textOf(value, 'modtime', where)
  const time = text === '' ? EPOCH : parseRfc3339(text)
  if (time === null) throw invalid(where, `has the modtime ${JSON.stringify(text.slice(0, 40))}, which is no RFC 3339 time`)
  return time
}

function digestOf (value: JsonObject, key: string, where: Where): Uint8Array | null {
  const text = textOf(value, key, where)
  if (text === '') return null
  if (!isDigest(text)) throw invalid(where, `has a ${key} that is no sha256 digest`)
  return digestBytes(text)
}

function xattrsOf (value: JsonObject, where: Where): ReadonlyMap<string, Uint8Array> {
  const given = value['xattrs']
  if (given === undefined) return NO_XATTRS
  if (!isJsonObject(given)) throw invalid(where, 'has xattrs that are no object')
  const xattrs = new Map<string, Uint8Array>()
  for (const key in given) {
    const encoded = given[key]
    const bytes = typeof encoded === 'string' ? Buffer.from(encoded, 'base64') : encoded === null ? Buffer.alloc(0) : null
    // Node's decoder skips what it does not know, so encode again and compare.
    if (bytes === null || (typeof encoded === 'string' && bytes.toString('base64') !== encoded)) {
      throw invalid(where, `has an xattr ${excerpt(Buffer.from(key))} that is not base64`)
    }
    xattrs.set(toBinary(key), bytes)
  }
  return xattrs
}

/** One character per UTF-8 byte. */
function toBinary (text: string): string {
  // eslint-disable-next-line no-control-regex -- most names are ASCII and stay as they are
  return /^[\x00-\x7f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')
}

function invalid ({ toc, position, name }: Where, why: string): SnapshotterError {
  return new SnapshotterError('TOC_INVALID', `${toc}: entry ${position} ${JSON.stringify(name.slice(0, 120))} ${why}`)
}
