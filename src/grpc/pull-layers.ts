// The remote-snapshot handshake as a client leads it: Prepare each chain ID bottom up, hear AlreadyExists, find the
// committed snapshot. Anything else means that the layer would have to be downloaded, and is an error here.
import { randomBytes } from 'node:crypto'
import { sleep, systemClock } from '../base/clock.ts'
import { asSnapshotterError, hasCode, SnapshotterError } from '../base/errors.ts'
import { CONTAINERD_REDIAL_MS, CONTAINERD_RETRY_MS, LABEL_BYTES_MAX } from '../base/limits.ts'
import type { ImagePlan, PlannedLayer } from '../image/plan.ts'
import { LABEL_PREFIX, LABEL_SNAPSHOT_REF } from '../snapshots/snapshot.ts'
import type { ContainerdClient } from './containerd-client.ts'
import type { StringMap, WireSnapshotInfo } from './wire.ts'

export interface LayerContext {
  readonly client: ContainerdClient
  readonly plan: ImagePlan
  /** The image's name in containerd. */
  readonly name: string
  readonly snapshotter: string
  readonly lease: string
}

/**
 * That the snapshot exists and is committed shows when the next one stands on it: a Prepare above it that finds nothing says
 * NOT_FOUND, above an active one INVALID_ARGUMENT. Of the top, ask `requireCommitted`.
 * @throws FAILED_PRECONDITION when the snapshotter did not take the layer; NOT_FOUND when the one below is gone; UNAVAILABLE when it is away.
 */
export async function prepareLayer ({ client, plan, name, snapshotter, lease }: LayerContext, layer: PlannedLayer, parent: string): Promise<void> {
  const key = `extract-${randomBytes(6).toString('hex')} ${layer.chainId}`
  const request = { snapshotter, key, parent, labels: labelsOf(plan, layer, name) }
  try {
    await throughPlugin(snapshotter, async () => await client.prepare(request, lease))
  } catch (error) {
    if (hasCode(error, 'ALREADY_EXISTS')) return
    throw error
  }
  await throughPlugin(snapshotter, async () => { await client.removeSnapshot(snapshotter, key) })
  throw new SnapshotterError('FAILED_PRECONDITION',
    `snapshotter ${snapshotter} did not mount layer ${layer.digest} (chain ID ${layer.chainId}) lazily; does it know the image ${plan.canonical}?`)
}

/** @throws NOT_FOUND; FAILED_PRECONDITION when it is active; UNAVAILABLE when the plugin stays away. */
export async function requireCommitted (client: ContainerdClient, snapshotter: string, chainId: string): Promise<void> {
  const { kind } = await statThroughPlugin(client, snapshotter, chainId)
  if (kind !== 'COMMITTED') throw new SnapshotterError('FAILED_PRECONDITION', `snapshot ${chainId} in ${snapshotter} is ${kind}, not committed`)
}

export async function isKnown (client: ContainerdClient, snapshotter: string, chainId: string): Promise<boolean> {
  try {
    await statThroughPlugin(client, snapshotter, chainId)
    return true
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return false
    throw error
  }
}

async function statThroughPlugin (client: ContainerdClient, snapshotter: string, key: string): Promise<WireSnapshotInfo> {
  return await throughPlugin(snapshotter, async () => await client.statSnapshot(snapshotter, key))
}

/**
 * A call that containerd hands on to the plugin: it backs off before it dials one again that was restarted, and which call
 * is the first to notice depends on what its own database can answer. None of them does anything before it is dialled.
 */
async function throughPlugin<Result> (snapshotter: string, call: () => Promise<Result>): Promise<Result> {
  const started = systemClock.monotonicMs()
  for (;;) {
    try {
      return await call()
    } catch (error) {
      if (!hasCode(error, 'UNAVAILABLE')) throw error
      const mayDial = asSnapshotterError(error).message.includes('connection error')
      if (!mayDial || systemClock.monotonicMs() - started > CONTAINERD_REDIAL_MS) throw away(error, snapshotter)
      await sleep(CONTAINERD_RETRY_MS)
    }
  }
}

/** What a CRI pull would send, and the layer's own annotations; containerd refuses pairs over its limit. */
function labelsOf (plan: ImagePlan, layer: PlannedLayer, name: string): StringMap {
  const annotations = Object.entries(layer.annotations).filter(([key]) => key.startsWith(LABEL_PREFIX))
  const labels = Object.entries({
    ...Object.fromEntries(annotations),
    [`${LABEL_PREFIX}cri.image-ref`]: name,
    [`${LABEL_PREFIX}cri.manifest-digest`]: plan.manifest.digest,
    [`${LABEL_PREFIX}cri.layer-digest`]: layer.digest,
    [LABEL_SNAPSHOT_REF]: layer.chainId
  })
  return Object.fromEntries(labels.filter(([key, value]) => Buffer.byteLength(key) + Buffer.byteLength(value) <= LABEL_BYTES_MAX))
}

function away (error: unknown, snapshotter: string): SnapshotterError {
  const hint = `does the daemon behind proxy plugin ${snapshotter} run?`
  return new SnapshotterError('UNAVAILABLE', `${asSnapshotterError(error).message}; ${hint}`, {}, { cause: error })
}
