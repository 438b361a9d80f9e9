// A CAR read back by code that is not publish's: @ipld/car for the file, Helia for UnixFS. Checks on the way what every
// CAR of ours must hold to: each block hashes, stands there once, and is reached from the roots.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unixfs } from '@helia/unixfs'
import { CarBlockIterator } from '@ipld/car'
import type { CID } from 'multiformats/cid'
import { decodeDagPb } from '../../src/ipfs/dag-pb.ts'
import { publish, type Published, type PublishOptions } from '../../src/publish/publish.ts'

export const images = join(import.meta.dirname, '..', 'fixtures', 'images')

export interface Layout {
  readonly roots: readonly string[]
  readonly blocks: number
  /** Path below the first root → bytes. */
  readonly files: ReadonlyMap<string, Buffer>
  /** The raw block of the second root, if any. */
  readonly second: Buffer | null
}

/** A folder for one test; gone afterwards. */
export async function inFolder<Result> (work: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'publish-test-'))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Publishes with the defaults of the command. */
export async function publishTo (car: string, source: string, more: Partial<PublishOptions> = {}): Promise<Published> {
  return await publish({
    source, car, format: 'estargz', platforms: [], wanted: [], chunkBytes: 256 * 1024, level: 6, concurrency: 4, report: () => {}, ...more
  })
}

/** Names of what a folder holds, temporary files too. */
export async function namesIn (folder: string): Promise<string[]> {
  return (await readdir(folder)).sort()
}

/** @throws when the CAR breaks a promise. */
export async function readLayout (car: string): Promise<Layout> {
  const iterator = await CarBlockIterator.fromIterable(createReadStream(car))
  const roots = await iterator.getRoots()
  const blocks = new Map<string, { cid: CID, bytes: Uint8Array }>()
  for await (const { cid, bytes } of iterator) {
    const key = cid.toString()
    if (blocks.has(key)) throw new Error(`block ${key} stands twice`)
    const hash = createHash('sha256').update(bytes).digest()
    if (!hash.equals(cid.multihash.digest)) throw new Error(`block ${key} does not hash`)
    blocks.set(key, { cid, bytes })
  }
  const reached = new Set<string>()
  for (const root of roots) reach(root, blocks, reached)
  const orphans = [...blocks.keys()].filter((key) => !reached.has(key))
  if (orphans.length > 0) throw new Error(`blocks that no root reaches: ${orphans.join(', ')}`)

  const store = { get: async function * (cid: CID) { yield blocks.get(cid.toString())?.bytes ?? new Uint8Array() }, has: async () => true }
  const helia = unixfs({ blockstore: store } as unknown as Parameters<typeof unixfs>[0])
  const files = new Map<string, Buffer>()
  const visit = async (cid: CID, path: string): Promise<void> => {
    for await (const entry of helia.ls(cid)) {
      const below = path === '' ? entry.name : `${path}/${entry.name}`
      const { type } = await helia.stat(entry.cid)
      if (type === 'directory') await visit(entry.cid, below)
      else files.set(below, await collect(helia.cat(entry.cid)))
    }
  }
  const [first, second] = roots
  if (first === undefined) throw new Error('no root')
  await visit(first, '')
  return {
    roots: roots.map((root) => root.toString()),
    blocks: blocks.size,
    files,
    second: second === undefined ? null : Buffer.from(blocks.get(second.toString())?.bytes ?? [])
  }
}

export function sha256 (bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** A blob of the layout by digest. */
export function blobOf ({ files }: Layout, digest: string): Buffer {
  const blob = files.get(`blobs/sha256/${digest.slice('sha256:'.length)}`)
  if (blob === undefined) throw new Error(`no blob ${digest}`)
  if (sha256(blob) !== digest) throw new Error(`blob ${digest} has other bytes`)
  return blob
}

export function jsonOf (bytes: Uint8Array): Record<string, unknown> {
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>
}

function reach (cid: CID, blocks: ReadonlyMap<string, { bytes: Uint8Array }>, reached: Set<string>): void {
  const key = cid.toString()
  if (reached.has(key)) return
  const block = blocks.get(key)
  if (block === undefined) throw new Error(`block ${key} is missing`)
  reached.add(key)
  if (cid.code !== 0x70) return
  const node = decodeDagPb(cid, block.bytes)
  for (let at = 0; at < node.links; at++) reach(node.cid(at), blocks, reached)
}

async function collect (pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const piece of pieces) parts.push(piece)
  return Buffer.concat(parts)
}
