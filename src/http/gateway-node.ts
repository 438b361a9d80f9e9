// What a verified block means to the gateway: how a path goes through it and what hangs from it. UnixFS that does not
// hold together is treated as the plain dag-pb node that it still is, as the spec treats all data that is not UnixFS.
import type { CID } from 'multiformats/cid'
import { hasCode } from '../base/errors.ts'
import { type DagPbNode, decodeDagPb } from '../ipfs/dag-pb.ts'
import { decodeFileNode, decodeUnixfs, type FileNode } from '../ipfs/unixfs-node.ts'
import { CODE_DAG_PB, CODE_RAW } from '../verify/cid.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { decodeDagCbor, decodeDagJson, type IpldValue, linksOf } from './gateway-ipld.ts'
import { type ShardGeometry, shardGeometry } from './gateway-shard.ts'

export type GatewayNode =
  /** Bytes of a file: a raw block or a UnixFS file node. */
  | { readonly kind: 'file', readonly file: FileNode }
  /** A UnixFS directory, or dag-pb that is no UnixFS: names lead to children. */
  | { readonly kind: 'directory', readonly node: DagPbNode }
  | { readonly kind: 'shard', readonly node: DagPbNode, readonly geometry: ShardGeometry }
  | { readonly kind: 'document', readonly value: IpldValue }
  /** Nothing hangs from it: a symlink, plain JSON or CBOR. */
  | { readonly kind: 'end' }
  /** A codec whose links nobody here can read. */
  | { readonly kind: 'opaque' }

const DAG_CBOR = 0x71
const DAG_JSON = 0x0129
const LINKLESS = [0x51, 0x0200, 0x72] // cbor, json, libp2p-key

/** @throws BLOCK_INVALID or LIMIT_EXCEEDED when the block is not what its CID's codec says. */
export function readNode (cid: CID, bytes: VerifiedBytes): GatewayNode {
  const what = `block ${cid.toString()}`
  if (cid.code === CODE_RAW) return { kind: 'file', file: decodeFileNode(cid, bytes) }
  if (cid.code === CODE_DAG_PB) return readDagPb(cid, bytes)
  if (cid.code === DAG_CBOR) return { kind: 'document', value: decodeDagCbor(bytes, what) }
  if (cid.code === DAG_JSON) return { kind: 'document', value: decodeDagJson(bytes, what) }
  return { kind: LINKLESS.includes(cid.code) ? 'end' : 'opaque' }
}

/** Every child, in order. */
export function * childrenOf (node: GatewayNode): Generator<CID> {
  if (node.kind === 'file') for (let child = 0; child < node.file.children; child++) yield node.file.cid(child)
  if (node.kind === 'directory' || node.kind === 'shard') for (let link = 0; link < node.node.links; link++) yield node.node.anyCid(link)
  if (node.kind === 'document') yield * linksOf(node.value)
}

function readDagPb (cid: CID, bytes: VerifiedBytes): GatewayNode {
  const node = decodeDagPb(cid, bytes)
  try {
    return readUnixfs(cid, bytes, node)
  } catch (error) {
    if (hasCode(error, 'BLOCK_INVALID')) return { kind: 'directory', node }
    throw error
  }
}

function readUnixfs (cid: CID, bytes: VerifiedBytes, node: DagPbNode): GatewayNode {
  switch (decodeUnixfs(cid, node).kind) {
    case 'raw':
    case 'file':
      return { kind: 'file', file: decodeFileNode(cid, bytes) }
    case 'hamt':
      return { kind: 'shard', node, geometry: shardGeometry(cid, node) }
    case 'symlink':
      return { kind: 'end' }
    default:
      return { kind: 'directory', node }
  }
}
