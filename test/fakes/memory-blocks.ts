// A BlockService over blocks in memory, with the real check of every block on every read and UnixFS read by other code than
// ours (ipfs-unixfs-exporter). Tests put blocks in, damage them, take them away and count what was asked for.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { CarReader } from '@ipld/car'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { exporter, type UnixFSEntry } from 'ipfs-unixfs-exporter'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { isSnapshotterError, SnapshotterError } from '../../src/base/errors.ts'
import type { BlockService, DirectoryEntry, ServiceActivity, SourceStatus, UnixfsFile, Waits } from '../../src/ipfs/blocks.ts'
import { type VerifiedBytes, verifiedConcat, verifyBlock } from '../../src/verify/verified-bytes.ts'

const RAW = 0x55
const DAG_PB = 0x70

export class MemoryBlocks implements BlockService {
  readonly blocks = new Map<string, { readonly cid: CID, bytes: Uint8Array }>()
  /** CIDs asked for, in order. */
  readonly asked: string[] = []
  /** Never answers until the signal fires. */
  hangs = false

  static async fromCar (path: string): Promise<MemoryBlocks> {
    const service = new MemoryBlocks()
    const reader = await CarReader.fromBytes(await readFile(path))
    for await (const { cid, bytes } of reader.blocks()) service.blocks.set(keyOf(cid), { cid, bytes })
    return service
  }

  put (bytes: Uint8Array, codec: number = RAW): CID {
    const cid = CID.createV1(codec, createMultihash(0x12, createHash('sha256').update(bytes).digest()))
    this.blocks.set(keyOf(cid), { cid, bytes })
    return cid
  }

  /** A file of one raw block, or of `chunk`-sized leaves below one dag-pb node. */
  putFile (content: Uint8Array | string, chunk = 1 << 20): CID {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    if (bytes.byteLength <= chunk) return this.put(bytes)
    const file = new UnixFS({ type: 'file' })
    const links: dagPb.PBLink[] = []
    for (let at = 0; at < bytes.byteLength; at += chunk) {
      const leaf = bytes.subarray(at, at + chunk)
      file.addBlockSize(BigInt(leaf.byteLength))
      links.push({ Hash: this.put(leaf), Name: '', Tsize: leaf.byteLength })
    }
    return this.put(dagPb.encode({ Data: file.marshal(), Links: links }), DAG_PB)
  }

  putDirectory (entries: Readonly<Record<string, CID>>): CID {
    const Links = Object.entries(entries).map(([Name, Hash]) => ({ Name, Hash, Tsize: 0 }))
    return this.put(dagPb.encode(dagPb.prepare({ Data: new UnixFS({ type: 'directory' }).marshal(), Links })), DAG_PB)
  }

  async get (cid: CID, waits: Waits = {}): Promise<VerifiedBytes> {
    this.asked.push(cid.toString())
    waits.signal?.throwIfAborted()
    if (this.hangs) await new Promise((_resolve, reject) => waits.signal?.addEventListener('abort', () => reject(waits.signal?.reason as Error)))
    if (cid.multihash.code === 0) return verifyBlock(cid, cid.multihash.digest, 'the CID itself')
    const block = this.blocks.get(keyOf(cid))
    if (block === undefined) throw new SnapshotterError('ROOT_NOT_FOUND', `${cid.toString()}: not pinned or not provided; checked: memory`)
    return verifyBlock(cid, block.bytes, 'memory')
  }

  async openFile (cid: CID, waits: Waits = {}): Promise<UnixfsFile> {
    const entry = await this.#open(cid, waits)
    if (entry.type === 'directory' || entry.type === 'object') throw new SnapshotterError('BLOCK_INVALID', `${cid.toString()} is a ${entry.type}, not a file`)
    const open = this.#open.bind(this)
    async function * stream (offset: number, length: number, waits: Waits = {}): AsyncIterable<VerifiedBytes> {
      const fresh = await open(cid, waits)
      if (fresh.type === 'directory' || fresh.type === 'object') throw new Error('unreachable')
      // Parts of blocks that this very read verified.
      for await (const part of fresh.content({ offset, length })) yield part as VerifiedBytes
    }
    return {
      cid,
      size: Number(entry.type === 'file' ? entry.unixfs.fileSize() : entry.size),
      read: async (offset, length, waits) => verifiedConcat(await collect(stream(offset, length, waits))),
      stream
    }
  }

  async listDirectory (cid: CID, waits: Waits = {}): Promise<DirectoryEntry[] | null> {
    const entry = await this.#open(cid, waits)
    if (entry.type !== 'directory') return null
    return (await collect(entry.entries())).map(({ name, cid }) => ({ name, cid }))
  }

  async readAll (cid: CID, maxBytes: number, waits: Waits = {}): Promise<VerifiedBytes> {
    const file = await this.openFile(cid, waits)
    if (file.size > maxBytes) throw new SnapshotterError('LIMIT_EXCEEDED', `${cid.toString()}: ${file.size} bytes, limit ${maxBytes}`)
    return await file.read(0, file.size, waits)
  }

  async resolvePath (root: CID, names: readonly string[], waits: Waits = {}): Promise<CID | null> {
    let at: CID | undefined = root
    for (const name of names) {
      const entries: DirectoryEntry[] | null = await this.listDirectory(at, waits)
      at = entries?.find((entry) => entry.name === name)?.cid
      if (at === undefined) return null
    }
    return at
  }

  sources (): SourceStatus[] {
    const said = { failures: 0, failuresByCode: {}, bytes: 0, budget: null, retryAt: null, health: 'ok', usualMs: null } as const
    return [{ name: 'memory', type: 'car', requests: this.asked.length, blocks: this.asked.length, ...said }]
  }

  activity (): ServiceActivity {
    return { sources: [], gate: { foreground: 0, held: 0 } }
  }

  async close (): Promise<void> { /* nothing is open */ }

  async #open (cid: CID, waits: Waits): Promise<UnixFSEntry> {
    try {
      return await exporter(cid, this.#store(waits))
    } catch (cause) {
      if (isSnapshotterError(cause) || waits.signal?.aborted === true) throw cause
      throw new SnapshotterError('BLOCK_INVALID', `${cid.toString()}: ${String(cause)}`, {}, { cause })
    }
  }

  #store (waits: Waits): Parameters<typeof exporter>[1] {
    const get = this.get.bind(this)
    return { get: async function * (cid: CID) { yield await get(cid, waits) } }
  }
}

async function collect<Item> (items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of items) all.push(item)
  return all
}

/** v0 and v1 of one dag-pb block are the same block. */
function keyOf (cid: CID): string {
  return Buffer.from(cid.multihash.bytes).toString('hex')
}
