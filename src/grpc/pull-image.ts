// Fills a containerd with a resolved image, without its layers' bytes: documents, one lazy snapshot per layer, one image
// record. Afterwards it is an ordinary image to every client; after a failure nothing of it is left. Steps and traps:
// docs/ARCHITECTURE.md, the client's recipe.
import { abortable } from '../base/abortable.ts'
import { hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { ImagePlan } from '../image/plan.ts'
import { ContainerdClient } from './containerd-client.ts'
import { adoptBlob, type Blob, writeBlob } from './content-writer.ts'
import { documentsOf, topChainId } from './pull-blobs.ts'
import { isKnown, prepareLayer, requireCommitted } from './pull-layers.ts'
import { dropDeadLeases, withLease } from './pull-lease.ts'
import type { Descriptor, WireImage } from './wire.ts'

export interface PullImageInit {
  readonly plan: ImagePlan
  /** containerd's socket. */
  readonly address: string
  readonly namespace: string
  /** Of the image record, normalised. */
  readonly name: string
  /** The proxy plugin's name in containerd's configuration. */
  readonly snapshotter: string
  /** The socket that plugin should lead to; compared where containerd tells (1.7 and later). */
  readonly snapshotterAddress?: string
  readonly labels?: Readonly<Record<string, string>>
  /** Called when the plugin is known to be there and to lead to us. */
  readonly accepted?: () => void
  /** Ends when the layer at this place may be prepared, 0 being the base: asked for one after the other. */
  readonly ready?: (position: number) => Promise<void>
  readonly signal?: AbortSignal
  readonly log?: Log
  readonly onProgress?: (event: PullEvent) => void
}

export type PullEvent =
  | { readonly type: 'blob', readonly digest: string, readonly size: number, readonly written: boolean }
  | { readonly type: 'layer', readonly digest: string, readonly chainId: string, readonly position: number, readonly count: number }
  | { readonly type: 'image', readonly name: string, readonly target: string, readonly created: boolean }

export interface PulledImage {
  readonly name: string
  readonly target: Descriptor
  readonly chainId: string
  readonly containerd: string
}

const LEASE_TRIES = 3 // as containerd's unpacker: the collector may sweep between two calls

/**
 * @throws CONTAINERD when it cannot be reached or misbehaves; FAILED_PRECONDITION when the plugin is missing or a layer
 * was not mounted lazily; UNAVAILABLE when the plugin is away; what the plugin answers to Prepare (DATA_LOSS codes too).
 */
export async function pullImage (init: PullImageInit): Promise<PulledImage> {
  const { plan, address, namespace, signal, log = silentLog } = init
  const client = new ContainerdClient({ address, namespace, ...signal === undefined ? {} : { signal } })
  try {
    const containerd = await client.version()
    await requirePlugin(client, init)
    init.accepted?.()
    await dropDeadLeases(client, log)
    for (let tries = 1; ; tries++) {
      try {
        const target = await withLease(client, plan.canonical, log, async (lease) => await fill(client, init, lease))
        return { name: init.name, target, chainId: topChainId(plan), containerd }
      } catch (error) {
        // Somebody deleted the lease, or its parents went with it: once more from the start.
        if (!hasCode(error, 'NOT_FOUND') || tries >= LEASE_TRIES) throw error
        log.warn({ error: messageOf(error) }, 'pull lost its lease, starting over')
      }
    }
  } finally {
    client.close()
  }
}

/** containerd knows the plugin by name, and it leads to the daemon we mean. */
async function requirePlugin (client: ContainerdClient, { snapshotter, snapshotterAddress }: PullImageInit): Promise<void> {
  const [plugin] = await client.plugins(`type==io.containerd.snapshotter.v1,id==${snapshotter}`)
  if (plugin === undefined) {
    const hint = `add [proxy_plugins.${snapshotter}] to its configuration and restart it`
    throw new SnapshotterError('FAILED_PRECONDITION', `containerd at ${client.address} has no snapshotter ${snapshotter}; ${hint}`)
  }
  const leadsTo = plugin.exports['address']
  if (leadsTo !== undefined && snapshotterAddress !== undefined && leadsTo !== snapshotterAddress) {
    throw new SnapshotterError('FAILED_PRECONDITION',
      `containerd's proxy plugin ${snapshotter} leads to ${leadsTo}, our daemon listens on ${snapshotterAddress}`)
  }
}

async function fill (client: ContainerdClient, init: PullImageInit, lease: string): Promise<Descriptor> {
  const { plan, name, snapshotter, onProgress = () => {}, signal = new AbortController().signal } = init
  const { target, blobs } = documentsOf(plan, snapshotter)
  await holdKnown(client, init, lease)
  const stop = new AbortController()
  const given = AbortSignal.any([signal, stop.signal])
  const documents = writeDocuments(client, blobs, lease, given, onProgress)
    .then(async () => { await adoptLayers(client, plan, lease, given) })
  documents.catch((error: unknown) => { stop.abort(error) })
  let parent = ''
  try {
    for (const [at, layer] of plan.layers.entries()) {
      given.throwIfAborted()
      if (init.ready !== undefined) await abortable(init.ready(at), given)
      await prepareLayer({ client, plan, name, snapshotter, lease }, layer, parent)
      parent = layer.chainId
      onProgress({ type: 'layer', digest: layer.digest, chainId: layer.chainId, position: at + 1, count: plan.layers.length })
    }
  } catch (error) {
    stop.abort(error)
    throw error
  } finally {
    await documents.catch(() => {}) // nothing may be written when the lease is gone
  }
  await documents
  await verifyUnderLease(client, blobs, snapshotter, parent)
  const created = await record(client, { name, labels: init.labels ?? {}, target }, lease)
  onProgress({ type: 'image', name, target: target.digest, created })
  return target
}

/**
 * containerd 1.6 leases what it makes itself, but not a target of Prepare that its database knew already: those are named.
 * A snapshot holds all below it, so the top is enough, and the highest that is there. One that the collector takes before
 * anything stands on it is missed by the Prepare above it.
 */
async function holdKnown (client: ContainerdClient, { plan, snapshotter }: PullImageInit, lease: string): Promise<void> {
  const hold = async (id: string): Promise<void> => { await client.addResource(lease, { type: `snapshots/${snapshotter}`, id }) }
  await hold(topChainId(plan))
  const known = await highestKnown(client, plan, snapshotter)
  if (known !== null && known !== topChainId(plan)) await hold(known)
}

/** Searched by halves: a snapshot that is there has all below it. */
async function highestKnown (client: ContainerdClient, { layers }: ImagePlan, snapshotter: string): Promise<string | null> {
  let [low, high] = [0, layers.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (await isKnown(client, snapshotter, layers[middle]?.chainId ?? '')) low = middle + 1
    else high = middle
  }
  return layers[low - 1]?.chainId ?? null
}

/** Documents do not wait for each other. @throws when all have ended */
async function writeDocuments (
  client: ContainerdClient, blobs: readonly Blob[], lease: string, signal: AbortSignal, onProgress: (event: PullEvent) => void
): Promise<void> {
  const ended = await Promise.allSettled(blobs.map(async (blob) => {
    const written = await writeBlob(client, blob, lease, signal)
    onProgress({ type: 'blob', digest: blob.digest, size: blob.bytes.byteLength, written })
  }))
  for (const one of ended) if (one.status === 'rejected') throw one.reason
}

/** Where our content store is containerd's, the layers are there as well: then the image can be exported, pushed and unpacked. */
async function adoptLayers (client: ContainerdClient, { layers }: ImagePlan, lease: string, signal: AbortSignal): Promise<void> {
  for (const layer of layers) if (!await adoptBlob(client, layer, lease, signal)) return
}

/** A lease that went unnoticed took everything with it; only looking tells. @throws NOT_FOUND */
async function verifyUnderLease (client: ContainerdClient, blobs: readonly Blob[], snapshotter: string, chainId: string): Promise<void> {
  await Promise.all([requireCommitted(client, snapshotter, chainId), ...blobs.map(async ({ digest, bytes, labels }) => {
    const info = await client.contentInfo(digest)
    const missing = Object.keys(labels).find((key) => info.labels[key] !== labels[key])
    if (info.size !== bytes.byteLength || missing !== undefined) {
      const lacks = missing === undefined ? '' : ` and lacks label ${missing}`
      throw new SnapshotterError('CONTAINERD', `blob ${digest} in containerd has ${info.size} bytes (wanted ${bytes.byteLength})${lacks}`)
    }
  })])
}

/** True when the name is new. */
async function record (client: ContainerdClient, image: WireImage, lease: string): Promise<boolean> {
  const NAME_TRIES = 5
  for (let tries = 1; ; tries++) {
    try {
      await client.createImage(image, lease)
      return true
    } catch (error) {
      if (!hasCode(error, 'ALREADY_EXISTS')) throw error
    }
    try {
      await client.updateImage(image, lease)
      return false
    } catch (error) {
      // Removed in between, by an `rmi` beside us.
      if (!hasCode(error, 'NOT_FOUND') || tries >= NAME_TRIES) throw error
    }
  }
}
