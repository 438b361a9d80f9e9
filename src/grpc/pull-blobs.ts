// The documents of an image as containerd stores them: index, manifest and config with the labels by which its garbage
// collector walks from the image to our snapshots. Layers are named but absent: no byte of them is needed.
import type { ImagePlan, VerifiedDocument } from '../image/plan.ts'
import type { Digest } from '../verify/digest.ts'
import type { Blob } from './content-writer.ts'
import type { Descriptor } from './wire.ts'

export interface PulledDocuments {
  /** What the image record points to. */
  readonly target: Descriptor
  /** Children before parents do not matter: labels may name what does not exist yet. */
  readonly blobs: readonly Blob[]
}

interface ChildDescriptor { readonly digest?: unknown, readonly platform?: { readonly os?: unknown, readonly architecture?: unknown } }

export function documentsOf (plan: ImagePlan, snapshotter: string): PulledDocuments {
  const top = topChainId(plan)
  const config = blob('config', plan.config, { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: top })
  const manifest = blob('manifest', plan.manifest, {
    'containerd.io/gc.ref.content.config': plan.config.digest,
    ...Object.fromEntries(plan.layers.map((layer, at) => [`containerd.io/gc.ref.content.l.${at}`, layer.digest]))
  })
  const position = plan.index === null ? -1 : usablePosition(plan.index, plan)
  if (plan.index === null || position === -1) return { target: descriptor(plan.manifest), blobs: [manifest, config] }

  const index = blob('index', plan.index, { [`containerd.io/gc.ref.content.m.${position}`]: plan.manifest.digest })
  return { target: descriptor(plan.index), blobs: [index, manifest, config] }
}

/** @returns the chain ID of the whole stack. */
export function topChainId (plan: ImagePlan): Digest {
  const top = plan.layers.at(-1)
  if (top === undefined) throw new RangeError('an image plan without layers')
  return top.chainId
}

/**
 * Where our manifest stands in the index; -1 when containerd would look at another child first and fail, since it is
 * absent: then the manifest itself must be the target. It tries only the first child that fits the platform, and a
 * child without platform fits by its place (core/images/image.go).
 */
function usablePosition (index: VerifiedDocument, plan: ImagePlan): number {
  const { manifests } = JSON.parse(Buffer.from(index.bytes).toString()) as { manifests?: readonly ChildDescriptor[] }
  if (manifests === undefined) return -1
  const ours = manifests.findIndex((child) => child.digest === plan.manifest.digest)
  const platform = platformOf(manifests[ours])
  const rivals = manifests.slice(0, Math.max(ours, 0)).filter((child) => platformOf(child) === platform || platformOf(child) === null)
  return rivals.length === 0 ? ours : -1
}

function platformOf (child: ChildDescriptor | undefined): string | null {
  if (typeof child?.platform !== 'object') return null
  return `${String(child.platform.os)}/${String(child.platform.architecture)}`
}

function blob (kind: string, document: VerifiedDocument, labels: Readonly<Record<string, string>>): Blob {
  return { ref: `${kind}-${document.digest}`, digest: document.digest, bytes: document.bytes, labels }
}

function descriptor ({ mediaType, digest, bytes }: VerifiedDocument): Descriptor {
  return { mediaType, digest, size: bytes.byteLength }
}
