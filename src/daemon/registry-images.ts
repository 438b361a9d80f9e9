// Images for the façade: each is resolved and its layers are opened when a client asks for its manifest, so that the Prepare
// which follows finds them; documents and layers come from the content store, layers only if somebody wants their bytes.
import type { CID } from 'multiformats/cid'
import { sleep, systemClock } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { REGISTRY_BOOKING_MS, REGISTRY_IMAGES_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { SingleFlight } from '../base/single-flight.ts'
import type { RegistryBlob, RegistryImage } from '../http/registry.ts'
import type { ImagePlan } from '../image/plan.ts'
import { resolveImage } from '../image/resolver.ts'
import type { EarlyFetch } from '../mount/early-fetch.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import { parseReference } from '../oci/reference.ts'
import type { Digest } from '../verify/digest.ts'
import { OtherPlatforms } from './other-platforms.ts'
import type { PromisedContent } from './promised-content.ts'
import type { ChainClaims } from './proof-claims.ts'
import { fetchEarly } from './pull-ahead.ts'
import type { Sources } from './sources.ts'

interface Parts {
  readonly sources: Sources
  readonly content: PromisedContent
  readonly claims: ChainClaims
  readonly mounts: LayerMounts
  readonly early: EarlyFetch
  readonly expectReads: () => void
  readonly log: Log
}

interface Known { readonly image: RegistryImage, readonly bookedMs: number }

export class RegistryImages {
  readonly #parts: Parts
  /** By root CID, the one asked for last at the end. */
  readonly #known = new Map<string, Known>()
  /** By root CID, while their layers are booked. */
  readonly #plans = new Map<string, ImagePlan>()
  readonly #resolving = new SingleFlight<RegistryImage>()
  readonly #closing = new AbortController()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  /** @throws what resolving throws; whoever leaves does not stop it for others. */
  readonly find = async (cid: CID): Promise<RegistryImage> => {
    const key = cid.toV1().toString()
    const known = this.#known.get(key)
    // Its layers may have been let go meanwhile: they are opened again for whoever comes later.
    if (known !== undefined && systemClock.monotonicMs() - known.bookedMs < REGISTRY_BOOKING_MS) return known.image
    return await this.#resolving.run(key, async () => await this.#resolve(key))
  }

  /** With what `find` promises. @throws as that */
  async plan (cid: CID): Promise<ImagePlan> {
    const key = cid.toV1().toString()
    await this.find(cid)
    if (!this.#plans.has(key)) await this.#resolving.run(key, async () => await this.#resolve(key))
    const plan = this.#plans.get(key)
    if (plan === undefined) throw new SnapshotterError('UNAVAILABLE', `${key} was let go while it was resolved`)
    return plan
  }

  /** A part of any image that was asked for lately. */
  blob (digest: Digest): RegistryBlob | null {
    for (const { image: { blobs } } of this.#known.values()) {
      const blob = blobs.get(digest)
      if (blob !== undefined) return blob
    }
    return null
  }

  close (): void {
    this.#closing.abort(new SnapshotterError('UNAVAILABLE', 'the daemon is stopping'))
  }

  async #resolve (key: string): Promise<RegistryImage> {
    const { sources, content, claims, mounts, early, expectReads, log } = this.#parts
    const { signal } = this.#closing
    const blocks = sources.configured
    if (blocks.sources().length === 0) throw new SnapshotterError('CONFIG_INVALID', 'no source to fetch from: add a [[source]] to the config file')
    const plan = await resolveImage(parseReference(`ipfs://${key}`), { blocks, signal, log })
    content.promise(plan, blocks)
    const { layers, release } = await claims.book(plan, blocks, signal)
    expectReads()
    const over = sleep(REGISTRY_BOOKING_MS, signal)
    this.#plans.set(key, plan)
    const end = (): void => {
      if (this.#plans.get(key) === plan) this.#plans.delete(key)
      release()
    }
    over.then(end, end)
    for (const layer of layers) void fetchEarly({ mounts, early }, layer, over)
    const image = imageOf(plan, content, new OtherPlatforms(plan, blocks, signal))
    this.#known.delete(key)
    this.#known.set(key, { image, bookedMs: systemClock.monotonicMs() })
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= REGISTRY_IMAGES_MAX) break
      this.#known.delete(oldest)
    }
    return image
  }
}

function imageOf ({ index, manifest, config, layers }: ImagePlan, { store }: PromisedContent, others: OtherPlatforms): RegistryImage {
  const blob = (digest: Digest, mediaType: string, size: number): [Digest, RegistryBlob] =>
    [digest, { mediaType, size, read: (offset, length) => store.read(digest, offset, length) }]
  const manifests = new Map([...index === null ? [] : [index], manifest].map(({ digest, mediaType, bytes }) => blob(digest, mediaType, bytes.byteLength)))
  const rest = layers.map(({ digest, mediaType, size }) => blob(digest, mediaType, size))
  return {
    top: (index ?? manifest).digest,
    manifests,
    blobs: new Map([...manifests, blob(config.digest, config.mediaType, config.bytes.byteLength), ...rest]),
    other: others.find
  }
}
