// Bytes that matched a digest during this very read. Only this folder can make the type, so what is unverified
// does not compile where VerifiedBytes are asked for.
import { timingSafeEqual } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { BLOCK_BYTES_MAX } from '../base/limits.ts'
import { acceptCid, CODE_IDENTITY } from './cid.ts'
import { type Digest, digestBytes, digestOf } from './digest.ts'

declare const verified: unique symbol

export type VerifiedBytes = Uint8Array & { readonly [verified]: true }

/**
 * A block that matches its CID.
 * @throws CID_UNSUPPORTED, BLOCK_TOO_LARGE, BLOCK_HASH_MISMATCH; `origin` names who sent the bytes.
 */
export function verifyBlock (cid: CID, bytes: Uint8Array, origin: string): VerifiedBytes {
  acceptCid(cid)
  if (bytes.byteLength > BLOCK_BYTES_MAX) {
    throw new SnapshotterError('BLOCK_TOO_LARGE', `block ${cid.toString()} from ${origin} has ${bytes.byteLength} bytes, limit ${BLOCK_BYTES_MAX}`)
  }
  const wanted = cid.multihash.digest
  const matches = cid.multihash.code === CODE_IDENTITY
    ? Buffer.compare(bytes, wanted) === 0
    : timingSafeEqual(digestBytes(digestOf(bytes)), wanted)
  if (!matches) {
    throw new SnapshotterError('BLOCK_HASH_MISMATCH', `block ${cid.toString()} from ${origin} has other bytes (${digestOf(bytes)})`)
  }
  return bytes as VerifiedBytes
}

/** @throws DIGEST_MISMATCH naming `what`, with both values. */
export function verifyDigest (digest: Digest, bytes: Uint8Array, what: string): VerifiedBytes {
  const got = digestOf(bytes)
  if (got !== digest) throw new SnapshotterError('DIGEST_MISMATCH', `${what}: want ${digest}, got ${got}`, { want: digest, got })
  return bytes as VerifiedBytes
}

/** A part of verified bytes is verified; so is a concatenation of verified parts. */
export function verifiedPart (bytes: VerifiedBytes, from: number, to: number): VerifiedBytes {
  return bytes.subarray(from, to) as VerifiedBytes
}

export function verifiedConcat (parts: readonly VerifiedBytes[]): VerifiedBytes {
  return Buffer.concat(parts) as unknown as VerifiedBytes
}
