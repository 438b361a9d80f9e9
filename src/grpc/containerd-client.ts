// Calls to a containerd's own API over its unix socket: one method per call we make, each with the namespace, a lease
// where objects are written, and a deadline. Errors are ours: status codes become codes, see status.ts.
import { type CallOptions, type Client, type ClientDuplexStream, credentials, type Metadata as GrpcMetadata, Metadata } from '@grpc/grpc-js'
import { systemClock } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { CONTAINERD_CALL_DEADLINE_MS, CONTAINERD_PREPARE_DEADLINE_MS, GRPC_MESSAGE_BYTES_MAX } from '../base/limits.ts'
import { serviceOf, type ServiceName } from './protocol.ts'
import { fromStatus } from './status.ts'
import type {
  PrepareRequest, StringMap, WireContainer, WireContentInfo, WireImage, WireLease, WireMount, WirePlugin, WireSnapshotInfo, WriteRequest, WriteResponse
} from './wire.ts'

export interface ContainerdInit {
  /** Absolute path of containerd's socket. */
  readonly address: string
  readonly namespace: string
  /** Ends every call. */
  readonly signal?: AbortSignal
}

const SIGKILL = 9

type Answer = (error: Error | null, value: unknown) => void
type UnaryMethod = (request: object, metadata: GrpcMetadata, options: CallOptions, answer: Answer) => { cancel: () => void }
type Stub = Client & Record<string, UnaryMethod>
export type WriteCall = ClientDuplexStream<WriteRequest, WriteResponse>

export class ContainerdClient {
  readonly address: string
  readonly namespace: string
  readonly #signal: AbortSignal | null
  readonly #stubs = new Map<ServiceName, Stub>()

  constructor ({ address, namespace, signal }: ContainerdInit) {
    if (!address.startsWith('/')) throw new SnapshotterError('CONFIG_INVALID', `containerd address ${JSON.stringify(address)} is no absolute path`)
    this.address = address
    this.namespace = namespace
    this.#signal = signal ?? null
  }

