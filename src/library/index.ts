// The package's public door, for programs that take image references from people (deploy APIs): what a reference names, what
// the image is, whether all of it is right. Nothing global, no log, and nothing left behind: what a call opens it closes. Every
// error is a SnapshotterError with one `code` of ERROR_CODES. docs/PLATFORMS.md shows its use.
import { asSnapshotterError, ERROR_CODES, type ErrorCode, type ErrorDetails, isSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { proveImage } from '../image/prove-image.ts'
import { resolveImage as resolvePlan, type ResolveOptions } from '../image/resolver.ts'
import { parseReference as parse, type Reference } from '../oci/reference.ts'
import { canonicalReference } from '../oci/spellings.ts'
import { describeImage, describeProof, type ImageFacts, type ImageLayer, type ProofFacts } from './facts.ts'
import { checkOptions, type ImageOptions, type VerifyOptions, type VerifyProgress } from './options.ts'
import { layerProver } from './prove-layer.ts'
import { type SourceSettings, withSources } from './sources.ts'

export { ERROR_CODES, isSnapshotterError, SnapshotterError }
export type { ErrorCode, ErrorDetails, ImageFacts, ImageLayer, ImageOptions, ProofFacts, SourceSettings, VerifyOptions, VerifyProgress }

export interface ParsedReference {
  /** `ipfs://<CIDv1>[@sha256:…]`, whatever form was typed. */
  readonly reference: string
  /** Of the image's root, as CIDv1. */
  readonly cid: string
  /** Of the manifest or index, `sha256:…`; null when the reference is not pinned. */
  readonly digest: string | null
  /** Origin of the gateway that the reference names, `https://gateway.example`, or null. */
  readonly gateway: string | null
}

/**
 * What `text` names: `ipfs://<CID>`, `https://<gateway>/ipfs/<CID>`, `https://<CID>.ipfs.<gateway>/`, `ipfs:0/<CID>[:tag]`,
 * `localhost:<port>/ipfs/<CID>[:tag]` or a CID alone, each with `@sha256:…` or without. Fetches nothing.
 * @throws REF_INVALID, REF_MUTABLE (IPNS, DNSLink), CID_UNSUPPORTED
 */
export function parseReference (text: string): ParsedReference {
  const { cid, digest, gateway } = parsed(text)
  return { reference: canonicalReference(cid, digest), cid: cid.toV1().toString(), digest, gateway }
}

/**
 * Resolves an image: manifest and config are fetched and verified, layers are not.
 * @throws what parseReference throws; ROOT_NOT_FOUND (nobody has it: not pinned), ROOT_UNREACHABLE, GATEWAY_TIMEOUT,
 *   GATEWAY_RATE_LIMITED, GATEWAY_REFUSED, CAR_*, BLOCK_*: from the sources, with those that were tried; NOT_OCI, PLATFORM_MISSING,
 *   MEDIA_TYPE_UNSUPPORTED, DIGEST_MISMATCH, TOC_INVALID, LIMIT_EXCEEDED: about the image; CANCELLED by the signal;
 *   INVALID_ARGUMENT, CONFIG_INVALID: about the options.
 */
export async function resolveImage (reference: string, options: ImageOptions = {}): Promise<ImageFacts> {
  return await withImage(reference, options, async (parsed, how) => describeImage(await resolvePlan(parsed, how)))
}

/**
 * Fetches all of an image, and what else is below its root, and proves every block, digest, diffID, table of contents and chunk.
 * @throws what resolveImage throws; DIFFID_MISMATCH, LAYER_INVALID
 */
export async function verifyImage (reference: string, options: VerifyOptions = {}): Promise<ProofFacts> {
  const { onProgress = () => {} } = options
  return await withImage(reference, options, async (parsed, how) => {
    const proof = await proveImage(parsed, {
      ...how,
      prove: layerProver((layer, bytes) => { onProgress({ event: 'advance', layer, bytes }) }),
      onResolved: ({ layers }) => {
        const sizes = new Map(layers.map(({ digest, size }) => [digest, size]))
        onProgress({ event: 'resolved', layers: sizes.size, size: [...sizes.values()].reduce((sum, size) => sum + size, 0) })
      },
      onLayer: ({ digest, size }) => { onProgress({ event: 'begin', layer: digest, size }) },
      onProven: ({ digest }, { tarBytes, chunks }) => { onProgress({ event: 'end', layer: digest, tarBytes, chunks }) },
      onOther: (bytes) => { onProgress({ event: 'others', bytes }) }
    })
    return describeProof(proof, how.blocks.sources().reduce((sum, source) => sum + source.blocks, 0))
  })
}

/** Opens the sources for `work` and closes them after it; whatever it throws becomes one of our errors. */
async function withImage<Result> (
  text: string, options: ImageOptions, work: (reference: Reference, how: ResolveOptions) => Promise<Result>
): Promise<Result> {
  const { platform, signal, ignoreNamedGateway = false } = options
  try {
    const reference = parsed(text)
    const { sources, resolveTimeoutMs, gatewayTimeoutMs, maxImageBytes } = checkOptions(options)
    signal?.throwIfAborted()
    const named = ignoreNamedGateway ? null : reference.gateway
    return await withSources({ sources, named, timeoutMs: gatewayTimeoutMs }, async (blocks) =>
      await work(reference, { blocks, platform, signal, deadlineMs: resolveTimeoutMs, maxImageBytes }))
  } catch (error) {
    const failure = asSnapshotterError(error)
    // The sources call a signal of AbortSignal.timeout a deadline, the caller's own is one cause all the same.
    if (failure.code === 'CANCELLED' || signal?.aborted !== true) throw failure
    throw new SnapshotterError('CANCELLED', `given up by the caller: ${failure.message}`, {}, { cause: error })
  }
}

function parsed (text: unknown): Reference {
  if (typeof text === 'string') return parse(text)
  throw new SnapshotterError('REF_INVALID', `a reference is text, not ${text === null ? 'null' : typeof text}`)
}
