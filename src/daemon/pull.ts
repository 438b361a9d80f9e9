// `pull`: resolves the reference, opens all layers at once, fetches what their publisher marked as needed first, and
// meanwhile fills containerd through its own API, so that any client finds an ordinary image. It does not wait for the
// fetching: a container may start, its reads wait for what is in flight.
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Config } from '../config/load.ts'
import { pullImage } from '../grpc/pull-image.ts'
import type { ControlCall } from '../http/control-server.ts'
import { resolveImage } from '../image/resolver.ts'
import { parseReference } from '../oci/reference.ts'
import { spellings } from '../oci/spellings.ts'
import type { EarlyFetch } from '../mount/early-fetch.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { LayerProofs } from './proof.ts'
import type { ChainClaims } from './proof-claims.ts'
import { fetchEarly, mountAhead } from './pull-ahead.ts'
import { PullProgress } from './pull-progress.ts'
import type { PromisedContent } from './promised-content.ts'
import { asPullRequest, type PullRequest } from './pull-request.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import type { Sources } from './sources.ts'

interface Parts {
  readonly config: Config
  readonly claims: ChainClaims
  readonly content: Pick<PromisedContent, 'promise'>
  readonly proofs: LayerProofs
  readonly sources: Sources
  readonly mounts: LayerMounts
  readonly snapshotters: Snapshotters
  readonly early: EarlyFetch
  /** Called when a container may start: its reads come before what is done in the background. */
  readonly expectReads: () => void
  readonly log: Log
}

export function pullHandler (parts: Parts) {
  return async (call: ControlCall): Promise<object> => {
    const request = asPullRequest(call.body)
    try {
      return await pull(parts, request, call)
    } catch (error) {
      if (!call.signal.aborted) parts.log.warn({ reference: request.reference, error: asSnapshotterError(error).line }, 'pull failed')
      throw error
    }
  }
}

async function pull (
  { config, claims, content, proofs, sources, mounts, snapshotters, early, expectReads, log }: Parts, request: PullRequest, { signal, emit }: ControlCall
): Promise<object> {
  const reference = parseReference(request.reference)
  const blocks = sources.for(request.gateways, reference.gateway)
  if (blocks.sources().length === 0) {
    throw new SnapshotterError('CONFIG_INVALID', 'no source to fetch from: name one with --gateway URL, or [[source]] in the config file')
  }
  using progress = new PullProgress(emit, reference.text)
  const plan = await resolveImage(reference, { blocks, platform: request.platform ?? undefined, signal, log })
  progress.resolved(plan)

  content.promise(plan, blocks, request.name)
  const { layers, opened, release, giveUp } = await claims.book(plan, blocks, signal)
  progress.booked(plan, layers)
  const name = request.name ?? spellings(plan.rootCid, plan.manifest.digest).ctr
  const ended = Promise.withResolvers<undefined>()
  ended.promise.catch(() => {}) // nobody may be left who waits for it
  for (const layer of layers) void fetchEarly({ mounts, early }, layer, ended.promise)
  const pulled = await pullImage({
    plan,
    accepted: () => { if (config.prove !== 'before-commit') mountAhead({ snapshotters, log }, request.snapshotter, layers, ended.promise) },
    ready: async (position) => {
      // With proof first nothing is mounted before all of the image is proven; else each layer when it is open.
      await (config.prove === 'before-commit' ? opened : layers[position]?.opening.outcome())
      if (position === 0) expectReads()
      if (config.prove !== 'before-commit' || position > 0) return
      await Promise.all(layers.map(async ({ opening }) => { await proofs.prove(await opening.outcome(), blocks, signal) }))
    },
    address: config.containerdAddress,
    namespace: request.namespace,
    name,
    snapshotter: request.snapshotter,
    snapshotterAddress: config.grpcAddress,
    signal,
    log,
    onProgress: progress.onEvent
  }).then((image) => { expectReads(); ended.resolve(undefined); return image }, (error: unknown) => {
    ended.reject(error)
    if (signal.aborted) giveUp()
    throw error
  }).finally(release)
  progress.pulled(plan)
  return {
    name,
    namespace: request.namespace,
    snapshotter: request.snapshotter,
    cid: plan.rootCid.toString(),
    reference: plan.canonical,
    manifestDigest: plan.manifest.digest,
    target: pulled.target.digest,
    containerd: pulled.containerd,
    platform: plan.platform,
    layers: plan.layers.map(({ digest, diffId, chainId, size, mediaType }) => ({ digest, diffId, chainId, size, mediaType }))
  }
}
