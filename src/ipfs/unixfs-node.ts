// Decodes the UnixFS message of a dag-pb node and checks what a reader must check (UnixFS spec): one block size a
// link, nameless file links, sums that agree. Sizes that a publisher made up are caught here or when the child arrives.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { CODE_RAW } from '../verify/cid.ts'
import { type VerifiedBytes, verifiedPart } from '../verify/verified-bytes.ts'
import { type DagPbNode, decodeDagPb } from './dag-pb.ts'
import { ProtobufReader, WIRE_BYTES, WIRE_VARINT } from './protobuf.ts'

const KINDS = ['raw', 'directory', 'file', 'metadata', 'symlink', 'hamt'] as const
export type UnixfsKind = typeof KINDS[number]

export interface UnixfsMessage {
  readonly kind: UnixfsKind
  /** Inline bytes: a leaf's content, or what stands before the children. */
  readonly data: Uint8Array
  readonly fileSize: number | null
  readonly blockSizes: readonly number[]
  /** Slots of a sharded directory's node. */
  readonly fanout: number | null
}

const FIELD_TYPE = 1 << 3 | WIRE_VARINT
const FIELD_DATA = 2 << 3 | WIRE_BYTES
const FIELD_FILESIZE = 3 << 3 | WIRE_VARINT
const FIELD_BLOCKSIZE = 4 << 3 | WIRE_VARINT
const FIELD_BLOCKSIZES = 4 << 3 | WIRE_BYTES
const FIELD_FANOUT = 6 << 3 | WIRE_VARINT

const NOTHING = new Uint8Array(0)

/** @throws BLOCK_INVALID when `node` carries no UnixFS message or a broken one. */
export function decodeUnixfs (cid: CID, node: DagPbNode): UnixfsMessage {
  if (node.data === null) throw new SnapshotterError('BLOCK_INVALID', `node ${cid.toString()} carries no UnixFS data`)
  const reader = new ProtobufReader(node.data, () => `UnixFS data of ${cid.toString()}`)
  let kind: UnixfsKind | undefined
  let data: Uint8Array | null = null
  let fileSize: number | null = null
  let fanout: number | null = null
  const blockSizes: number[] = []
  while (!reader.done) {
    const tag = reader.tag()
    if (tag === FIELD_TYPE) {
      if (kind !== undefined) reader.fail('second type')
      const type = reader.uint()
      kind = KINDS[type]
      if (kind === undefined) reader.fail(`type ${type}`)
    } else if (tag === FIELD_DATA) {
      if (data !== null) reader.fail('second data')
      data = reader.bytes()
    } else if (tag === FIELD_FILESIZE) {
      if (fileSize !== null) reader.fail('second file size')
      fileSize = reader.uint()
    } else if (tag === FIELD_BLOCKSIZE) {
      blockSizes.push(reader.uint())
    } else if (tag === FIELD_BLOCKSIZES) { // proto2 parsers accept repeated numbers packed, too
      readPacked(reader, blockSizes)
    } else if (tag === FIELD_FANOUT) {
      fanout = reader.uint()
    } else {
      reader.skip(tag & 7) // mode, mtime, hash type, and what later versions add
    }
  }
  if (kind === undefined) return reader.fail('no type')
  return { kind, data: data ?? NOTHING, fileSize, blockSizes, fanout }
}

function readPacked (reader: ProtobufReader, into: number[]): void {
  const end = reader.bytesEnd()
  while (reader.at < end) into.push(reader.uint())
  if (reader.at !== end) reader.fail('packed numbers do not fill their field')
}

/** One node of a file's tree: its own bytes first, then its children's. */
export interface FileNode {
  /** Bytes of the file below and in this node. */
  readonly size: number
  readonly inline: VerifiedBytes
  readonly children: number
  /** `children + 1` offsets from the node's first byte: child i holds [starts[i], starts[i + 1]). */
  readonly starts: Float64Array
  readonly cid: (child: number) => CID
}

const decoded = new WeakMap<VerifiedBytes, FileNode>()

/**
 * Reads a block as a node of a file; remembered as long as the block lives.
 * @throws BLOCK_INVALID for directories, symlinks, sizes that do not add up, named links.
 */
export function decodeFileNode (cid: CID, bytes: VerifiedBytes): FileNode {
  if (cid.code === CODE_RAW) return leaf(bytes)
  const known = decoded.get(bytes)
  if (known !== undefined) return known
  const node = decodeDagPb(cid, bytes)
  const message = decodeUnixfs(cid, node)
  const file = fileNode(cid, bytes, node, message)
  decoded.set(bytes, file)
  return file
}

function leaf (bytes: VerifiedBytes): FileNode {
  const none = (): never => { throw new SnapshotterError('INTERNAL', 'a leaf has no children') }
  return { size: bytes.byteLength, inline: bytes, children: 0, starts: Float64Array.of(bytes.byteLength), cid: none }
}

function fileNode (cid: CID, bytes: VerifiedBytes, node: DagPbNode, { kind, data, fileSize, blockSizes }: UnixfsMessage): FileNode {
  const refuse = (why: string): never => { throw new SnapshotterError('BLOCK_INVALID', `file node ${cid.toString()}: ${why}`) }
  if (kind !== 'file' && kind !== 'raw') refuse(`it is a ${kind === 'hamt' ? 'sharded directory' : kind}, not a file`)
  if (blockSizes.length !== node.links) refuse(`${node.links} links but ${blockSizes.length} block sizes`)

  const starts = new Float64Array(node.links + 1)
  starts[0] = data.byteLength
  let size = data.byteLength
  for (const [child, bytesBelow] of blockSizes.entries()) {
    if (node.nameBytes(child).byteLength > 0) refuse(`link ${child} has a name`)
    size += bytesBelow
    starts[child + 1] = size
  }
  if (size > Number.MAX_SAFE_INTEGER) refuse('sizes over 2^53')
  if (fileSize !== null && fileSize !== size) refuse(`it says ${fileSize} bytes, its parts have ${size}`)

  const from = data.byteOffset - bytes.byteOffset
  const inline = verifiedPart(bytes, data.byteLength === 0 ? 0 : from, data.byteLength === 0 ? 0 : from + data.byteLength)
  return { size, inline, children: node.links, starts, cid: (child) => node.cid(child) }
}
