// OCI descriptors, strictly (image-spec descriptor.md): what a blob is called, how long it is, and where it may be found.
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { acceptCid, digestOfRawCid } from '../verify/cid.ts'
import type { Digest } from '../verify/digest.ts'
import { type VerifiedBytes, verifyDigest } from '../verify/verified-bytes.ts'
import { ANNOTATION_CID } from './annotations.ts'
import { Fields } from './fields.ts'
import { type Platform, readPlatform } from './platform.ts'
import type { JsonValue } from './strict-json.ts'

export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  /** Bytes of the blob. */
  readonly size: number
  readonly urls: readonly string[]
  readonly annotations: Readonly<Record<string, string>>
  readonly platform: Platform | null
  readonly artifactType: string | null
  /** The blob itself, embedded and checked against digest and size; null when absent. */
  readonly data: VerifiedBytes | null
}

export const DESCRIPTOR_KEYS = ['mediaType', 'digest', 'size', 'urls', 'annotations', 'platform', 'artifactType', 'data'] as const

/** @throws NOT_OCI, DIGEST_MISMATCH; `what` names the place: `manifest sha256:…, layer 3`. */
export function readDescriptor (value: JsonValue | undefined, what: string): Descriptor {
  const fields = new Fields(value, what, DESCRIPTOR_KEYS)
  const descriptor = {
    mediaType: fields.string('mediaType'),
    digest: fields.digest('digest'),
    size: fields.size('size'),
    urls: fields.strings('urls'),
    annotations: fields.map('annotations'),
    platform: readPlatform(fields.value('platform'), what),
    artifactType: fields.optionalString('artifactType')
  }
  return { ...descriptor, data: readData(fields, descriptor, what) }
}

function readData (fields: Fields, { digest, size }: { digest: Digest, size: number }, what: string): VerifiedBytes | null {
  const text = fields.optionalString('data')
  if (text === null) return null
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) fields.refuse('has data that is not canonical base64')
  if (bytes.byteLength !== size) {
    throw new SnapshotterError('DIGEST_MISMATCH', `${what} embeds ${bytes.byteLength} bytes of data, its size says ${size}`)
  }
  return verifyDigest(digest, bytes, `${what}, embedded data`)
}

/**
 * The CIDs that a descriptor itself names, `urls` before the annotation: a tool that rewrites a blob (`nerdctl push ipfs://`)
 * sets new urls and copies annotations of which it knows nothing. A raw CID of another digest is no CID of this blob.
 */
export function namedCids ({ digest, annotations, urls }: Pick<Descriptor, 'digest' | 'annotations' | 'urls'>): CID[] {
  const texts = [...urls.map((url) => /^ipfs:\/\/([A-Za-z0-9]+)\/?$/.exec(url)?.[1]), annotations[ANNOTATION_CID]]
  return texts.flatMap((text) => {
    try {
      if (text === undefined) return []
      const cid = acceptCid(CID.parse(text))
      return [digest, null].includes(digestOfRawCid(cid)) ? [cid] : []
    } catch {
      return []
    }
  })
}
