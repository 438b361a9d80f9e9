// OCI digests: the branded string, its parser, and streaming sha256. Only sha256 (policy: one algorithm, one meaning).
import { createHash, hash as oneShotHash } from 'node:crypto'
import { SnapshotterError } from '../base/errors.ts'

declare const brand: unique symbol

/** `sha256:` and 64 lower-case hex digits, checked by `parseDigest`. */
export type Digest = string & { readonly [brand]: 'Digest' }

const DIGEST = /^sha256:[0-9a-f]{64}$/

export function isDigest (text: string): text is Digest {
  return DIGEST.test(text)
}

/** @throws REF_INVALID when `text` is not a full lower-case sha256 digest (OCI image-spec descriptor.md). */
export function parseDigest (text: string): Digest {
  if (!isDigest(text)) throw new SnapshotterError('REF_INVALID', `not a sha256 digest: ${JSON.stringify(text.slice(0, 80))}`)
  return text
}

export function digestOf (bytes: Uint8Array): Digest {
  return `sha256:${oneShotHash('sha256', bytes, 'hex')}` as Digest
}

export function digestFromBytes (sha256: Uint8Array): Digest {
  return parseDigest(`sha256:${Buffer.from(sha256).toString('hex')}`)
}

/** The 32 raw bytes of a digest. */
export function digestBytes (digest: Digest): Uint8Array {
  return Buffer.from(digest.slice('sha256:'.length), 'hex')
}

/** Streaming sha256; `digest()` may be called once. */
export class DigestStream {
  readonly #hash = createHash('sha256')
  bytes = 0

  update (data: Uint8Array): void {
    this.#hash.update(data)
    this.bytes += data.byteLength
  }

  digest (): Digest {
    return `sha256:${this.#hash.digest('hex')}` as Digest
  }
}

/** OCI image-spec config.md: chainID(n) = sha256(chainID(n-1) + " " + diffID(n)); the first is diffID(0) itself. */
export function chainIds (diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = []
  for (const diffId of diffIds) {
    const parent = chain.at(-1)
    chain.push(parent === undefined ? diffId : digestOf(Buffer.from(`${parent} ${diffId}`)))
  }
  return chain
}
