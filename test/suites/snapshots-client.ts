// The Snapshots service as a bare gRPC client: what containerd's proxy plugin sends, for tests of our server.
import { credentials, type Client, Metadata, type ServiceError } from '@grpc/grpc-js'
import { serviceOf } from '../../src/grpc/protocol.ts'
import { fromTimestamp, type WireMount, type WireSnapshotInfo } from '../../src/grpc/wire.ts'
import type { Mount, SnapshotInfo } from '../../src/snapshots/snapshot.ts'
import type { SuiteSnapshotter } from './snapshotter-suite.ts'

type Unary = (request: object, metadata: Metadata, answer: (error: ServiceError | null, value: unknown) => void) => void
type Streaming = (request: object, metadata: Metadata) => AsyncIterable<{ info: WireSnapshotInfo[] }> & { cancel: () => void }

export interface SnapshotsClient extends SuiteSnapshotter {
  readonly call: <Answer>(method: string, request: object, namespace?: string) => Promise<Answer>
  /** Sizes of the messages of one List. */
  readonly blocks: (filters: readonly string[]) => Promise<number[]>
}

/** `listed`: namespace of List, which our own server does not ask for and containerd does. */
export function snapshotsClient (address: string, snapshotter: string, used = 'testsuite', listed = ''): SnapshotsClient {
  const Constructor = serviceOf('snapshots')
  const stub = new Constructor(`unix:${address}`, credentials.createInsecure()) as unknown as Client & Record<string, unknown>
  const call = async <Answer>(method: string, request: object, namespace = used) => await new Promise<Answer>((resolve, reject) => {
    const metadata = new Metadata()
    if (namespace !== '') metadata.set('containerd-namespace', namespace)
    ;(stub[method] as Unary).call(stub, { snapshotter, ...request }, metadata, (error, value) => {
      if (error === null) resolve(value as Answer)
      else reject(error)
    })
  })
  const list = (filters: readonly string[]): ReturnType<Streaming> => {
    const metadata = new Metadata()
    if (listed !== '') metadata.set('containerd-namespace', listed)
    return (stub['List'] as Streaming).call(stub, { snapshotter, filters }, metadata)
  }
  const mounts = async (method: string, request: object): Promise<Mount[]> =>
    (await call<{ mounts: WireMount[] }>(method, request)).mounts.map(({ type, source, options }) => ({ type, source, options }))

  return {
    call,
    prepare: async (key, parent, labels) => await mounts('Prepare', { key, parent, labels }),
    view: async (key, parent, labels) => await mounts('View', { key, parent, labels }),
    commit: async (name, key, labels) => { await call('Commit', { name, key, labels }) },
    remove: async (key) => { await call('Remove', { key }) },
    stat: async (key) => toInfo((await call<{ info: WireSnapshotInfo }>('Stat', { key })).info),
    update: async (name, labels, paths) => {
      const mask = paths.length > 0 ? { updateMask: { paths } } : {}
      return toInfo((await call<{ info: WireSnapshotInfo }>('Update', { info: { name, labels, parent: 'ignored' }, ...mask })).info)
    },
    list: async function * (filters) { for await (const { info } of list(filters)) yield * info.map(toInfo) },
    blocks: async (filters) => {
      const sizes: number[] = []
      for await (const { info } of list(filters)) sizes.push(info.length)
      return sizes
    },
    close: async () => { stub.close() }
  }
}

function toInfo ({ name, parent, kind, createdAt, updatedAt, labels }: WireSnapshotInfo): SnapshotInfo {
  const times = { createdNs: fromTimestamp(createdAt), updatedNs: fromTimestamp(updatedAt) }
  return { name, parent, kind: kind.toLowerCase() as SnapshotInfo['kind'], ...times, labels }
}
