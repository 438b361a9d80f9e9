// Walks a tar on disk from header to header without touching the contents. The writer re-emits the blocks verbatim, so
// each entry says where its first extension block is. Field syntax is layer/'s; this file only adds places. Refuses
// truncated tars, oversized extensions and types that a filesystem cannot hold (LAYER_INVALID, LIMIT_EXCEEDED).
import { SnapshotterError } from '../base/errors.ts'
import { alignUp } from '../base/bytes.ts'
import { LAYER_ENTRIES_MAX, PAX_BYTES_MAX } from '../base/limits.ts'
import { type EntryType, type LayerEntry, show } from '../layer/layer-entry.ts'
import { NO_PAX, nonEmpty, parsePax, paxNumber, type PaxRecords, paxTime, xattrsOf } from '../layer/pax.ts'
import { isZeroBlock, parseTarHeader, TAR_BLOCK, type TarHeader } from '../layer/tar-header.ts'
import type { ByteSource } from './byte-source.ts'
import { windowed } from './window.ts'

/** What the tar says, and where. Texts are binary strings (one character per byte). */
export interface PlacedEntry extends Omit<LayerEntry, 'type'> {
  /** `global`: a PAX header for all that follows, which containerd ignores; `sparse`: GNU's formats for files with holes. */
  readonly type: EntryType | 'global' | 'sparse'
  readonly userName: string
  readonly groupName: string
  /** Of the first block: a PAX or GNU extension if the entry has one, else its header. */
  readonly headerOffset: number
  readonly dataOffset: number
  /** Bytes from `dataOffset` that belong to the entry, padding not counted. */
  readonly dataSize: number
}

const TYPES: Readonly<Record<string, PlacedEntry['type']>> = {
  '0': 'file', '\0': 'file', 1: 'hardlink', 2: 'symlink', 3: 'char', 4: 'block', 5: 'directory', 6: 'fifo', g: 'global', S: 'sparse'
}

interface Prelude { readonly pax: PaxRecords, readonly longName: string | null, readonly longLink: string | null }

/** The entries from `start` on, up to a zero block or the end of the source. */
export async function * tarEntries (source: ByteSource, start = 0): AsyncGenerator<PlacedEntry, void, undefined> {
  const reader = windowed(source)
  let at = start
  for (let count = 1; ; count++) {
    const entry = await entryAt(reader, at)
    if (entry === null) return
    if (count > LAYER_ENTRIES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `${source.name} has more than ${LAYER_ENTRIES_MAX} entries`)
    at = entry.dataOffset + alignUp(entry.dataSize, TAR_BLOCK)
    if (entry.dataOffset + entry.dataSize > source.size) {
      throw new SnapshotterError('LAYER_INVALID', `${source.name} ends at byte ${source.size}, inside ${show(entry.path)}`)
    }
    yield entry
  }
}

async function entryAt (reader: ByteSource, headerOffset: number): Promise<PlacedEntry | null> {
  let prelude: Prelude = { pax: NO_PAX, longName: null, longLink: null }
  for (let at = headerOffset; ;) {
    if (at === headerOffset && at === reader.size) return null
    const where = `${reader.name}: tar offset ${at}`
    const block = await reader.read(at, TAR_BLOCK)
    if (isZeroBlock(block)) {
      if (at === headerOffset) return null
      throw new SnapshotterError('LAYER_INVALID', `${where}: an extended header speaks about no entry`)
    }
    const header = parseTarHeader(block, where)
    if (header.type !== 'x' && header.type !== 'L' && header.type !== 'K') {
      return place(entryOf(header, prelude, where), block, prelude, { headerOffset, dataOffset: at + TAR_BLOCK, header })
    }
    if (header.size < 0 || header.size > PAX_BYTES_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `${where}: extended header of ${header.size} bytes, limit ${PAX_BYTES_MAX}`)
    }
    prelude = extend(prelude, header.type, await reader.read(at + TAR_BLOCK, header.size), where)
    at += TAR_BLOCK + alignUp(header.size, TAR_BLOCK)
  }
}

function extend (prelude: Prelude, type: 'x' | 'L' | 'K', body: Buffer, where: string): Prelude {
  if (type === 'x') return { ...prelude, pax: parsePax(body, where) }
  return type === 'L' ? { ...prelude, longName: untilNul(body) } : { ...prelude, longLink: untilNul(body) }
}

type HeaderFacts = Omit<PlacedEntry, 'userName' | 'groupName' | 'headerOffset' | 'dataOffset' | 'dataSize'>

function entryOf (header: TarHeader, { pax, longName, longLink }: Prelude, where: string): HeaderFacts {
  const path = longName ?? nonEmpty(pax, 'path') ?? header.name
  const type = typeOf(header, path, pax, where)
  const mtime = nonEmpty(pax, 'mtime')
  const time = mtime === null ? { seconds: header.mtime, nanoseconds: 0 } : paxTime(mtime, where)
  const size = paxNumber(pax, 'size', where) ?? header.size
  if (size < 0) throw new SnapshotterError('LAYER_INVALID', `${where}: negative size ${size}`)
  return {
    path,
    type,
    mode: Number(BigInt.asUintN(12, BigInt(header.mode))),
    uid: paxNumber(pax, 'uid', where) ?? header.uid,
    gid: paxNumber(pax, 'gid', where) ?? header.gid,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    size: type === 'file' || type === 'global' || type === 'sparse' ? size : 0,
    deviceMajor: header.deviceMajor,
    deviceMinor: header.deviceMinor,
    linkTarget: type === 'symlink' || type === 'hardlink' ? longLink ?? nonEmpty(pax, 'linkpath') ?? header.linkName : '',
    xattrs: xattrsOf(pax)
  }
}

function place (
  entry: HeaderFacts, block: Buffer, { pax }: Prelude,
  { headerOffset, dataOffset, header }: { headerOffset: number, dataOffset: number, header: TarHeader }
): PlacedEntry {
  const named = block.toString('latin1', 257, 262) === 'ustar'
  return {
    ...entry,
    headerOffset,
    dataOffset,
    dataSize: entry.type === 'global' ? header.size : entry.size,
    userName: nonEmpty(pax, 'uname') ?? (named ? untilNul(block.subarray(265, 297)) : ''),
    groupName: nonEmpty(pax, 'gname') ?? (named ? untilNul(block.subarray(297, 329)) : '')
  }
}

function typeOf (header: TarHeader, path: string, pax: PaxRecords, where: string): PlacedEntry['type'] {
  const type = TYPES[header.type]
  if (type === undefined) {
    throw new SnapshotterError('LAYER_INVALID', `${where}: ${show(path)} has the tar type ${JSON.stringify(header.type)}`)
  }
  const sparse = pax.sparseNumbers.length > 0 || [...pax.values.keys()].some((key) => key.startsWith('GNU.sparse.'))
  if (type === 'file' && sparse) return 'sparse'
  return header.type === '\0' && path.endsWith('/') ? 'directory' : type
}

function untilNul (bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('latin1', 0, end < 0 ? bytes.byteLength : end)
}
