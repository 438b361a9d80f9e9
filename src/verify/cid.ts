// Which CIDs we accept: v0 or v1; raw or dag-pb; a full sha2-256 digest, or a small identity one. Truncated digests
// and weak hashes are refused before anything is fetched (Helia's own verifier takes sha2-256 cut to 20 bytes).
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { IDENTITY_BYTES_MAX } from '../base/limits.ts'
import { type Digest, digestBytes, digestFromBytes } from './digest.ts'

export const CODE_RAW = 0x55
export const CODE_DAG_PB = 0x70
export const CODE_SHA2_256 = 0x12
export const CODE_IDENTITY = 0x00

/** @throws CID_UNSUPPORTED for other codecs, hashes or digest lengths. */
export function acceptCid (cid: CID): CID {
  if (cid.code !== CODE_RAW && cid.code !== CODE_DAG_PB) {
    throw new SnapshotterError('CID_UNSUPPORTED', `${cid.toString()}: codec 0x${cid.code.toString(16)}; only raw and dag-pb are accepted`)
  }
  const { code, digest } = cid.multihash
  const full = code === CODE_SHA2_256 && digest.byteLength === 32
  const inline = code === CODE_IDENTITY && digest.byteLength <= IDENTITY_BYTES_MAX
  if (!full && !inline) {
    throw new SnapshotterError('CID_UNSUPPORTED',
      `${cid.toString()}: hash 0x${code.toString(16)} of ${digest.byteLength} bytes; ` +
      `only full sha2-256 and identity up to ${IDENTITY_BYTES_MAX} bytes are accepted`)
  }
  return cid
}

/** @throws REF_INVALID when `text` is no CID at all, CID_UNSUPPORTED when it is one that we refuse. */
export function parseCid (text: string): CID {
  let cid: CID
  try {
    cid = CID.parse(text)
  } catch (cause) {
    throw new SnapshotterError('REF_INVALID', `not a CID: ${JSON.stringify(text.slice(0, 120))}`, {}, { cause })
  }
  return acceptCid(cid)
}

/** A blob of one block has the same 32 bytes as OCI digest and as raw CID. */
export function rawCidOf (digest: Digest): CID {
  const multihash = new Uint8Array(34)
  multihash.set([CODE_SHA2_256, 32])
  multihash.set(digestBytes(digest), 2)
  return CID.createV1(CODE_RAW, { code: CODE_SHA2_256, size: 32, bytes: multihash, digest: multihash.subarray(2) })
}

/** The OCI digest that a raw sha2-256 CID proves by itself, or null. */
export function digestOfRawCid (cid: CID): Digest | null {
  if (cid.code !== CODE_RAW || cid.multihash.code !== CODE_SHA2_256) return null
  return digestFromBytes(cid.multihash.digest)
}
