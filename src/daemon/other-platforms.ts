// Manifests and configs of an image's other platforms: containerd 2 copies an index with all the documents that it leads to,
// and gives up when one is not there. Each is read when it is asked for, and kept nowhere.
import { hasCode } from '../base/errors.ts'
import { REGISTRY_OTHERS_MAX } from '../base/limits.ts'
import type { RegistryBlob } from '../http/registry.ts'
import { blobDirectory, BlobFinder } from '../image/blob-finder.ts'
import type { ImagePlan, VerifiedDocument } from '../image/plan.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { readIndex } from '../oci/index-document.ts'
import { readManifest } from '../oci/manifest-document.ts'
import { isManifestType } from '../oci/media-types.ts'
import { canonicalReference } from '../oci/spellings.ts'
import { type Digest, isDigest } from '../verify/digest.ts'
import { type VerifiedBytes, verifiedPart } from '../verify/verified-bytes.ts'

export class OtherPlatforms {
  readonly #plan: ImagePlan
  readonly #blocks: BlockService
  readonly #signal: AbortSignal
  readonly #root: string
  /** Of manifests that the index lists beside the plan's. */
  readonly #manifests: ReadonlyMap<Digest, Descriptor>
  /** Of configs of those that were read. */
  readonly #configs = new Map<Digest, Descriptor>()

  constructor (plan: ImagePlan, blocks: BlockService, signal: AbortSignal) {
    this.#plan = plan
    this.#blocks = blocks
    this.#signal = signal
    this.#root = canonicalReference(plan.rootCid, null)
    const entries = plan.index === null ? [] : readIndex(plan.index.bytes, plan.index.mediaType, `index ${plan.index.digest} of ${this.#root}`).manifests
    const others = entries.filter(({ mediaType, digest }) => isManifestType(mediaType) && digest !== plan.manifest.digest)
    this.#manifests = new Map(others.slice(0, REGISTRY_OTHERS_MAX).map((entry) => [entry.digest, entry]))
  }

  /** A manifest, or with `kind` blob a config, too; null when it is none of those. @throws what reading it throws */
  readonly find = async (kind: 'manifest' | 'blob', digest: Digest): Promise<RegistryBlob | null> => {
    const manifest = this.#manifests.get(digest)
    if (manifest !== undefined) return await this.#open(manifest)
    if (kind === 'manifest') return null
    // A client may have the manifest from an earlier run of ours.
    for (const entry of this.#configs.has(digest) ? [] : this.#manifests.values()) {
      await this.#open(entry).catch((error: unknown) => { if (!hasCode(error, 'ROOT_NOT_FOUND', 'NOT_OCI', 'MEDIA_TYPE_UNSUPPORTED')) throw error })
      if (this.#configs.has(digest)) break
    }
    const config = this.#configs.get(digest)
    return config === undefined ? null : served(await (await this.#finder()).document(config, 'config'))
  }

  async #open (descriptor: Descriptor): Promise<RegistryBlob> {
    const document = await (await this.#finder()).document(descriptor, 'manifest')
    const { config } = readManifest(document.bytes, document.mediaType, `manifest ${document.digest} of ${this.#root}`)
    this.#configs.set(config.digest, config)
    return served(document)
  }

  /** Of a layout the names of its blobs, which are in memory from the resolve mostly. */
  async #finder (): Promise<BlobFinder> {
    const waits = { signal: this.#signal }
    const folder = await this.#blocks.resolvePath(this.#plan.rootCid, ['blobs', 'sha256'], waits)
    const entries = folder === null ? null : await this.#blocks.listDirectory(folder, waits)
    const directory = blobDirectory(entries ?? [], digestNamed)
    return new BlobFinder({ blocks: this.#blocks, signal: this.#signal, root: this.#root }, directory)
  }
}

function digestNamed (name: string): Digest | null {
  const text = `sha256:${name}`
  return isDigest(text) ? text : null
}

function served ({ mediaType, bytes }: VerifiedDocument): RegistryBlob {
  return {
    mediaType,
    size: bytes.byteLength,
    read: async function * (offset, length): AsyncGenerator<VerifiedBytes> { yield verifiedPart(bytes, offset, offset + length) }
  }
}
