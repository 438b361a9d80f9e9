// A streaming tar walker: entries and their data as events, in one pass, with flat memory. It reads what containerd's
// applier reads (Go's archive/tar), old GNU sparse headers besides. Like it, global PAX headers are ignored, everything
// behind the end mark is too, and entry types that a filesystem cannot hold are refused (LAYER_INVALID).
import { SnapshotterError } from '../base/errors.ts'
import { DATA_DEVICE_BYTES_MAX, LINK_TARGET_BYTES_MAX, PATH_BYTES_MAX, PAX_BYTES_MAX, UNPACK_TAKE_BYTES, UNPACK_TAKE_BYTES_MIN } from '../base/limits.ts'
import { ByteReader } from './byte-reader.ts'
import { binary, type EntryType, type LayerEntry, show } from './layer-entry.ts'
import { NO_PAX, nonEmpty, parsePax, paxNumber, type PaxRecords, paxTime, xattrsOf } from './pax.ts'
import { isZeroBlock, parseTarHeader, TAR_BLOCK, type TarHeader } from './tar-header.ts'
import { checkSparse, readOldSparse, readPaxSparse, type SparseFile } from './tar-sparse.ts'
import type { Unpacking } from './unpacking.ts'

export type TarEvent =
  | { readonly kind: 'entry', readonly entry: LayerEntry }
  /** Bytes of the file that the last entry named; `tarOffset` is where they stand in the archive. */
  | { readonly kind: 'data', readonly fileOffset: number, readonly tarOffset: number, readonly bytes: Uint8Array }

/** Bytes of the file that the last entry named that never come here: `take` has to be called once, before the next event. They begin where a chunk does. */
export interface TakenEvent {
  readonly kind: 'taken'
  readonly fileOffset: number
  readonly tarOffset: number
  readonly length: number
  readonly take: Take
}

/** Brings the bytes to `at`, or nowhere; answers the digests of their chunks. @throws LAYER_INVALID when the tar ends before */
export type Take = (at: number | null) => Promise<Uint8Array>

const TYPES: Readonly<Record<string, EntryType>> = {
  '0': 'file', '\0': 'file', S: 'file', 1: 'hardlink', 2: 'symlink', 3: 'char', 4: 'block', 5: 'directory', 6: 'fifo'
}

/** What came in front of a header and changes it. */
interface Prelude { pax: PaxRecords, longName: string | null, longLink: string | null }

/** `take`: for the contents of large files. @throws LAYER_INVALID, LIMIT_EXCEEDED; `what` names the layer in messages. */
export function readTar (pieces: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<TarEvent>
export function readTar (pieces: AsyncIterable<Uint8Array>, what: string, take: Unpacking['take'] | undefined): AsyncGenerator<TarEvent | TakenEvent>
export async function * readTar (pieces: AsyncIterable<Uint8Array>, what: string, take?: Unpacking['take']): AsyncGenerator<TarEvent | TakenEvent> {
  const reader = new ByteReader(pieces)
  const prelude: Prelude = { pax: NO_PAX, longName: null, longLink: null }
  try {
    for (;;) {
      const where = `${what}: tar offset ${reader.position}`
      const block = await nextHeader(reader, where)
      if (block === null) break
      const header = parseTarHeader(block, where)
      if (await readPrelude(header, reader, prelude, where)) continue
      yield * readEntry({ header, block, reader, prelude, where, take })
      Object.assign(prelude, { pax: NO_PAX, longName: null, longLink: null })
    }
    while (await reader.some(Number.MAX_SAFE_INTEGER) !== null); // what follows counts in the diffID only
  } finally {
    await reader.close()
  }
}

/** The next header block, or null at the end: two zero blocks, one zero block at the very end, or the very end. */
async function nextHeader (reader: ByteReader, where: string): Promise<Uint8Array | null> {
  const block = await blockOrEnd(reader, where)
  if (block === null || !isZeroBlock(block)) return block
  const second = await blockOrEnd(reader, where)
  if (second === null || isZeroBlock(second)) return null
  throw new SnapshotterError('LAYER_INVALID', `${where}: a zero block stands among the entries`)
}

async function blockOrEnd (reader: ByteReader, where: string): Promise<Uint8Array | null> {
  const block = await reader.take(TAR_BLOCK)
  if (block === null && reader.buffered.byteLength > 0) throw cut(where)
  return block
}

/** True when the header was only about the next one. */
async function readPrelude (header: TarHeader, reader: ByteReader, prelude: Prelude, where: string): Promise<boolean> {
  if (!'xgLK'.includes(header.type)) return false
  if (header.size < 0 || header.size > PAX_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${where}: extended header of ${header.size} bytes, limit ${PAX_BYTES_MAX}`)
  }
  const bytes = await reader.take(header.size)
  if (bytes === null || !await reader.skip(padding(header.size))) throw cut(where)
  if (header.type === 'x') prelude.pax = parsePax(bytes, where)
  if (header.type === 'L') prelude.longName = untilNul(bytes)
  if (header.type === 'K') prelude.longLink = untilNul(bytes)
  return true
}

interface Reading {
  readonly header: TarHeader
  readonly block: Uint8Array
  readonly reader: ByteReader
  readonly prelude: Prelude
  readonly where: string
  readonly take: Unpacking['take'] | undefined
}

async function * readEntry ({ header, block, reader, prelude, where, take }: Reading): AsyncGenerator<TarEvent | TakenEvent> {
  const entry = entryOf(header, prelude, where)
  if (entry.type !== 'file') {
    yield { kind: 'entry', entry }
    return
  }
  const old = header.type === 'S' ? await readOldSparse(block, reader, where) : null
  const mapAt = reader.position
  const sparse = old ?? await readPaxSparse(prelude.pax, reader, entry.size, where)
  const payload = entry.size - (reader.position - mapAt) // a 1.0 map is the payload's first part
  const content = sparse ?? { segments: [{ offset: 0, length: payload }], size: payload }
  checkSparse(content, payload, where)
  if (content.size > DATA_DEVICE_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${where}: file of ${content.size} bytes, limit ${DATA_DEVICE_BYTES_MAX}`)
  }
  yield { kind: 'entry', entry: { ...entry, size: content.size, path: sparseName(prelude, sparse) ?? entry.path } }
  if (take !== undefined && sparse === null && payload - reader.buffered.byteLength > UNPACK_TAKE_BYTES_MIN) {
    yield * takeData(payload, reader, where, take)
  } else yield * readData(content, reader, where)
  await reader.skip(padding(entry.size)) // the last entry's may be missing, as for Go
}

