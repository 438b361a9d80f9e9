// A byte stream as a UnixFS file, balanced: by profile unixfs-v1-2025 (IPIP-499: 1 MiB raw leaves, or what is asked for, 1024
// links), or in another shape that Kubo has. Streaming: one leaf and one node per level are in memory. Our own and not
// @helia/unixfs, whose importer holds about 230 MB for a 1 GiB stream and loses the order of blocks; the tests hold both
// against each other.
import type { CID } from 'multiformats/cid'
import { UNIXFS_CHUNK_BYTES, UNIXFS_LINKS } from '../base/limits.ts'
import { type VerifiedBytes, verifiedConcat, verifiedPart } from '../verify/verified-bytes.ts'
import type { BlockPlace, CarFile } from './car-writer.ts'
import { encodeNode, nodeCid, rawCid } from './dag-pb.ts'

export interface Leaf { readonly cid: CID, readonly place: BlockPlace }

export interface FileRoot {
  readonly cid: CID
  readonly size: number
  /** Bytes of all its blocks, shared ones counted each time: what a directory's link says. */
  readonly tsize: number
}

export interface ImportedFile extends FileRoot {
  /** In file order, all of `leafBytes` but the last: lets the file be read back. */
  readonly leaves: readonly Leaf[]
  readonly leafBytes: number
}

export interface FileShape {
  readonly leafBytes: number
  /** Of a node. */
  readonly links: number
  /** Leaves are raw blocks; else dag-pb nodes. */
  readonly rawLeaves: boolean
  /** The CID of a node. */
  readonly nodeCid: (bytes: Uint8Array) => CID
}

const PROFILE: FileShape = { leafBytes: UNIXFS_CHUNK_BYTES, links: UNIXFS_LINKS, rawLeaves: true, nodeCid }

/** Writes leaves and nodes to the CAR as they fill. */
export async function importFile (
  car: Pick<CarFile, 'put'>, stream: AsyncIterable<Uint8Array>, leafBytes = UNIXFS_CHUNK_BYTES
): Promise<ImportedFile> {
  const leaves: Leaf[] = []
  const root = await importShaped(stream, { ...PROFILE, leafBytes }, async (cid, bytes, isLeaf) => {
    const place = await car.put(cid, bytes)
    if (isLeaf) leaves.push({ cid, place })
  })
  return { ...root, leaves, leafBytes }
}

type PutBlock = (cid: CID, bytes: Uint8Array, isLeaf: boolean) => Promise<void>

/** Puts leaves and nodes as they fill; a leaf's bytes are used again after it was put. */
export async function importShaped (stream: AsyncIterable<Uint8Array>, shape: FileShape, put: PutBlock): Promise<FileRoot> {
  const tree = new Tree(shape, put)
  const leaf = Buffer.allocUnsafeSlow(shape.leafBytes)
  let filled = 0
  for await (const piece of stream) {
    for (let at = 0; at < piece.byteLength;) {
      const part = piece.subarray(at, at + shape.leafBytes - filled)
      leaf.set(part, filled)
      filled += part.byteLength
      at += part.byteLength
      if (filled < shape.leafBytes) continue
      await tree.addLeaf(leaf)
      filled = 0
    }
  }
  if (filled > 0 || tree.isEmpty) await tree.addLeaf(leaf.subarray(0, filled))
  return await tree.root()
}

/** Reads an imported file back out of the CAR, each block verified. */
export async function readBack (car: Pick<CarFile, 'read'>, file: ImportedFile, offset: number, length: number): Promise<VerifiedBytes> {
  const { leafBytes } = file
  const parts: VerifiedBytes[] = []
  const end = Math.min(offset + length, file.size)
  for (let at = offset; at < end;) {
    const position = Math.floor(at / leafBytes)
    const leaf = file.leaves[position]
    if (leaf === undefined) break
    const start = at - position * leafBytes
    const block = await car.read(leaf.cid, leaf.place)
    parts.push(verifiedPart(block, start, Math.min(leaf.place.length, end - position * leafBytes)))
    at = (position + 1) * leafBytes
  }
  const [only] = parts
  return parts.length === 1 && only !== undefined ? only : verifiedConcat(parts)
}

interface Child { readonly cid: CID, readonly size: number, readonly tsize: number }

/** Levels fill from below; a full level becomes one child of the next, so only the right edge is in memory. */
class Tree {
  readonly #shape: FileShape
  readonly #put: PutBlock
  readonly #levels: Child[][] = []

  constructor (shape: FileShape, put: PutBlock) {
    this.#shape = shape
    this.#put = put
  }

  get isEmpty (): boolean {
    return this.#levels.length === 0
  }

  async addLeaf (content: Uint8Array): Promise<void> {
    const { rawLeaves, nodeCid } = this.#shape
    const size = content.byteLength
    const bytes = rawLeaves ? content : encodeNode([], { type: 'file', ...size > 0 ? { data: content } : {}, fileSize: size })
    const cid = rawLeaves ? rawCid(bytes) : nodeCid(bytes)
    await this.#put(cid, bytes, true)
    await this.#add(0, { cid, size, tsize: bytes.byteLength })
  }

  async root (): Promise<Child> {
    for (let height = 0; ; height++) {
      const level = this.#levels[height] ?? []
      const [only] = level
      if (height === this.#levels.length - 1 && level.length === 1 && only !== undefined) return only
      await this.#fold(height)
    }
  }

  async #add (height: number, child: Child): Promise<void> {
    if (this.#levels[height]?.length === this.#shape.links) await this.#fold(height)
    const level = this.#levels[height] ??= []
    level.push(child)
  }

  async #fold (height: number): Promise<void> {
    const children = this.#levels[height] ?? []
    this.#levels[height] = []
    const size = children.reduce((sum, child) => sum + child.size, 0)
    const bytes = encodeNode(children.map(({ cid, tsize }) => ({ name: '', cid, tsize })),
      { type: 'file', fileSize: size, blockSizes: children.map((child) => child.size) })
    const cid = this.#shape.nodeCid(bytes)
    await this.#put(cid, bytes, false)
    await this.#add(height + 1, { cid, size, tsize: children.reduce((sum, child) => sum + child.tsize, bytes.byteLength) })
  }
}
