// The Snapshots service as containerd's proxy plugin calls it: translate, call, translate. No rule lives here; the
// namespace header is not read, because garbage collection sends none.
import type { handleServerStreamingCall, handleUnaryCall, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js'
import { once } from 'node:events'
import { hasCode, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Mount, SnapshotInfo, Usage } from '../snapshots/snapshot.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import { toStatus } from './status.ts'
import {
  type CommitRequest, type ListSnapshotsRequest, type PrepareRequest, type SnapshotKey, toTimestamp, type UpdateSnapshotRequest, type WireKind,
  type WireMount, type WireSnapshotInfo
} from './wire.ts'

export function snapshotsService (snapshotters: Snapshotters, log: Log): UntypedServiceImplementation {
  const unary = <Request, Response>(name: string, work: (request: Request) => Promise<Response>): handleUnaryCall<Request, Response> =>
    (call, answer) => {
      work(call.request).then(
        (response) => answer(null, response),
        (error: unknown) => answer(logged(log, name, error)))
    }
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
    List: listing(snapshotters, log)
  }
}

function listing (snapshotters: Snapshotters, log: Log): handleServerStreamingCall<ListSnapshotsRequest, { info: WireSnapshotInfo[] }> {
  return (call) => {
    sendAll(snapshotters, call).catch((error: unknown) => call.emit('error', logged(log, 'List', error)))
  }
}

async function sendAll (snapshotters: Snapshotters, call: ServerWritableStream<ListSnapshotsRequest, { info: WireSnapshotInfo[] }>): Promise<void> {
  const snapshotter = await snapshotters.get(call.request.snapshotter)
  const gone = new AbortController()
  call.on('cancelled', () => gone.abort(new SnapshotterError('CANCELLED', 'the client left')))
  for (const infos of snapshotter.list(call.request.filters)) {
    gone.signal.throwIfAborted()
    if (!call.write({ info: infos.map(toInfo) })) await once(call, 'drain', { signal: gone.signal })
  }
  call.end()
}

function toMounts (mounts: readonly Mount[]): WireMount[] {
  return mounts.map((mount) => ({ ...mount, target: '' }))
}

const KINDS = { view: 'VIEW', active: 'ACTIVE', committed: 'COMMITTED' } as const satisfies Record<SnapshotInfo['kind'], WireKind>

function toInfo ({ name, parent, kind, createdNs, updatedNs, labels }: SnapshotInfo): WireSnapshotInfo {
  return { name, parent, kind: KINDS[kind], createdAt: toTimestamp(createdNs), updatedAt: toTimestamp(updatedNs), labels }
}

/** Answers that are part of normal work are for debugging; the others name a fault. */
function logged (log: Log, call: string, error: unknown): ReturnType<typeof toStatus> {
  const answer = toStatus(error)
  const usual = hasCode(error, 'ALREADY_EXISTS', 'NOT_FOUND', 'FAILED_PRECONDITION', 'INVALID_ARGUMENT', 'CANCELLED')
  log[usual ? 'debug' : 'warn']({ call, error: answer.details, ...usual ? {} : { stack: error instanceof Error ? error.stack : undefined } }, 'call failed')
  return answer
}
