// Answers the snapshotter's question "do you know this chain ID?" from the image book, and restores from what it stored:
// the keys of the layer and of those below it and the gateways that its pull named, under our seal.
import { GRPC } from '../base/error-codes.ts'
import { asSnapshotterError, grpcStatusOf, hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { PREPARE_WAIT_MS } from '../base/limits.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { Seal } from '../cache/seal.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { LazyLayers } from '../snapshots/lazy-layers.ts'
import { downwards, type ImageBook } from './image-book.ts'
import type { Opener } from './living-layers.ts'
import type { Opening } from './opening.ts'
import type { LayerProofs } from './proof.ts'
import type { Sources } from './sources.ts'

const RESTORE_KIND = 'lazy snapshot 1'

interface Parts {
  readonly book: ImageBook
  readonly mounts: LayerMounts
  readonly opener: Pick<Opener, 'reopen'>
  readonly sources: Sources
  readonly seal: Seal
  readonly proofs: Pick<LayerProofs, 'judge' | 'prove' | 'inBackground'>
  /** `[trust] prove = "before-commit"`: no chain ID is answered for before its layers are proven. */
  readonly proveFirst: boolean
}

export function lazyLayers ({ book, mounts, opener, sources, seal, proofs, proveFirst }: Parts): LazyLayers {
  const reopen = async (key: string): Promise<OpenedLayer> => {
    const layer = await opener.reopen(key)
    if (layer === null) throw new SnapshotterError('STATE_INVALID', `the record of layer ${key} is gone`)
    return layer
  }
  const mountProven = async (layers: readonly OpenedLayer[], blocks: BlockService, target: string, signal?: AbortSignal): Promise<void> => {
    const [layer, ...lowers] = layers
    if (layer === undefined) throw new SnapshotterError('STATE_INVALID', `no layer is named for ${target}`)
    for (const one of layers) {
      if (!await proofs.judge(one) && proveFirst) await proofs.prove(one, blocks, signal)
    }
    await mounts.mount({ layer, lowers, blocks }, target)
    proofs.inBackground(layer, blocks)
  }
  /** Null when no image with this layer was resolved here; else the text to restore it from. */
  const mountBooked = async (chainId: string, target: string, signal?: AbortSignal): Promise<string | null> => {
    const booked = book.find(chainId)
    if (booked === null) return null
    const layers = await settled(downwards(booked).map(({ opening }) => opening), signal)
    await mountProven(layers, booked.blocks, target, signal)
    await Promise.all(layers.map(async ({ saved }) => { await saved }))
    const keys = layers.map(({ key }) => key).join(' ')
    const stored = Buffer.from(`${keys}\n${JSON.stringify(sources.namedIn(booked.blocks))}`)
    return Buffer.from(seal.seal(RESTORE_KIND, chainId, stored)).toString('base64')
  }
  const openStored = async (chainId: string, restore: string): Promise<{ layers: OpenedLayer[], blocks: BlockService }> => {
    const stored = Buffer.from(seal.open(RESTORE_KIND, chainId, Buffer.from(restore, 'base64'))).toString('utf8')
    const [keys = '', named = '[]'] = stored.split('\n')
    return { layers: await Promise.all(keys.split(' ').map(reopen)), blocks: sources.again(JSON.parse(named) as string[]) }
  }
  return {
    mount: async ({ chainId, parentChain, target, signal }) => {
      // containerd 2.2 asks so when it means to rebase: see #refuseRebase in snapshots/snapshotter.ts.
      if (parentChain === null && (book.find(chainId)?.below ?? null) !== null) {
        throw new SnapshotterError('FAILED_PRECONDITION', `layer ${chainId} lies on others and cannot be mounted without them`)
      }
      const restore = await mountBooked(chainId, target, signal)
      return restore === null ? null : { labels: {}, restore }
    },
    restore: async ({ chainId, restore, target }) => {
      try {
        const { layers, blocks } = await openStored(chainId, restore)
        await mountProven(layers, blocks, target)
        return restore
      } catch (error) {
        // The cache was emptied, its key was lost at a reboot, or the layer lied: a pull since then knows another.
        const lied = grpcStatusOf(asSnapshotterError(error).code) === GRPC.DATA_LOSS && !hasCode(error, 'STATE_INVALID')
        if (!lied && !hasCode(error, 'STATE_INVALID')) throw error
        if (lied) await mounts.unmount(target) // also what an earlier run mounted
        const renewed = await mountBooked(chainId, target)
        if (renewed !== null) return renewed
        if (lied) throw error
        throw new SnapshotterError('STATE_INVALID', `${messageOf(error)}; pull the image again`, {}, { cause: error })
      }
    },
    unmount: async (target) => { await mounts.unmount(target) },
    check: async (target) => { await mounts.check(target) }
  }
}

/**
 * Layers open since the image was resolved; containerd's lock is not held for longer than PREPARE_WAIT_MS. Nothing of it stays
 * when it is over: a signal of its own would keep the layers' indexes in memory until its time ran out.
 */
async function settled (openings: readonly Opening[], signal?: AbortSignal): Promise<OpenedLayer[]> {
  const waits = new AbortController()
  const giveUp = (): void => {
    waits.abort(new SnapshotterError('UNAVAILABLE', `the layer was not opened within ${PREPARE_WAIT_MS} ms; it goes on, try again`))
  }
  const timer = setTimeout(giveUp, PREPARE_WAIT_MS)
  signal?.addEventListener('abort', giveUp, { once: true })
  if (signal?.aborted === true) giveUp()
  try {
    return await Promise.all(openings.map(async (opening) => await opening.opened(waits.signal)))
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', giveUp)
  }
}
