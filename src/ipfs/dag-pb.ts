// dag-pb nodes, decoded strictly (ipld/ipld specs/codecs/dag-pb): no unknown, repeated or misordered fields. The bytes
// must be verified before they come here.
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { DAG_LINKS_MAX } from '../base/limits.ts'
import { pbFields } from './protobuf.ts'

export interface DagPbLink {
  readonly cid: CID
  /** Empty when absent. Bytes that are not UTF-8 show as U+FFFD. */
  readonly name: string
}

export interface DagPbNode {
  readonly links: readonly DagPbLink[]
  /** A view into the block, or null when the node has no data. */
  readonly data: Uint8Array | null
}

/** @throws BLOCK_INVALID naming `what`; LIMIT_EXCEEDED for more than DAG_LINKS_MAX links. */
export function decodeDagPb (block: Uint8Array, what: string): DagPbNode {
  const links: DagPbLink[] = []
  let data: Uint8Array | null = null
  let linksEnded = false
  for (const field of pbFields(block, what)) {
    if (field.bytes === null || (field.number !== 1 && field.number !== 2)) throw invalid(what, `unexpected field ${field.number}`)
    if (field.number === 1) {
      if (data !== null) throw invalid(what, 'two data fields')
      data = field.bytes
      linksEnded = links.length > 0
      continue
    }
    if (linksEnded) throw invalid(what, 'links on both sides of the data')
    if (links.length >= DAG_LINKS_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `${what}: more than ${DAG_LINKS_MAX} links`)
    links.push(decodeLink(field.bytes, what))
  }
  return { links, data }
}

function decodeLink (bytes: Uint8Array, what: string): DagPbLink {
  let cid: CID | null = null
  let name = ''
  let last = 0
  for (const field of pbFields(bytes, what)) {
    if (field.number <= last || field.number > 3) throw invalid(what, `unexpected field ${field.number} in a link`)
    last = field.number
    if ((field.number === 3) !== (field.bytes === null)) throw invalid(what, `field ${field.number} of a link has the wrong type`)
    if (field.bytes === null) continue // Tsize is a hint that nobody may trust
    if (field.number === 1) cid = decodeCid(field.bytes, what)
    else name = Buffer.from(field.bytes.buffer, field.bytes.byteOffset, field.bytes.byteLength).toString('utf8')
  }
  if (cid === null) throw invalid(what, 'a link without a CID')
  return { cid, name }
}

function decodeCid (bytes: Uint8Array, what: string): CID {
  try {
    return CID.decode(bytes)
  } catch (cause) {
    throw invalid(what, 'a link whose CID cannot be read', cause)
  }
}

function invalid (what: string, why: string, cause?: unknown): SnapshotterError {
  return new SnapshotterError('BLOCK_INVALID', `${what} is no dag-pb node: ${why}`, {}, { cause })
}
