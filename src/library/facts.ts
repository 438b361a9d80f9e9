// What an image is, and what a proof of it found, as plain data: what the library answers, and `inspect --json` and
// `verify --json` print. The keys are a contract: docs/PLATFORMS.md lists them.
import type { ImagePlan, PlannedLayer } from '../image/plan.ts'
import type { ImageProof } from '../image/prove-image.ts'
import { tocDigestOf } from '../layer/estargz.ts'
import { compressionOf } from '../oci/media-types.ts'
import { spellings } from '../oci/spellings.ts'

export interface ImageFacts {
  /** The pinned form, `ipfs://<CID>@sha256:<manifest>`: what to store. */
  readonly reference: string
  /** The same image as each client spells it. */
  readonly references: { readonly nerdctl: string, readonly ctr: string, readonly cri: string }
  /** Of the root, as CIDv1. */
  readonly cid: string
  /** `os/architecture[/variant]` of the manifest. */
  readonly platform: string
  /** Identity of the image for this platform. */
  readonly manifestDigest: string
  /** Of the index that led to the manifest; null when the root is the manifest. */
  readonly indexDigest: string | null
  readonly configDigest: string
  /** Of the manifest. */
  readonly mediaType: string
  /** Bytes of all layers as they are stored (compressed): what a full pull moves. */
  readonly size: number
  /** Lowest first. */
  readonly layers: readonly ImageLayer[]
}

export interface ImageLayer {
  /** Of the blob as it is stored. */
  readonly digest: string
  /** Of its tar. */
  readonly diffId: string
  /** Of this layer on those below it: containerd's name for the snapshot. */
  readonly chainId: string
  readonly cid: string
  readonly mediaType: string
  /** Bytes of the blob. */
  readonly size: number
  /** True when a node starts before it has the whole layer. */
  readonly lazy: boolean
}

export interface ProofFacts extends ImageFacts {
  readonly verified: true
  /** Blocks that the sources delivered, each held against its CID. */
  readonly blocks: number
  /** Bytes of layers, documents and other files below the root, each file held against its digest. */
  readonly bytesHashed: number
  /** Bytes of the layers' tars, held against the diffIDs. */
  readonly tarBytesHashed: number
  readonly chunks: number
  readonly files: number
  readonly directories: number
}

/** @throws MEDIA_TYPE_UNSUPPORTED, TOC_INVALID: of a layer */
export function describeImage (plan: ImagePlan): ImageFacts {
  const cid = plan.rootCid.toV1()
  return {
    reference: plan.canonical,
    references: { ...spellings(cid, plan.manifest.digest) },
    cid: cid.toString(),
    platform: plan.platform,
    manifestDigest: plan.manifest.digest,
    indexDigest: plan.index?.digest ?? null,
    configDigest: plan.config.digest,
    mediaType: plan.manifest.mediaType,
    size: plan.layers.reduce((sum, { size }) => sum + size, 0),
    layers: plan.layers.map(describeLayer)
  }
}

function describeLayer (layer: PlannedLayer): ImageLayer {
  const { digest, diffId, chainId, cid, mediaType, size } = layer
  const lazy = compressionOf(mediaType, `layer ${digest}`) !== 'zstd' && tocDigestOf(layer) !== null
  return { digest, diffId, chainId, cid: cid.toString(), mediaType, size, lazy }
}

export function describeProof (proof: ImageProof, blocks: number): ProofFacts {
  return {
    ...describeImage(proof.plan),
    verified: true,
    blocks,
    bytesHashed: proof.bytesHashed,
    tarBytesHashed: proof.layers.reduce((sum, { tarBytes }) => sum + tarBytes, 0),
    chunks: proof.layers.reduce((sum, { chunks }) => sum + chunks, 0),
    files: proof.otherFiles + new Set(proof.layers.map(({ digest }) => digest)).size,
    directories: proof.directories
  }
}
