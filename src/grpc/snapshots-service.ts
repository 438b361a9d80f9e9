// The Snapshots service as containerd's proxy plugin calls it: translate, call, translate. No rule lives here; the
// namespace header is not read, because garbage collection sends none.
import {
  type handleServerStreamingCall, type handleUnaryCall, type ServerWritableStream, status, type StatusObject, type UntypedServiceImplementation
} from '@grpc/grpc-js'
import { once } from 'node:events'
import { asCall } from '../base/call-id.ts'
import { systemClock } from '../base/clock.ts'
import { hasCode, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Mount, SnapshotInfo, Usage } from '../snapshots/snapshot.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import { toStatus } from './status.ts'
import {
  type CommitRequest, type ListSnapshotsRequest, type PrepareRequest, type SnapshotKey, toTimestamp, type UpdateSnapshotRequest, type WireKind,
  type WireMount, type WireSnapshotInfo
} from './wire.ts'

/** Told of every call when it was answered: its method, the gRPC code's name, and how long it took. */
export type CallObserver = (method: string, code: string, ms: number) => void

export function snapshotsService (snapshotters: Snapshotters, log: Log, observe: CallObserver = () => {}): UntypedServiceImplementation {
  const unary = <Request, Response>(name: string, work: (request: Request) => Promise<Response>): handleUnaryCall<Request, Response> =>
    (call, answer) => {
      served(log, observe, name, call.request, async () => await work(call.request)).then(
        (response) => answer(null, response),
        (error: unknown) => answer(error as StatusObject))
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
    List: listing(snapshotters, log, observe)
  }
}

function listing (
  snapshotters: Snapshotters, log: Log, observe: CallObserver
): handleServerStreamingCall<ListSnapshotsRequest, { info: WireSnapshotInfo[] }> {
  return (call) => {
    served(log, observe, 'List', call.request, async () => { await sendAll(snapshotters, call) })
      .catch((error: unknown) => call.emit('error', error))
  }
}

/** Does the work under an id of its own. @throws the status to answer. */
async function served<Result> (log: Log, observe: CallObserver, method: string, request: unknown, work: () => Promise<Result>): Promise<Result> {
  const { key = '', parent = '', name = '' } = request as { readonly key?: string, readonly parent?: string, readonly name?: string }
  const started = systemClock.monotonicMs()
  const done = (code: number): void => { observe(method, status[code] ?? 'UNKNOWN', systemClock.monotonicMs() - started) }
  return await asCall(method, `${method} ${key}`.trim(), async () => {
    log.debug({ method, key, parent, name }, 'call')
    try {
      const result = await work()
      done(status.OK)
      return result
    } catch (error) {
      const answer = logged(log, method, error)
      done(answer.code)
      throw answer as unknown
    }
  })
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
function logged (log: Log, method: string, error: unknown): ReturnType<typeof toStatus> {
  const answer = toStatus(error)
  const usual = hasCode(error, 'ALREADY_EXISTS', 'NOT_FOUND', 'FAILED_PRECONDITION', 'INVALID_ARGUMENT', 'CANCELLED')
  log[usual ? 'debug' : 'warn']({ method, error: answer.details, ...usual ? {} : { stack: error instanceof Error ? error.stack : undefined } }, 'call failed')
  return answer
}
