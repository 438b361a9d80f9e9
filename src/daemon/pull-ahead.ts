// What is done for a layer between its opening and containerd's asking for it: its publisher's first bytes are fetched, its
// image is made, it is mounted. None of it is needed, so none of it fails a pull.
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { EarlyFetch } from '../mount/early-fetch.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import { type BookedLayer, downwards } from './image-book.ts'

interface Fetching { readonly mounts: LayerMounts, readonly early: EarlyFetch }

/** Never throws. `pulled` settles when the pull ended. */
export async function fetchEarly ({ mounts, early }: Fetching, booked: BookedLayer, pulled: Promise<unknown>): Promise<void> {
  const { opening, blocks } = booked
  const layer = await opening.outcome().catch(() => null)
  const isMounted = layer === null || [...mounts.layers().values()].some(({ key }) => key === layer.key)
  if (isMounted) return
  const fetched = early.fetch(layer, blocks, pulled)
  const lowers = downwards(booked).slice(1).map(async (lower) => await lower.opening.outcome())
  await Promise.all(lowers).then((below) => { mounts.expect({ layer, lowers: below }, pulled) }, () => {})
  await fetched
}

interface Mounting { readonly snapshotters: Snapshotters, readonly log: Log }

/** `layers`: base first; `name`: of the snapshotter that will be asked for them. */
export function mountAhead ({ snapshotters, log }: Mounting, name: string, layers: readonly BookedLayer[], pulled: Promise<unknown>): void {
  const outcomes = layers.map(async ({ opening }) => await opening.outcome())
  // With those below it: a mount that waits for them would keep a pull going that was given up.
  const expected = layers.map(({ chainId }, at) => ({ chainId, opened: Promise.all(outcomes.slice(0, at + 1)) }))
  for (const { opened } of expected) opened.catch(() => {}) // told to whoever prepares it
  snapshotters.get(name).then((snapshotter) => { snapshotter.expect(expected, pulled) }, (error: unknown) => {
    log.debug({ snapshotter: name, error: messageOf(error) }, 'layers not mounted ahead')
  })
}
