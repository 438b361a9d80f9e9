// UnixFS directories by profile unixfs-v1-2025: one block sorted by name, or a HAMT of fanout 256 when that block would be
// larger than 256 KiB. Names of one directory are distinct; the caller sees to it.
import type { CID } from 'multiformats/cid'
import { UNIXFS_DIRECTORY_BYTES } from '../base/limits.ts'
import { murmur3x64 } from '../ipfs/murmur3.ts'
import { encodeNode, type Link, nodeCid } from './dag-pb.ts'

/** Where its blocks go, and which CID a node has: version 1 unless it says otherwise. */
export interface NodeSink {
  readonly put: (cid: CID, bytes: Uint8Array) => Promise<unknown>
  readonly nodeCid?: (bytes: Uint8Array) => CID
}

export interface Directory {
  readonly cid: CID
  readonly tsize: number
}

const FANOUT = 256
const PREFIX_DIGITS = 2
/** multicodec murmur3-x64-64. */
const HASH_MURMUR3 = 0x22

/** Writes its blocks; `entries` in any order. */
export async function writeDirectory (sink: NodeSink, entries: readonly Link[]): Promise<Directory> {
  const bytes = encodeNode([...entries].sort(byName), { type: 'directory' })
  if (bytes.byteLength <= UNIXFS_DIRECTORY_BYTES) return await writeNode(sink, bytes, entries)
  return await writeShard(sink, entries.map((link) => ({ link, hash: murmur3x64(Buffer.from(link.name)) })), 0)
}

interface Hashed { readonly link: Link, readonly hash: Uint8Array }

/** One level of the trie: slot = the hash's byte at `depth`; a slot with several names is a shard of its own. */
async function writeShard (sink: NodeSink, entries: readonly Hashed[], depth: number): Promise<Directory> {
  const slots = new Map<number, Hashed[]>()
  for (const entry of entries) {
    const slot = entry.hash[depth] ?? 0
    slots.set(slot, [...slots.get(slot) ?? [], entry])
  }
  const links: Link[] = []
  for (const [slot, members] of [...slots].sort(([one], [other]) => one - other)) {
    const prefix = slot.toString(16).toUpperCase().padStart(PREFIX_DIGITS, '0')
    const [only] = members
    if (only !== undefined && members.length === 1) links.push({ ...only.link, name: prefix + only.link.name })
    else links.push({ name: prefix, ...await writeShard(sink, members, depth + 1) })
  }
  const bytes = encodeNode(links, { type: 'shard', data: bitfield([...slots.keys()]), hashType: HASH_MURMUR3, fanout: FANOUT })
  return await writeNode(sink, bytes, links)
}

/** Big-endian number with bit i set for slot i, leading zero bytes left out. */
function bitfield (slots: readonly number[]): Buffer {
  const bits = Buffer.alloc(FANOUT / 8)
  for (const slot of slots) {
    const at = bits.byteLength - 1 - (slot >> 3)
    bits.writeUInt8(bits.readUInt8(at) | 1 << (slot & 7), at)
  }
  return bits.subarray(bits.findIndex((byte) => byte !== 0))
}

async function writeNode (sink: NodeSink, bytes: Buffer, links: readonly Link[]): Promise<Directory> {
  const cid = (sink.nodeCid ?? nodeCid)(bytes)
  await sink.put(cid, bytes)
  return { cid, tsize: links.reduce((sum, { tsize }) => sum + tsize, bytes.byteLength) }
}

function byName (one: Link, other: Link): number {
  return Buffer.compare(Buffer.from(one.name), Buffer.from(other.name))
}
