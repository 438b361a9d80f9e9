// Reference → image plan: which manifest, which config, which layers, and where each blob is on IPFS. Every document matched
// its CID and its digest before it was parsed; nothing of the layers is fetched. One deadline covers the whole resolve.
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { IMAGE_BYTES_MAX, RESOLVE_DEADLINE_MS } from '../base/limits.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import { formatPlatform, hostPlatform, type Platform, parsePlatform, samePlatform } from '../oci/platform.ts'
import type { Reference } from '../oci/reference.ts'
import { canonicalReference } from '../oci/spellings.ts'
import { isIndexType } from '../oci/media-types.ts'
import { chainIds } from '../verify/digest.ts'
import { chooseManifest } from './choose.ts'
import type { ResolveContext } from './context.ts'
import { openImage, type OpenedImage } from './opened-image.ts'
import type { ImagePlan, PlannedLayer, VerifiedDocument } from './plan.ts'
import { prefetchPinned } from './prefetch.ts'
import { openRoot, type Root } from './root.ts'

export interface ResolveOptions {
  readonly blocks: BlockService
  /** `os/architecture[/variant]`; default Linux on this machine's processor. */
  readonly platform?: string | undefined
  readonly signal?: AbortSignal | undefined
  readonly log?: Log | undefined
  readonly deadlineMs?: number | undefined
  /** Of all layers; the default is the most that a manifest may name. */
  readonly maxImageBytes?: number | undefined
}

/**
 * @throws ROOT_NOT_FOUND, ROOT_UNREACHABLE, GATEWAY_*, BLOCK_*: from the sources, with those that were tried;
 *   NOT_OCI, MEDIA_TYPE_UNSUPPORTED, PLATFORM_MISSING, DIGEST_MISMATCH, LIMIT_EXCEEDED, REF_INVALID: about the documents;
 *   GATEWAY_TIMEOUT at the deadline; CANCELLED when the caller's signal fired.
 */
export async function resolveImage (reference: Reference, options: ResolveOptions): Promise<ImagePlan> {
  const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform)
  const { blocks, log = silentLog, deadlineMs = RESOLVE_DEADLINE_MS } = options
  const root = canonicalReference(reference.cid, null)
  const done = new AbortController()
  const deadline = AbortSignal.timeout(deadlineMs)
  const signal = AbortSignal.any([done.signal, deadline, ...(options.signal === undefined ? [] : [options.signal])])
  const context = { blocks, signal, root }
  const early = prefetchPinned(reference.digest, context)
  try {
    const plan = await resolve(reference, platform, context)
    limitSize(plan, options.maxImageBytes)
    const { rootCid, manifest } = plan
    log.info({ cid: rootCid.toString(), manifest: manifest.digest, platform: plan.platform, layers: plan.layers.length }, 'image resolved')
    return plan
  } catch (error) {
    if (options.signal?.aborted === true) {
      throw new SnapshotterError('CANCELLED', `resolve of ${root} was given up`, {}, { cause: error })
    }
    if (deadline.aborted) {
      throw new SnapshotterError('GATEWAY_TIMEOUT',
        `${root} was not resolved within ${deadlineMs} ms (${sourcesOf(blocks)})`, {}, { cause: error })
    }
    throw asSnapshotterError(error)
  } finally {
    done.abort() // what else is still under way: guesses, and what a failed resolve began
    await early
  }
}

async function resolve (reference: Reference, platform: Platform, context: ResolveContext): Promise<ImagePlan> {
  const root = await openRoot(reference.cid, reference.digest, context)
  const { index, image } = await openPlatform(root, reference, platform, context)
  const chain = chainIds(image.config.diffIds)
  return {
    reference,
    rootCid: reference.cid,
    canonical: canonicalReference(reference.cid, image.manifest.digest),
    index,
    manifest: image.manifest,
    config: image.configDocument,
    platform: formatPlatform(image.platform),
    layers: image.layers.map((layer, at): PlannedLayer => ({
      digest: layer.digest,
      diffId: present(image.config.diffIds[at]),
      chainId: present(chain[at]),
      mediaType: layer.mediaType,
      size: layer.size,
      annotations: layer.annotations,
      cid: root.finder.cidOf(layer, `layer ${at}`)
    }))
  }
}

async function openPlatform (
  { document, finder }: Root, { digest }: Reference, platform: Platform, { root }: ResolveContext
): Promise<{ readonly index: VerifiedDocument | null, readonly image: OpenedImage }> {
  if (isIndexType(document.mediaType)) return await chooseManifest(document, { digest, platform, root }, finder)
  if (digest !== null && digest !== document.digest) {
    throw new SnapshotterError('DIGEST_MISMATCH',
      `${root}: want ${digest}, the root is ${document.digest}`, { want: digest, got: document.digest })
  }
  const image = await openImage(document, null, root, finder)
  if (!samePlatform(image.platform, platform)) {
    throw new SnapshotterError('PLATFORM_MISSING',
      `${root}: no image for ${formatPlatform(platform)}; it is for ${formatPlatform(image.platform)}`)
  }
  return { index: null, image }
}

function limitSize ({ canonical, layers }: ImagePlan, limit = IMAGE_BYTES_MAX): void {
  const size = layers.reduce((sum, layer) => sum + layer.size, 0)
  if (size > limit) throw new SnapshotterError('LIMIT_EXCEEDED', `${canonical}: its layers have ${size} bytes, limit ${limit}`, { size, limit })
}

function sourcesOf (blocks: BlockService): string {
  const tried = blocks.sources().map(({ name, requests, failures }) => `${name}: ${requests} requests, ${failures} failed`)
  return tried.length === 0 ? 'no sources' : tried.join('; ')
}

/** The counts were compared when the config was read. */
function present<Value> (value: Value | undefined): Value {
  if (value === undefined) throw new SnapshotterError('INTERNAL', 'fewer diffIDs than layers')
  return value
}