  async version (): Promise<string> {
    return (await this.#call<{ version: string }>('version', 'Version', {})).version
  }

  /** In the pid namespace of whoever asks, 0 when containerd does not tell. */
  async pid (): Promise<number> {
    return Number((await this.#call<{ pid: string | number }>('introspection', 'Server', {})).pid)
  }

  async plugins (...filters: string[]): Promise<WirePlugin[]> {
    return (await this.#call<{ plugins: WirePlugin[] }>('introspection', 'Plugins', { filters })).plugins
  }

  async createLease (id: string, labels: StringMap): Promise<void> {
    await this.#call('leases', 'Create', { id, labels })
  }

  /** With `sync` it waits for the garbage collection that follows. */
  async deleteLease (id: string, sync: boolean): Promise<void> {
    await this.#call('leases', 'Delete', { id, sync })
  }

  async leases (...filters: string[]): Promise<WireLease[]> {
    return (await this.#call<{ leases: WireLease[] }>('leases', 'List', { filters })).leases
  }

  async addResource (lease: string, resource: { readonly type: string, readonly id: string }): Promise<void> {
    await this.#call('leases', 'AddResource', { id: lease, resource }, lease)
  }

  async contentInfo (digest: string): Promise<WireContentInfo> {
    return (await this.#call<{ info: WireContentInfo }>('content', 'Info', { digest })).info
  }

  /** Bytes [offset, offset + size) of a blob, `size` above 0, in pieces of containerd's choice. */
  async * readContent (digest: string, offset: number, size: number): AsyncGenerator<Uint8Array> {
    for await (const { data } of this.#stream<{ data: Uint8Array }>('content', 'Read', { digest, offset, size })) yield data
  }

  /** Sets the labels given and leaves the others. */
  async labelContent (digest: string, labels: StringMap, lease: string): Promise<void> {
    await this.#call('content', 'Update', { info: { digest, labels }, updateMask: labelMask(labels) }, lease)
  }

  async abortWrite (ref: string, lease: string): Promise<void> {
    await this.#call('content', 'Abort', { ref }, lease)
  }

  /** A lock-step stream; the caller ends it. */
  openWrite (lease: string): WriteCall {
    const stub = this.#stub('content') as unknown as { Write: (metadata: GrpcMetadata, options: CallOptions) => WriteCall }
    return stub.Write(this.#metadata(lease), { deadline: systemClock.now() + CONTAINERD_CALL_DEADLINE_MS })
  }

  async prepare (request: PrepareRequest, lease: string): Promise<WireMount[]> {
    return (await this.#call<{ mounts: WireMount[] }>('snapshots', 'Prepare', request, lease, CONTAINERD_PREPARE_DEADLINE_MS)).mounts
  }

  async statSnapshot (snapshotter: string, key: string): Promise<WireSnapshotInfo> {
    return (await this.#call<{ info: WireSnapshotInfo }>('snapshots', 'Stat', { snapshotter, key })).info
  }

  async removeSnapshot (snapshotter: string, key: string): Promise<void> {
    await this.#call('snapshots', 'Remove', { snapshotter, key })
  }

  /** Name → name of the parent, of all snapshots of the namespace. */
  async snapshotParents (snapshotter: string): Promise<Map<string, string>> {
    const parents = new Map<string, string>()
    for await (const { info } of this.#stream<{ info: WireSnapshotInfo[] }>('snapshots', 'List', { snapshotter })) {
      for (const { name, parent } of info) parents.set(name, parent)
    }
    return parents
  }

  async namespaces (): Promise<string[]> {
    return (await this.#call<{ namespaces: Array<{ name: string }> }>('namespaces', 'List', {})).namespaces.map(({ name }) => name)
  }

  async containers (): Promise<WireContainer[]> {
    return (await this.#call<{ containers: WireContainer[] }>('containers', 'List', {})).containers
  }

  /** SIGKILL to every process of a container's task. @throws NOT_FOUND when it has none, or none that runs. */
  async killTask (containerId: string): Promise<void> {
    await this.#call('tasks', 'Kill', { containerId, signal: SIGKILL, all: true })
  }

  async image (name: string): Promise<WireImage> {
    return (await this.#call<{ image: WireImage }>('images', 'Get', { name })).image
  }

  async createImage (image: WireImage, lease: string): Promise<void> {
    await this.#call('images', 'Create', { image }, lease)
  }

  /** Sets target and the labels given; labels of others stay. */
  async updateImage (image: WireImage, lease: string): Promise<void> {
    await this.#call('images', 'Update', { image, updateMask: { paths: ['target', ...labelMask(image.labels).paths] } }, lease)
  }

  async deleteImage (name: string, sync: boolean): Promise<void> {
    await this.#call('images', 'Delete', { name, sync })
  }

  /** For cleaning up after the signal fired; shares nothing, so close it too. */
  withoutSignal (): ContainerdClient {
    return new ContainerdClient({ address: this.address, namespace: this.namespace })
  }

  close (): void {
    for (const stub of this.#stubs.values()) stub.close()
    this.#stubs.clear()
  }

  async #call<Result> (service: ServiceName, method: string, request: object, lease = '', deadlineMs = CONTAINERD_CALL_DEADLINE_MS): Promise<Result> {
    const signal = this.#signal
    signal?.throwIfAborted()
    return await new Promise<Result>((resolve, reject) => {
      const options = { deadline: systemClock.now() + deadlineMs }
      const call = this.#stub(service)[method]?.(request, this.#metadata(lease), options, (error, value) => {
        signal?.removeEventListener('abort', onAbort)
        if (error === null) resolve(value as Result)
        else reject(signal?.aborted === true ? signal.reason as Error : this.#explain(error, method))
      })
      const onAbort = (): void => call?.cancel()
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  async * #stream<Message> (service: ServiceName, method: string, request: object): AsyncGenerator<Message> {
    this.#signal?.throwIfAborted()
    const stub = this.#stub(service) as unknown as Record<string, (request: object, metadata: GrpcMetadata, options: CallOptions) => AsyncIterable<Message>>
    try {
      yield * stub[method]?.(request, this.#metadata(''), { deadline: systemClock.now() + CONTAINERD_CALL_DEADLINE_MS }) ?? []
    } catch (error) {
      throw this.#explain(error as Error, method)
    }
  }

  #explain (error: Error, method: string): SnapshotterError {
    const ours = fromStatus(error, method)
    const noSocket = ours.code === 'UNAVAILABLE' && /ENOENT|ECONNREFUSED|EACCES|No connection established/.test(ours.message)
    if (!noSocket) return ours
    return new SnapshotterError('CONTAINERD', `cannot reach containerd at ${this.address} (${ours.message}); is it running?`, {}, { cause: error })
  }

  #metadata (lease: string): GrpcMetadata {
    const metadata = new Metadata()
    metadata.set('containerd-namespace', this.namespace)
    if (lease !== '') metadata.set('containerd-lease', lease)
    return metadata
  }

  #stub (name: ServiceName): Stub {
    const known = this.#stubs.get(name)
    if (known !== undefined) return known
    const Constructor = serviceOf(name)
    const stub = new Constructor(`unix:${this.address}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': GRPC_MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': GRPC_MESSAGE_BYTES_MAX
    }) as unknown as Stub
    this.#stubs.set(name, stub)
    return stub
  }
}

function labelMask (labels: StringMap): { paths: string[] } {
  return { paths: Object.keys(labels).map((key) => `labels.${key}`) }
}
