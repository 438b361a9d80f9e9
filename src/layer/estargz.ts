// Opens an eStargz blob lazily: one read of its tail (two when the TOC is long), the TOC held against the digest that
// the manifest's annotation names, and only then parsed. A TOC that only the footer vouches for is never trusted: a
// layer without the annotation is a plain one.
import { gunzip } from 'node:zlib'
import { SnapshotterError } from '../base/errors.ts'
import { SUPPLY_ALIGNMENT, TOC_BYTES_MAX, TOC_TAIL_BYTES } from '../base/limits.ts'
import type { Waits } from '../ipfs/blocks.ts'
import { ANNOTATION_TOC_DIGEST } from '../oci/annotations.ts'
import { type Digest, isDigest } from '../verify/digest.ts'
import { type VerifiedBytes, verifiedConcat, verifiedPart, verifyDigest } from '../verify/verified-bytes.ts'
import { parseFooter } from './estargz-footer.ts'
import type { LayerIndex } from './layer-index.ts'
import { checkLayerMediaType } from './media-type.ts'
import { readTar } from './tar-reader.ts'
import { indexToc, PREFETCH_LANDMARK, TOC_NAME } from './toc-index.ts'

/** Random access to a blob whose bytes matched their CIDs; a UnixfsFile is one. */
export interface RangeReader {
  readonly read: (offset: number, length: number, waits?: Waits) => Promise<VerifiedBytes>
}

const INFLATE_STEP_BYTES = 1024 * 1024 // each step is a trip to another thread
const TAR_SLACK_BYTES = 64 * 1024 // header, padding and end mark around the TOC
const LANDMARK_LINE_BYTES = 512 // an entry with a few short fields

/** What a manifest says about a layer, as far as it decides how to open it. */
export interface LayerClaims {
  readonly digest: Digest
  readonly mediaType: string
  readonly annotations: Readonly<Record<string, string>>
}

/**
 * The TOC digest of a lazy layer, or null for a plain one.
 * @throws MEDIA_TYPE_UNSUPPORTED (zstd and what is no layer), TOC_INVALID when the annotation is no sha256 digest
 */
export function tocDigestOf (layer: LayerClaims): Digest | null {
  const what = `layer ${layer.digest}`
  checkLayerMediaType(layer.mediaType, what)
  const text = Object.hasOwn(layer.annotations, ANNOTATION_TOC_DIGEST) ? layer.annotations[ANNOTATION_TOC_DIGEST] : undefined
  if (text === undefined) return null
  if (isDigest(text)) return text
  throw new SnapshotterError('TOC_INVALID',
    `${what}: annotation ${ANNOTATION_TOC_DIGEST} is ${JSON.stringify(text.slice(0, 80))}, no sha256 digest`)
}

export interface Toc {
  /** Matched `tocDigest`. */
  readonly json: VerifiedBytes
  /** Where the TOC's member starts in the blob. */
  readonly tocOffset: number
  readonly tocDigest: Digest
}

/** @throws TOC_INVALID, DIGEST_MISMATCH, LAYER_INVALID, LIMIT_EXCEEDED, and what `blob.read` throws. */
export async function openEstargz (blob: RangeReader, blobSize: number, tocDigest: Digest, waits: Waits = {}): Promise<LayerIndex> {
  return await indexHere(await readToc(blob, blobSize, tocDigest, waits))
}

/** On this thread. */
export async function indexHere ({ json, tocOffset, tocDigest }: Toc): Promise<LayerIndex> {
  return indexToc(json, tocOffset, tocDigest)
}

/** @throws as openEstargz, but what is wrong with the entries is not known yet */
export async function readToc (blob: RangeReader, blobSize: number, tocDigest: Digest, waits: Waits = {}): Promise<Toc> {
  const what = `layer with TOC ${tocDigest}`
  const { tocOffset, member } = await readTocMember(blob, blobSize, what, waits)
  const json = verifyDigest(tocDigest, await tocInTar(await inflate(member, what), what), `TOC of ${what}`)
  return { json, tocOffset, tocDigest }
}

/** Where the prefetch landmark seems to stand (bytes of the blob), or 0: good for asking early, for nothing else. */
export function glimpseLandmark ({ json, tocOffset }: Toc): number {
  const landmark = landmarkOffset(json)
  return landmark < tocOffset ? landmark : 0
}

/** The landmark's offset if its line looks as usual, else 0. */
function landmarkOffset (json: Uint8Array): number {
  const text = Buffer.from(json.buffer, json.byteOffset, json.byteLength)
  const at = text.indexOf(`"${PREFETCH_LANDMARK}"`)
  const line = at < 0 ? '' : text.toString('latin1', at, at + LANDMARK_LINE_BYTES)
  return Number(/^[^}]*?"offset":\s?(\d{1,15})\b/.exec(line)?.[1] ?? 0)
}

interface TocMember { readonly tocOffset: number, readonly member: Uint8Array }

/** Where the first read of a blob starts. From a leaf's border on: leaves are fetched whole, and half a leaf more would cost a whole one. */
export function tailOf (blobSize: number): number {
  return Math.max(0, Math.floor((blobSize - TOC_TAIL_BYTES) / SUPPLY_ALIGNMENT) * SUPPLY_ALIGNMENT)
}

async function readTocMember (blob: RangeReader, blobSize: number, what: string, waits: Waits): Promise<TocMember> {
  const tailStart = tailOf(blobSize)
  const tail = await blob.read(tailStart, blobSize - tailStart, waits)
  const footer = parseFooter(tail)
  if (footer === null || tail.byteLength !== blobSize - tailStart) {
    throw new SnapshotterError('TOC_INVALID', `${what} does not end in an eStargz footer`)
  }
  const { tocOffset } = footer
  const end = blobSize - footer.size
  if (tocOffset >= end) {
    throw new SnapshotterError('TOC_INVALID', `${what}: its footer puts the TOC at ${tocOffset} of ${blobSize} bytes`)
  }
  if (end - tocOffset > TOC_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${what}: compressed TOC of ${end - tocOffset} bytes, limit ${TOC_BYTES_MAX}`)
  }
  const inTail = verifiedPart(tail, Math.max(0, tocOffset - tailStart), end - tailStart)
  if (tocOffset >= tailStart) return { tocOffset, member: inTail }
  const head = await blob.read(tocOffset, tailStart - tocOffset, waits)
  return { tocOffset, member: verifiedConcat([head, inTail]) }
}

async function inflate (member: Uint8Array, what: string): Promise<Uint8Array> {
  return await new Promise((resolve, reject) => {
    gunzip(member, { maxOutputLength: TOC_BYTES_MAX + TAR_SLACK_BYTES, chunkSize: INFLATE_STEP_BYTES }, (cause, bytes) => {
      if (cause === null) resolve(bytes)
      else if ('code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE') {
        reject(new SnapshotterError('LIMIT_EXCEEDED', `${what}: TOC of more than ${TOC_BYTES_MAX} bytes`, {}, { cause }))
      } else reject(new SnapshotterError('TOC_INVALID', `${what}: the TOC does not inflate: ${cause.message}`, {}, { cause }))
    })
  })
}

/** The payload of the one entry of the TOC's own little tar. */
async function tocInTar (tar: Uint8Array, what: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let entries = 0
  for await (const event of readTar(only(tar), what)) {
    if (event.kind === 'data') parts.push(event.bytes)
    else if (++entries > 1 || event.entry.path !== TOC_NAME) {
      throw new SnapshotterError('TOC_INVALID', `${what}: its footer points at no TOC`)
    }
  }
  const [first] = parts
  return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts)
}

async function * only (bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
