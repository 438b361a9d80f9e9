// A LayerIndex as bytes and back, for the cache: compact, versioned, and decoded strictly, for even under a MAC a record
// may be older than this program. Link counts and chunk positions are not stored but follow from the rest.
//
// "IPSNIDX1", then unsigned LEB128 numbers (signed ones zigzagged) and length-prefixed bytes: format, prefetchBytes,
// inode count, inodes, chunk count, chunks. See `writeInode` and `writeChunk` for the order of fields.
import { SnapshotterError } from '../base/errors.ts'
import { LAYER_CHUNKS_MAX, LAYER_ENTRIES_MAX, XATTR_VALUE_BYTES_MAX } from '../base/limits.ts'
import { BinaryReader, BinaryWriter } from './binary-record.ts'
import { completeIndex } from './index-check.ts'
import type { Chunk, Inode, InodeKind, LayerIndex, NamedInode, Xattr } from './layer-index.ts'

const MAGIC = Buffer.from('IPSNIDX1')
const FORMATS: ReadonlyArray<LayerIndex['format']> = ['estargz', 'tar']
const KINDS: readonly InodeKind[] = ['file', 'directory', 'symlink', 'char', 'block', 'fifo']
const IMPLIED = 0x80
const DIGEST_BYTES = 32

export function encodeIndex (index: LayerIndex): Uint8Array {
  const writer = new BinaryWriter()
  writer.raw(MAGIC)
  writer.count(FORMATS.indexOf(index.format))
  writer.count(index.prefetchBytes)
  writer.count(index.inodes.length)
  for (const inode of index.inodes) writeInode(writer, inode)
  writer.count(index.chunks.length)
  for (const chunk of index.chunks) writeChunk(writer, chunk)
  return writer.finish()
}

/** @throws STATE_INVALID for anything that `encodeIndex` does not write. */
export function decodeIndex (record: Uint8Array): LayerIndex {
  const reader = new BinaryReader(record, 'stored layer index')
  if (Buffer.compare(reader.raw(MAGIC.byteLength), MAGIC) !== 0) throw reader.invalid('it has another version')
  const format = FORMATS[reader.count(FORMATS.length - 1)]
  const prefetchBytes = reader.count(Number.MAX_SAFE_INTEGER)
  const inodes: Inode[] = []
  let firstChunk = 0
  for (let left = reader.count(LAYER_ENTRIES_MAX); left > 0; left--) {
    const inode = readInode(reader, firstChunk)
    firstChunk += inode.chunkCount
    inodes.push(inode)
  }
  const chunks: Chunk[] = []
  for (let left = reader.count(LAYER_CHUNKS_MAX); left > 0; left--) chunks.push(readChunk(reader))
  reader.end()
  if (format === undefined) throw reader.invalid('it has no format')
  const problem = completeIndex(inodes, chunks)
  if (problem !== null) throw new SnapshotterError('STATE_INVALID', `stored layer index: ${problem}`)
  return { format, inodes, chunks, prefetchBytes }
}

function writeInode (writer: BinaryWriter, inode: Inode): void {
  writer.byte(KINDS.indexOf(inode.kind) | (inode.implied ? IMPLIED : 0))
  writer.count(inode.mode)
  writer.count(inode.uid)
  writer.count(inode.gid)
  writer.signed(inode.mtimeSeconds)
  writer.count(inode.mtimeNanoseconds)
  writer.count(inode.xattrs.length)
  for (const { name, value } of inode.xattrs) {
    writer.bytes(name)
    writer.bytes(value)
  }
  switch (inode.kind) {
    case 'file':
      writer.count(inode.size)
      writer.count(inode.chunkCount)
      break
    case 'directory':
      writer.count(inode.entries?.length ?? 0)
      for (const { name, inode: position } of inode.entries ?? []) {
        writer.bytes(name)
        writer.count(position)
      }
      break
    case 'symlink':
      writer.bytes(inode.target ?? new Uint8Array(0))
      break
    case 'char':
    case 'block':
      writer.count(inode.rdevMajor)
      writer.count(inode.rdevMinor)
      break
    case 'fifo':
  }
}

function readInode (reader: BinaryReader, firstChunk: number): Inode {
  const head = reader.byte()
  const kind = KINDS[head & ~IMPLIED]
  if (kind === undefined) throw reader.invalid('an inode has an unknown kind')
  const isDevice = kind === 'char' || kind === 'block'
  const mode = reader.count(0o7777)
  const uid = reader.count(0xffff_ffff)
  const gid = reader.count(0xffff_ffff)
  const mtimeSeconds = reader.signed()
  const mtimeNanoseconds = reader.count(999_999_999)
  const xattrs = readXattrs(reader)
  const size = kind === 'file' ? reader.count(Number.MAX_SAFE_INTEGER) : 0
  const chunkCount = kind === 'file' ? reader.count(LAYER_CHUNKS_MAX) : 0
  const entries = kind === 'directory' ? readEntries(reader) : null
  const target = kind === 'symlink' ? reader.bytes(4095) : null
  const rdevMajor = isDevice ? reader.count(0xfff) : 0
  const rdevMinor = isDevice ? reader.count(0xf_ffff) : 0
  return {
    kind, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, size: target?.byteLength ?? size, linkCount: 0, rdevMajor, rdevMinor, target,
    xattrs, entries, firstChunk, chunkCount, implied: (head & IMPLIED) !== 0
  }
}

function readXattrs (reader: BinaryReader): Xattr[] {
  const xattrs: Xattr[] = []
  for (let left = reader.count(0xffff); left > 0; left--) {
    xattrs.push({ name: reader.bytes(255), value: reader.bytes(XATTR_VALUE_BYTES_MAX) })
  }
  return xattrs
}

function readEntries (reader: BinaryReader): NamedInode[] {
  const entries: NamedInode[] = []
  for (let left = reader.count(LAYER_ENTRIES_MAX); left > 0; left--) {
    entries.push({ name: reader.bytes(255), inode: reader.count(LAYER_ENTRIES_MAX) })
  }
  return entries
}

function writeChunk (writer: BinaryWriter, chunk: Chunk): void {
  writer.count(chunk.fileOffset)
  writer.count(chunk.size)
  writer.count(chunk.offset)
  writer.count(chunk.length)
  writer.count(chunk.innerOffset)
  writer.raw(chunk.digest)
}

function readChunk (reader: BinaryReader): Chunk {
  const count = (): number => reader.count(Number.MAX_SAFE_INTEGER)
  return { fileOffset: count(), size: count(), offset: count(), length: count(), innerOffset: count(), digest: reader.raw(DIGEST_BYTES) }
}
