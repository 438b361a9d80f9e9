// Which blocks a CAR answer holds, in order, for the fake gateway: read with the reference libraries, not with our decoders.
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'

export interface FakeBlocks {
  /** By multihash: CIDv0 and v1 are one block. */
  readonly get: (cid: CID) => Uint8Array | undefined
}

export interface DagQuery {
  readonly root: CID
  readonly names: readonly string[]
  readonly scope: 'block' | 'entity' | 'all'
  /** Inclusive, as `entity-bytes` says it. */
  readonly range: { readonly from: number, readonly to: number } | null
}

export interface DagBlock {
  readonly cid: CID
  readonly bytes: Uint8Array
}

interface Parsed {
  readonly links: readonly dagPb.PBLink[]
  readonly unixfs: UnixFS | null
}

const IDENTITY = 0

/** Depth first, each block once. Null when the path leads nowhere. */
export function dagBlocks (blocks: FakeBlocks, query: DagQuery): DagBlock[] | null {
  const found: DagBlock[] = []
  const seen = new Set<string>()
  const emit = (cid: CID): Parsed | null => {
    const bytes = load(blocks, cid)
    if (bytes === undefined) return null
    const key = Buffer.from(cid.multihash.bytes).toString('hex')
    if (!seen.has(key) && cid.multihash.code !== IDENTITY) found.push({ cid, bytes })
    seen.add(key)
    return parse(cid, bytes)
  }
  let terminal = query.root
  for (const name of query.names) {
    const next = step(emit, terminal, name)
    if (next === null) return null
    terminal = next
  }
  const node = emit(terminal)
  if (node === null) return null
  if (query.scope !== 'block') below(emit, node, query, 0)
  return found
}

function load (blocks: FakeBlocks, cid: CID): Uint8Array | undefined {
  return cid.multihash.code === IDENTITY ? cid.multihash.digest : blocks.get(cid)
}

function parse (cid: CID, bytes: Uint8Array): Parsed {
  if (cid.code !== dagPb.code) return { links: [], unixfs: null }
  const node = dagPb.decode(bytes)
  return { links: node.Links, unixfs: node.Data === undefined ? null : UnixFS.unmarshal(node.Data) }
}

function step (emit: (cid: CID) => Parsed | null, cid: CID, name: string): CID | null {
  const node = emit(cid)
  if (node?.unixfs?.type === 'directory') return node.links.find((link) => link.Name === name)?.Hash ?? null
  if (node?.unixfs?.type !== 'hamt-sharded-directory') return null
  for (const link of node.links) {
    if (link.Name?.slice(2) === name) return link.Hash
    if (link.Name?.length !== 2) continue
    const deeper = step(emit, link.Hash, name)
    if (deeper !== null) return deeper
  }
  return null
}

function below (emit: (cid: CID) => Parsed | null, node: Parsed, query: DagQuery, base: number, walked = new Set<string>()): void {
  const kind = node.unixfs?.type
  let at = base + (node.unixfs?.data?.byteLength ?? 0)
  for (const [index, link] of node.links.entries()) {
    const size = Number(node.unixfs?.blockSizes[index] ?? 0n)
    const start = at
    at += size
    const inRange = query.range === null || (start <= query.range.to && start + size > query.range.from)
    if (kind !== 'file' && walked.has(link.Hash.toString())) continue
    walked.add(link.Hash.toString())
    if (kind === 'file' ? !inRange : query.scope === 'entity' && !(kind === 'hamt-sharded-directory' && link.Name?.length === 2)) continue
    const child = emit(link.Hash)
    if (child !== null) below(emit, child, query, start, walked)
  }
}

/** CARv1 header, then head and block of each section; blocks are not copied. */
export function * carPieces (root: CID, blocks: Iterable<DagBlock>): Generator<Uint8Array> {
  const link = Buffer.concat([Buffer.from([0]), root.bytes])
  const header = Buffer.concat([
    Buffer.from([0xa2, 0x65]), Buffer.from('roots'), Buffer.from([0x81, 0xd8, 0x2a, ...bytesHead(link.byteLength)]), link,
    Buffer.from([0x67]), Buffer.from('version'), Buffer.from([1])
  ])
  yield Buffer.concat([varint(header.byteLength), header])
  for (const { cid, bytes } of blocks) {
    yield Buffer.concat([varint(cid.bytes.byteLength + bytes.byteLength), cid.bytes])
    if (bytes.byteLength > 0) yield bytes
  }
}

export function varint (value: number): Uint8Array {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest])
    bytes.push(rest % 128 | 0x80)
  }
}

function bytesHead (length: number): number[] {
  return length < 24 ? [0x40 | length] : [0x58, length]
}
