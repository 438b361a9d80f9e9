// One entry of an eStargz TOC, strictly decoded: known fields have their exact type and range, look-alikes of known
// fields (Go's decoder ignores case) are refused, unknown fields are ignored. Field list: stargz estargz/types.go.
import { SnapshotterError } from '../base/errors.ts'
import { excerpt } from '../base/bytes.ts'
import { isJsonObject, type JsonObject, type JsonValue } from '../oci/strict-json.ts'
import { isDigest } from '../verify/digest.ts'
import { type EntryType, NO_XATTRS, show } from './layer-entry.ts'
import { type Instant, parseRfc3339 } from './rfc3339.ts'

export interface TocEntry {
  /** As a binary string, without `..`. */
  readonly name: string
  readonly type: EntryType | 'chunk'
  readonly size: number
  readonly modtime: Instant
  readonly linkName: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly devMajor: number
  readonly devMinor: number
  readonly xattrs: ReadonlyMap<string, Uint8Array>
  /** sha256 of the whole file, 32 bytes, or null. */
  readonly digest: Uint8Array | null
  readonly offset: number
  readonly chunkOffset: number
  /** 0: to the end of the file. */
  readonly chunkSize: number
  readonly chunkDigest: Uint8Array | null
  readonly innerOffset: number
}

const TYPES: ReadonlyMap<string, TocEntry['type']> = new Map([
  ['dir', 'directory'], ['reg', 'file'], ['symlink', 'symlink'], ['hardlink', 'hardlink'],
  ['char', 'char'], ['block', 'block'], ['fifo', 'fifo'], ['chunk', 'chunk']
])
const KNOWN = new Set(['name', 'type', 'size', 'modtime', 'linkName', 'mode', 'uid', 'gid', 'userName', 'groupName', 'offset', 'innerOffset',
  'devMajor', 'devMinor', 'xattrs', 'digest', 'chunkOffset', 'chunkSize', 'chunkDigest'])
const KNOWN_LOWER = new Set([...KNOWN].map((key) => key.toLowerCase()))
const EPOCH: Instant = { seconds: 0, nanoseconds: 0 }

/** @throws TOC_INVALID; `what` names layer and position. */
export function decodeTocEntry (value: JsonValue, what: string): TocEntry {
  if (!isJsonObject(value)) throw invalid(what, 'is no object')
  for (const key in value) {
    if (!KNOWN.has(key) && isLookAlike(key)) throw invalid(what, `has the field ${JSON.stringify(key.slice(0, 40))}, which Go takes for another`)
  }
  const name = nameOf(value, what)
  const where = `${what} ${show(name)}`
  const type = TYPES.get(textOf(value, 'type', where))
  if (type === undefined) throw invalid(where, 'has an unknown type')
  return {
    name,
    type,
    size: countOf(value, 'size', where),
    modtime: timeOf(value, where),
    linkName: toBinary(textOf(value, 'linkName', where)),
    mode: countOf(value, 'mode', where) & 0o7777,
    uid: countOf(value, 'uid', where),
    gid: countOf(value, 'gid', where),
    devMajor: countOf(value, 'devMajor', where),
    devMinor: countOf(value, 'devMinor', where),
    xattrs: xattrsOf(value, where),
    digest: digestOf(value, 'digest', where),
    offset: countOf(value, 'offset', where),
    chunkOffset: countOf(value, 'chunkOffset', where),
    chunkSize: countOf(value, 'chunkSize', where),
    chunkDigest: digestOf(value, 'chunkDigest', where),
    innerOffset: countOf(value, 'innerOffset', where)
  }
}

function isLookAlike (key: string): boolean {
  // Go folds two letters from outside ASCII onto k and s.
  return KNOWN_LOWER.has(key.replaceAll('\u212a', 'k').replaceAll('\u017f', 's').toLowerCase())
}

function nameOf (value: JsonObject, what: string): string {
  const name = toBinary(textOf(value, 'name', what))
  if (name.includes('\0') || (name.includes('..') && name.split('/').includes('..'))) {
    throw invalid(what, `has the name ${show(name)}: NUL and ".." have no place in it`)
  }
  return name
}

function textOf (value: JsonObject, key: string, where: string): string {
  const text = value[key]
  if (text === undefined) return ''
  if (typeof text !== 'string') throw invalid(where, `has a ${key} that is no text`)
  return text
}

function countOf (value: JsonObject, key: string, where: string): number {
  const count = value[key]
  if (count === undefined) return 0
  if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0) throw invalid(where, `has a ${key} that is no whole number`)
  return count
}

/** No modtime means 1970: that is how stargz writes it. */
function timeOf (value: JsonObject, where: string): Instant {
  const text = textOf(value, 'modtime', where)
  const time = text === '' ? EPOCH : parseRfc3339(text)
  if (time === null) throw invalid(where, `has the modtime ${JSON.stringify(text.slice(0, 40))}, which is no RFC 3339 time`)
  return time
}

function digestOf (value: JsonObject, key: string, where: string): Uint8Array | null {
  const text = textOf(value, key, where)
  if (text === '') return null
  if (!isDigest(text)) throw invalid(where, `has a ${key} that is no sha256 digest`)
  return Buffer.from(text.slice('sha256:'.length), 'hex')
}

function xattrsOf (value: JsonObject, where: string): ReadonlyMap<string, Uint8Array> {
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

function invalid (what: string, why: string): SnapshotterError {
  return new SnapshotterError('TOC_INVALID', `${what} ${why}`)
}
