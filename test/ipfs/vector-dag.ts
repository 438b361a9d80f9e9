// The generated files of unixfs-vectors.json, and their DAGs as the reference importer makes them.
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { CarBlocks } from '../fakes/gateway.ts'

export interface Vector {
  readonly size: number
  readonly sha256: string
  readonly 'unixfs-v1-2025': string
  readonly 'unixfs-v0-2015': string
  readonly 'cidv1-256k-raw': string
  readonly trickle: string
}

export type ImporterName = Exclude<keyof Vector, 'size' | 'sha256'>
export const IMPORTERS: readonly ImporterName[] = ['unixfs-v1-2025', 'unixfs-v0-2015', 'cidv1-256k-raw', 'trickle']

export const vectors = JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/unixfs-vectors.json'), 'utf8')) as Vector[]

const MiB = 1 << 20
const OPTIONS: Record<ImporterName, NonNullable<Parameters<typeof importer>[2]>> = {
  'unixfs-v1-2025': { cidVersion: 1, rawLeaves: true, chunker: fixedSize({ chunkSize: MiB }), layout: balanced({ maxChildrenPerNode: 1024 }) },
  'unixfs-v0-2015': { cidVersion: 0, rawLeaves: false, chunker: fixedSize({ chunkSize: MiB / 4 }), layout: balanced({ maxChildrenPerNode: 174 }) },
  'cidv1-256k-raw': { cidVersion: 1, rawLeaves: true, chunker: fixedSize({ chunkSize: MiB / 4 }), layout: balanced({ maxChildrenPerNode: 174 }) },
  trickle: {
    cidVersion: 1, rawLeaves: true, chunker: fixedSize({ chunkSize: MiB }), layout: trickle({ maxChildrenPerNode: 1024 }), reduceSingleLeafToSelf: false
  }
}

let generated = Buffer.alloc(0)

/** sha256("unixfs-vector:" + block number), concatenated, cut to `size` bytes. */
export function vectorContent (size: number): Buffer {
  if (generated.byteLength < size) {
    const content = Buffer.alloc(Math.ceil(size / 32) * 32)
    for (let block = 0; block * 32 < size; block++) content.set(hash('sha256', `unixfs-vector:${block}`, 'buffer'), block * 32)
    generated = content
  }
  return generated.subarray(0, size)
}

export async function importContent (content: Uint8Array, options: NonNullable<Parameters<typeof importer>[2]>): Promise<{ blocks: CarBlocks, root: CID }> {
  const blocks = new CarBlocks()
  const store = { put: (cid: CID, bytes: Uint8Array): CID => { blocks.put(cid, bytes); return cid } }
  for await (const { cid } of importer([{ content }], store, { wrapWithDirectory: false, ...options })) {
    blocks.roots.push(cid)
  }
  return { blocks, root: blocks.root }
}

export async function importVector (content: Uint8Array, name: ImporterName): Promise<{ blocks: CarBlocks, root: CID }> {
  return await importContent(content, OPTIONS[name])
}
