// `pull`: resolves the reference, opens all layers at once, and then fills containerd through its own API, so that any
// client finds an ordinary image.
import { SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Config } from '../config/load.ts'
import { pullImage } from '../grpc/pull-image.ts'
import type { ControlCall } from '../http/control-server.ts'
import { resolveImage } from '../image/resolver.ts'
import { parseReference } from '../oci/reference.ts'
import { spellings } from '../oci/spellings.ts'
import type { ImageBook } from './image-book.ts'
import type { Sources } from './sources.ts'

/** What the command line sends. */
export interface PullRequest {
  readonly reference: string
  readonly namespace: string
  /** Of the image record; null: the grammar-legal spelling of the reference. */
  readonly name: string | null
  readonly snapshotter: string
  readonly gateways: readonly string[]
  readonly platform: string | null
}

interface Parts {
  readonly config: Config
  readonly book: ImageBook
  readonly sources: Sources
  readonly log: Log
}

export function pullHandler ({ config, book, sources, log }: Parts) {
  return async ({ body, signal, emit }: ControlCall): Promise<object> => {
    const request = body as PullRequest // our own command line, over a socket that only root opens
    const reference = parseReference(request.reference)
    const blocks = sources.for(request.gateways, reference.gateway)
    if (blocks.sources().length === 0) {
      throw new SnapshotterError('CONFIG_INVALID', 'no source to fetch from: name one with --gateway URL, or [[source]] in the config file')
    }
    emit({ type: 'resolving', reference: reference.text })
    const plan = await resolveImage(reference, { blocks, platform: request.platform ?? undefined, signal, log })
    emit({ type: 'resolved', manifestDigest: plan.manifest.digest, layers: plan.layers.length })

    const { opened } = book.add(plan, blocks)
    await opened
    const name = request.name ?? spellings(plan.rootCid, plan.manifest.digest).ctr
    const pulled = await pullImage({
      plan,
      address: config.containerdAddress,
      namespace: request.namespace,
      name,
      snapshotter: request.snapshotter,
      snapshotterAddress: config.grpcAddress,
      signal,
      log,
      onProgress: emit
    })
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
}
