// The Snapshots service as containerd's proxy plugin calls it: translate, call, translate. No rule lives here; the
// namespace header is not read, because garbage collection sends none.
import type { ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js'
import { SnapshotterError } from '../base/errors.ts'
import type { Mount, SnapshotInfo, Usage } from '../snapshots/snapshot.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import { type Calls, sender } from './calls.ts'
import {
  type CommitRequest, type ListSnapshotsRequest, type PrepareRequest, type SnapshotKey, toTimestamp, type UpdateSnapshotRequest, type WireKind,
  type WireMount, type WireSnapshotInfo
} from './wire.ts'

export function snapshotsService (snapshotters: Snapshotters, calls: Calls): UntypedServiceImplementation {
  const { unary } = calls
  const mounting = (method: 'prepare' | 'view') => async (request: PrepareRequest): Promise<{ mounts: WireMount[] }> => {
    const snapshotter = await snapshotters.get(request.snapshotter)
    return { mounts: toMounts(await snapshotter[method](request.key, request.parent, request.labels)) }
  }

  return {
    Prepare: unary('Prepare', mounting('prepare')),
    View: unary('View', mounting('view')),
    Mounts: unary('Mounts', async ({ snapshotter, key }: SnapshotKey) =>
      ({ mounts: toMounts(await (await snapshotters.get(snapshotter)).mounts(key)) })),
    Commit: unary('Commit', async ({ snapshotter, name, key, labels, parent }: CommitRequest) => {
      await (await snapshotters.get(snapshotter)).commit(name, key, labels, parent)
      return {}
    }),
    Remove: unary('Remove', async ({ snapshotter, key }: SnapshotKey) => {
      await (await snapshotters.get(snapshotter)).remove(key)
      return {}
    }),
    Stat: unary('Stat', async ({ snapshotter, key }: SnapshotKey) => ({ info: toInfo((await snapshotters.get(snapshotter)).stat(key)) })),
    Update: unary('Update', async ({ snapshotter, info, updateMask }: UpdateSnapshotRequest) => {
      if (info === null) throw new SnapshotterError('INVALID_ARGUMENT', 'an update without info')
      return { info: toInfo((await snapshotters.get(snapshotter)).update(info.name, info.labels, updateMask?.paths ?? [])) }
    }),
    Usage: unary('Usage', async ({ snapshotter, key }: SnapshotKey): Promise<Usage> => await (await snapshotters.get(snapshotter)).usage(key)),
    Cleanup: unary('Cleanup', async ({ snapshotter }: { snapshotter: string }) => {
      await (await snapshotters.get(snapshotter)).cleanup()
      return {}
    }),
    List: calls.streaming('List', async (call) => { await sendAll(snapshotters, call) })
  }
}

async function sendAll (snapshotters: Snapshotters, call: ServerWritableStream<ListSnapshotsRequest, { info: WireSnapshotInfo[] }>): Promise<void> {
  const snapshotter = await snapshotters.get(call.request.snapshotter)
  const send = sender(call)
  for (const infos of snapshotter.list(call.request.filters)) await send({ info: infos.map(toInfo) })
}

function toMounts (mounts: readonly Mount[]): WireMount[] {
  return mounts.map((mount) => ({ ...mount, target: '' }))
}

const KINDS = { view: 'VIEW', active: 'ACTIVE', committed: 'COMMITTED' } as const satisfies Record<SnapshotInfo['kind'], WireKind>

function toInfo ({ name, parent, kind, createdNs, updatedNs, labels }: SnapshotInfo): WireSnapshotInfo {
  return { name, parent, kind: KINDS[kind], createdAt: toTimestamp(createdNs), updatedAt: toTimestamp(updatedNs), labels }
}
