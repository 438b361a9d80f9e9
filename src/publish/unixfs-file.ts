// A byte stream as a UnixFS file by profile unixfs-v1-2025 (IPIP-499): 1 MiB raw leaves (or what is asked for), balanced,
// 1024 links. Streaming:
// one leaf and one node per level are in memory. Our own and not @helia/unixfs, whose importer holds about 230 MB for a
// 1 GiB stream and loses the order of blocks; the tests hold both against each other.
import type { CID } from 'multiformats/cid'
import { UNIXFS_CHUNK_BYTES, UNIXFS_LINKS } from '../base/limits.ts'
import { type VerifiedBytes, verifiedConcat, verifiedPart } from '../verify/verified-bytes.ts'
import type { BlockPlace, CarFile } from './car-writer.ts'
import { encodeNode, nodeCid, rawCid } from './dag-pb.ts'

export interface Leaf { readonly cid: CID, readonly place: BlockPlace }

export interface ImportedFile {
  readonly cid: CID
  readonly size: number
  /** Bytes of all its blocks, shared ones counted each time: what a directory's link says. */
  readonly tsize: number
  /** In file order, all of `leafBytes` but the last: lets the file be read back. */
  readonly leaves: readonly Leaf[]
  readonly leafBytes: number
}

interface Child { readonly cid: CID, readonly size: number, readonly tsize: number }

/** Writes leaves and nodes to the CAR as they fill. */
export async function importFile (
  car: Pick<CarFile, 'put'>, stream: AsyncIterable<Uint8Array>, leafBytes = UNIXFS_CHUNK_BYTES
): Promise<ImportedFile> {
  const tree = new Tree(car)
  const leaf = Buffer.allocUnsafeSlow(leafBytes)
  let filled = 0
  for await (const piece of stream) {
    for (let at = 0; at < piece.byteLength;) {
      const part = piece.subarray(at, at + leafBytes - filled)
      leaf.set(part, filled)
      filled += part.byteLength
      at += part.byteLength
      if (filled < leafBytes) continue
      await tree.addLeaf(leaf)
      filled = 0
    }
  }
  if (filled > 0 || tree.leaves.length === 0) await tree.addLeaf(leaf.subarray(0, filled))
  const root = await tree.root()
  return { ...root, leaves: tree.leaves, leafBytes }
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

/** Levels fill from below; a full level becomes one child of the next, so only the right edge is in memory. */
class Tree {
  readonly leaves: Leaf[] = []
  readonly #car: Pick<CarFile, 'put'>
  readonly #levels: Child[][] = []

  constructor (car: Pick<CarFile, 'put'>) {
    this.#car = car
  }

  async addLeaf (bytes: Uint8Array): Promise<void> {
    const cid = rawCid(bytes)
    this.leaves.push({ cid, place: await this.#car.put(cid, bytes) })
    await this.#add(0, { cid, size: bytes.byteLength, tsize: bytes.byteLength })
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
    if (this.#levels[height]?.length === UNIXFS_LINKS) await this.#fold(height)
    const level = this.#levels[height] ??= []
    level.push(child)
  }

  async #fold (height: number): Promise<void> {
    const children = this.#levels[height] ?? []
    this.#levels[height] = []
    const size = children.reduce((sum, child) => sum + child.size, 0)
    const bytes = encodeNode(children.map(({ cid, tsize }) => ({ name: '', cid, tsize })),
      { type: 'file', fileSize: size, blockSizes: children.map((child) => child.size) })
    const cid = nodeCid(bytes)
    await this.#car.put(cid, bytes)
    await this.#add(height + 1, { cid, size, tsize: children.reduce((sum, child) => sum + child.tsize, bytes.byteLength) })
  }
}