async function * readData (content: SparseFile, reader: ByteReader, where: string): AsyncGenerator<TarEvent> {
  for (const { offset, length } of content.segments) {
    for (let done = 0; done < length;) {
      const tarOffset = reader.position
      const bytes = await reader.some(length - done)
      if (bytes === null) throw cut(where)
      yield { kind: 'data', fileOffset: offset + done, tarOffset, bytes }
      done += bytes.byteLength
    }
  }
}

async function * takeData (length: number, reader: ByteReader, where: string, take: Unpacking['take']): AsyncGenerator<TakenEvent> {
  for (let done = 0; done < length; done += UNPACK_TAKE_BYTES) {
    const size = Math.min(length - done, UNPACK_TAKE_BYTES)
    const tarOffset = reader.position
    const prefix = reader.buffered
    const wanted = size - prefix.byteLength
    const passOn: Take = async (at) => {
      const { bytes, digests } = await take(prefix, wanted, at)
      if (bytes < wanted) throw cut(where)
      reader.advance(prefix.byteLength)
      reader.passed(wanted)
      return digests
    }
    yield { kind: 'taken', fileOffset: done, tarOffset, length: size, take: passOn }
    if (reader.position !== tarOffset + size) throw new SnapshotterError('INTERNAL', `${where}: nobody took ${size} bytes`)
  }
}

function sparseName (prelude: Prelude, sparse: SparseFile | null): string | null {
  const name = sparse === null ? undefined : prelude.pax.values.get('GNU.sparse.name')
  return name === undefined || name === '' ? null : name
}

function entryOf (header: TarHeader, { pax, longName, longLink }: Prelude, where: string): LayerEntry {
  const path = longName ?? nonEmpty(pax, 'path') ?? header.name
  const linkTarget = longLink ?? nonEmpty(pax, 'linkpath') ?? header.linkName
  const type = typeOf(header, path, where)
  if (path.length > PATH_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${where}: path of ${path.length} bytes, limit ${PATH_BYTES_MAX}`)
  }
  if (linkTarget.length > (type === 'hardlink' ? PATH_BYTES_MAX : LINK_TARGET_BYTES_MAX)) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${where}: link target of ${linkTarget.length} bytes, limit ${LINK_TARGET_BYTES_MAX}`)
  }
  const mtime = nonEmpty(pax, 'mtime')
  const time = mtime === null ? { seconds: header.mtime, nanoseconds: 0 } : paxTime(mtime, where)
  const size = paxNumber(pax, 'size', where) ?? header.size
  if (size < 0) throw new SnapshotterError('LAYER_INVALID', `${where}: negative size ${size}`)
  return {
    path,
    type,
    mode: header.mode & 0o7777,
    uid: paxNumber(pax, 'uid', where) ?? header.uid,
    gid: paxNumber(pax, 'gid', where) ?? header.gid,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    size: type === 'file' ? size : 0,
    deviceMajor: header.deviceMajor,
    deviceMinor: header.deviceMinor,
    linkTarget: type === 'symlink' || type === 'hardlink' ? linkTarget : '',
    xattrs: xattrsOf(pax)
  }
}

function typeOf (header: TarHeader, path: string, where: string): EntryType {
  const type = TYPES[header.type]
  if (type === undefined) {
    throw new SnapshotterError('LAYER_INVALID', `${where}: ${show(path)} has the tar type ${JSON.stringify(header.type)}`)
  }
  return header.type === '\0' && path.endsWith('/') ? 'directory' : type
}

function untilNul (bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return binary(bytes, 0, end < 0 ? bytes.byteLength : end)
}

function padding (size: number): number {
  return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK
}

function cut (where: string): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `${where}: the tar ends in the middle of an entry`)
}
