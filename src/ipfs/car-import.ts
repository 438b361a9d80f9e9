// A CAR that somebody sends: its blocks go into an upload as they arrive, each checked against its CID there; its roots are
// only told.
import { bytesReader, readHeader } from '@ipld/car/decoder'
import { CID } from 'multiformats/cid'
import { decode as decodeMultihash } from 'multiformats/hashes/digest'
import { type MultihashDigest, varint } from 'multiformats'
import { SnapshotterError } from '../base/errors.ts'
import { CODE_IDENTITY, CODE_RAW, CODE_SHA2_256 } from '../verify/cid.ts'
import type { BlockKey } from './block-key.ts'
import type { BlockUpload } from './block-upload.ts'
import { CarParser } from './car-parser.ts'

interface Arrived { readonly cid: CID, readonly bytes: Uint8Array }

/** @returns the roots of its header. @throws CAR_INVALID, CAR_TRUNCATED, CID_UNSUPPORTED for a hash nobody checks; what `put` throws. */
export async function importCar (upload: BlockUpload, stream: AsyncIterable<Uint8Array>, origin: string): Promise<CID[]> {
  const arrived: Arrived[] = []
  const headers: Uint8Array[] = []
  const parser = new CarParser({
    header: (bytes) => { headers.push(bytes) },
    // The codec says how a block is read, not what it is: blocks of any codec are kept, and pins say which can be walked.
    wants: (key) => isHashed(hashOf(key), origin),
    block: (key, bytes) => { arrived.push({ cid: CID.createV1(CODE_RAW, hashOf(key)), bytes }) }
  }, origin)
  for await (const piece of stream) {
    parser.push(piece)
    for (const { cid, bytes } of arrived.splice(0)) await upload.put(cid, bytes, origin)
  }
  const [header] = headers
  if (!parser.whole || header === undefined) throw new SnapshotterError('CAR_TRUNCATED', `CAR from ${origin} ends early, after ${parser.blocks} blocks`)
  return await rootsOf(header, origin)
}

function hashOf (key: BlockKey): MultihashDigest {
  return decodeMultihash(Buffer.from(key, 'latin1'))
}

/** False for a block that is its own CID. @throws CID_UNSUPPORTED */
function isHashed ({ code, size }: MultihashDigest, origin: string): boolean {
  if (code === CODE_IDENTITY) return false
  if (code === CODE_SHA2_256 && size === 32) return true
  throw new SnapshotterError('CID_UNSUPPORTED',
    `CAR from ${origin} has a block with a hash 0x${code.toString(16)} of ${size} bytes; only full sha2-256 is accepted`)
}

async function rootsOf (header: Uint8Array, origin: string): Promise<CID[]> {
  try {
    const length = varint.encodeTo(header.byteLength, new Uint8Array(varint.encodingLength(header.byteLength)))
    return (await readHeader(bytesReader(Buffer.concat([length, header])), 1)).roots
  } catch (cause) {
    throw new SnapshotterError('CAR_INVALID', `CAR from ${origin} has no header that can be read`, {}, { cause })
  }
}
