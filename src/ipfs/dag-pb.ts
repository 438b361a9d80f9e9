// Decodes dag-pb nodes strictly (IPLD dag-pb spec): Links (2) and Data (1), each link Hash (1), Name (2), Tsize (3) in
// this order. Links are kept as offsets into the block: a node of 1,024 links costs little more than its bytes.
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { DAG_LINKS_MAX } from '../base/limits.ts'
import { acceptCid } from '../verify/cid.ts'
import { ProtobufReader, WIRE_BYTES, WIRE_VARINT } from './protobuf.ts'

const NODE_DATA = 1 << 3 | WIRE_BYTES
const NODE_LINK = 2 << 3 | WIRE_BYTES
const LINK_HASH = 1 << 3 | WIRE_BYTES
const LINK_NAME = 2 << 3 | WIRE_BYTES
const LINK_TSIZE = 3 << 3 | WIRE_VARINT
const FIELDS = 4 // offsets a link: hash from, hash to, name from, name to

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export class DagPbNode {
  readonly #cid: CID
  readonly #bytes: Uint8Array
  readonly #offsets: Uint32Array
  /** The UnixFS message, or null when the node has none. */
  readonly data: Uint8Array | null

  constructor (cid: CID, bytes: Uint8Array, offsets: Uint32Array, data: Uint8Array | null) {
    this.#cid = cid
    this.#bytes = bytes
    this.#offsets = offsets
    this.data = data
  }

  get links (): number {
    return this.#offsets.length / FIELDS
  }

  /** @throws BLOCK_INVALID when the link's hash is no CID, CID_UNSUPPORTED when it is one that we refuse. */
  cid (link: number): CID {
    return acceptCid(this.anyCid(link))
  }

  /** The link's CID of whatever codec and hash, for those who only pass blocks on. @throws BLOCK_INVALID */
  anyCid (link: number): CID {
    try {
      return CID.decode(this.#field(link, 0))
    } catch (cause) {
      throw new SnapshotterError('BLOCK_INVALID', `node ${this.#cid.toString()}: link ${link} is no CID`, {}, { cause })
    }
  }

  nameBytes (link: number): Uint8Array {
    return this.#field(link, 2)
  }

  /** @throws BLOCK_INVALID when the name is not UTF-8. */
  name (link: number): string {
    try {
      return utf8.decode(this.nameBytes(link))
    } catch (cause) {
      throw new SnapshotterError('BLOCK_INVALID', `node ${this.#cid.toString()}: the name of link ${link} is not UTF-8`, {}, { cause })
    }
  }

  #field (link: number, field: number): Uint8Array {
    return this.#bytes.subarray(this.#offsets[link * FIELDS + field], this.#offsets[link * FIELDS + field + 1])
  }
}

/** @throws BLOCK_INVALID, LIMIT_EXCEEDED past DAG_LINKS_MAX links. */
export function decodeDagPb (cid: CID, bytes: Uint8Array): DagPbNode {
  const reader = new ProtobufReader(bytes, () => `node ${cid.toString()}`)
  const offsets: number[] = []
  let data: Uint8Array | null = null
  let linksEnded = false
  while (!reader.done) {
    const tag = reader.tag()
    if (tag === NODE_DATA) {
      if (data !== null) reader.fail('second Data')
      data = reader.bytes()
      linksEnded = offsets.length > 0
    } else if (tag === NODE_LINK) {
      if (linksEnded) reader.fail('links in two places')
      if (offsets.length >= DAG_LINKS_MAX * FIELDS) {
        throw new SnapshotterError('LIMIT_EXCEEDED', `node ${cid.toString()} has more than ${DAG_LINKS_MAX} links`)
      }
      const end = reader.bytesEnd()
      offsets.push(...decodeLink(new ProtobufReader(bytes, () => `node ${cid.toString()}`, reader.at, end)))
      reader.at = end
    } else {
      reader.fail(`field ${tag >>> 3}`)
    }
  }
  return new DagPbNode(cid, bytes, Uint32Array.from(offsets), data)
}

function decodeLink (reader: ProtobufReader): [hashFrom: number, hashTo: number, nameFrom: number, nameTo: number] {
  const places: [number, number, number, number] = [0, 0, 0, 0]
  let last = 0
  while (!reader.done) {
    const tag = reader.tag()
    if (tag <= last) reader.fail('link fields out of order')
    last = tag
    if (tag === LINK_TSIZE) {
      reader.skip(WIRE_VARINT)
      continue
    }
    if (tag !== LINK_HASH && tag !== LINK_NAME) reader.fail(`link field ${tag >>> 3}`)
    const end = reader.bytesEnd()
    places[tag === LINK_HASH ? 0 : 2] = reader.at
    places[tag === LINK_HASH ? 1 : 3] = end
    reader.at = end
  }
  if (places[0] === places[1]) reader.fail('link without a hash')
  return places
}
