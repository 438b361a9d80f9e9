// Finds the CID of a blob that a descriptor names and reads its documents, each checked against digest and size before
// anyone parses it. Order: the root's own directory (same DAG, so pinned with it), the descriptor's `urls` and annotation,
// and for blobs of one block the digest itself.
import type { CID } from 'multiformats/cid'
import { hasCode, SnapshotterError } from '../base/errors.ts'
import { BLOCK_BYTES_MAX, MANIFEST_BYTES_MAX } from '../base/limits.ts'
import { type Descriptor, namedCids } from '../oci/descriptor.ts'
import { rawCidOf } from '../verify/cid.ts'
import type { Digest } from '../verify/digest.ts'
import { verifyDigest } from '../verify/verified-bytes.ts'
import { naming, type ResolveContext } from './context.ts'
import type { VerifiedDocument } from './plan.ts'

export class BlobFinder {
  readonly #context: ResolveContext
  readonly #directory: ReadonlyMap<string, CID>

  /** `directory` maps digests to the files of a layout or IPDR root; empty for other roots. */
  constructor (context: ResolveContext, directory: ReadonlyMap<string, CID>) {
    this.#context = context
    this.#directory = directory
  }

  /** @throws NOT_OCI when nothing says where the blob is. */
  cidOf (descriptor: Descriptor, what: string): CID {
    const cid = this.#directory.get(descriptor.digest) ?? namedCids(descriptor)[0]
    if (cid !== undefined) return cid
    if (descriptor.size <= BLOCK_BYTES_MAX) return rawCidOf(descriptor.digest)
    const missing = this.#directory.size === 0 ? '' : `no file ${descriptor.digest} in the root's blobs, and `
    throw new SnapshotterError('NOT_OCI',
      `${what} (${descriptor.digest}, ${descriptor.size} bytes) of ${this.#context.root} has no CID: ${missing}` +
      'its descriptor has neither "urls" nor an annotation; publish the image as an OCI layout directory')
  }

  /**
   * A manifest, index or config.
   * @throws DIGEST_MISMATCH (also of the size), LIMIT_EXCEEDED, NOT_OCI, and what the sources throw.
   */
  async document (descriptor: Descriptor, what: string): Promise<VerifiedDocument> {
    const { mediaType, digest, size } = descriptor
    const name = `${what} ${digest} of ${this.#context.root}`
    if (size > MANIFEST_BYTES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `${name}: ${size} bytes, limit ${MANIFEST_BYTES_MAX}`)
    if (descriptor.data !== null) return { mediaType, digest, bytes: descriptor.data }
    return await naming(name, this.#read(descriptor, name))
  }

  async #read (descriptor: Descriptor, name: string): Promise<VerifiedDocument> {
    const { mediaType, digest, size } = descriptor
    const { blocks, signal } = this.#context
    const bytes = await blocks.readAll(this.cidOf(descriptor, name), size, { signal }).catch((error: unknown) => {
      throw hasCode(error, 'LIMIT_EXCEEDED') ? sizeMismatch(name, size, 'more') : error
    })
    if (bytes.byteLength !== size) throw sizeMismatch(name, size, bytes.byteLength)
    return { mediaType, digest, bytes: verifyDigest(digest, bytes, name) }
  }
}

function sizeMismatch (name: string, size: number, got: number | 'more'): SnapshotterError {
  return new SnapshotterError('DIGEST_MISMATCH', `${name}: the descriptor says ${size} bytes, the file has ${got}`)
}

/** Digest → CID of the files of a directory; `digestOf` turns a file name into a digest or null. */
export function blobDirectory (
  entries: ReadonlyArray<{ readonly name: string, readonly cid: CID }>, digestOf: (name: string) => Digest | null
): Map<string, CID> {
  return new Map(entries.flatMap(({ name, cid }) => {
    const digest = digestOf(name)
    return digest === null ? [] : [[digest, cid] as const]
  }))
}
