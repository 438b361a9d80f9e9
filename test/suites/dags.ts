// Blocks, UnixFS nodes and CAR files for tests, made with the public IPLD libraries and not with the code under test.
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { CarReader } from '@ipld/car'
import { addBlock, addRoot, blockLength, close, createWriter, headerLength } from '@ipld/car/buffer-writer'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'

export const RAW = 0x55
export const DAG_PB = 0x70
export const DAG_CBOR = 0x71

export interface Block { readonly cid: CID, readonly bytes: Uint8Array }
/** A file's root with all blocks below it, and where its bytes are: for reference answers. */
export interface FileDag {
  readonly root: Block
  readonly size: number
  readonly inline: number
  readonly children: readonly FileDag[]
}

export function block (bytes: Uint8Array | string, codec: number = RAW): Block {
  const content = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
  return { cid: CID.createV1(codec, createMultihash(0x12, createHash('sha256').update(content).digest())), bytes: content }
}

export function identityCid (bytes: Uint8Array | string, codec: number = RAW): CID {
  return CID.createV1(codec, createMultihash(0, typeof bytes === 'string' ? Buffer.from(bytes) : bytes))
}

export function directory (entries: Readonly<Record<string, CID>>): Block {
  const links = Object.entries(entries).map(([Name, Hash]) => ({ Name, Hash, Tsize: 1 }))
  return block(dagPb.encode(dagPb.prepare({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: links })), DAG_PB)
}

export function symlink (target: string): Block {
  return block(dagPb.encode({ Data: new UnixFS({ type: 'symlink', data: Buffer.from(target) }).marshal(), Links: [] }), DAG_PB)
}

export function leaf (bytes: Uint8Array): FileDag {
  return { root: block(bytes), size: bytes.byteLength, inline: bytes.byteLength, children: [] }
}

export function fileNode (children: readonly FileDag[], inline: Uint8Array = new Uint8Array(0)): FileDag {
  const message = new UnixFS({ type: 'file', ...inline.byteLength > 0 ? { data: inline } : {} })
  for (const child of children) message.addBlockSize(BigInt(child.size))
  const root = block(dagPb.encode({
    Data: message.marshal(), Links: children.map(({ root, size }) => ({ Name: '', Hash: root.cid, Tsize: size }))
  }), DAG_PB)
  return { root, size: inline.byteLength + children.reduce((sum, { size }) => sum + size, 0), inline: inline.byteLength, children }
}

/** Every block of the file, depth first, repeats included. */
export function blocksOf (file: FileDag): Block[] {
  return [file.root, ...file.children.flatMap(blocksOf)]
}

/** The blocks that hold bytes [from, to) of the file, depth first: the file's root always, an empty child never. */
export function blocksOfRange (file: FileDag, from: number, to: number): Block[] {
  let at = file.inline
  return [file.root, ...file.children.flatMap((child) => {
    const start = at
    at += child.size
    const first = Math.max(from, start); const last = Math.min(to, at)
    return first < last ? blocksOfRange(child, first - start, last - start) : []
  })]
}

export function carBytes (roots: readonly CID[], blocks: readonly Block[]): Uint8Array {
  const size = headerLength({ roots: [...roots] }) + blocks.reduce((sum, item) => sum + blockLength(item), 0)
  const writer = createWriter(new ArrayBuffer(size), { headerSize: headerLength({ roots: [...roots] }) })
  for (const root of roots) addRoot(writer, root)
  for (const item of blocks) addBlock(writer, item)
  return close(writer)
}

export function writeCar (path: string, roots: readonly CID[], blocks: readonly Block[]): string {
  writeFileSync(path, carBytes(roots, blocks))
  return path
}

export async function readCar (bytes: Uint8Array): Promise<{ roots: CID[], blocks: Block[] }> {
  const reader = await CarReader.fromBytes(bytes)
  const blocks: Block[] = []
  for await (const { cid, bytes } of reader.blocks()) blocks.push({ cid, bytes })
  return { roots: await reader.getRoots(), blocks }
}

export function names (blocks: ReadonlyArray<Block | CID>): string[] {
  return blocks.map((item) => 'bytes' in item && 'cid' in item ? item.cid.toString() : String(item))
}
