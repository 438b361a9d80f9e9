// The gRPC server of snapshotter and content store on a unix socket that only its owner may open. A socket file that somebody still
// serves is never taken away; a stale one is.
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { lstat, mkdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { sleep } from '../base/clock.ts'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { GRPC_MESSAGE_BYTES_MAX, GRPC_STOP_GRACE_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { bindPrivately } from '../base/private-socket.ts'
import type { ContentStore } from '../content/content-store.ts'
import type { Snapshotters } from '../snapshots/snapshotters.ts'
import { healthService } from './health-service.ts'
import { serviceOf } from './protocol.ts'
import { type CallObserver, Calls } from './calls.ts'
import { contentService } from './content-service.ts'
import { snapshotsService } from './snapshots-service.ts'

export interface ServeInit {
  /** Absolute path of the socket. */
  readonly address: string
  readonly snapshotters: Snapshotters
  /** Without one, blobs are somebody else's. */
  readonly content?: ContentStore
  readonly log: Log
  readonly onCall?: CallObserver
}

export interface GrpcServer {
  readonly address: string
  /** Lets calls in flight end (for `GRPC_STOP_GRACE_MS`), then cuts them; takes its own socket away. May be called twice. */
  readonly stop: () => Promise<void>
}

/** @throws ENVIRONMENT when another process serves the address or the socket cannot be made. */
export async function serveContainerd ({ address, snapshotters, content, log, onCall }: ServeInit): Promise<GrpcServer> {
  await requireFree(address)
  await mkdir(dirname(address), { recursive: true, mode: 0o711 })
  const server = new Server({
    'grpc.max_receive_message_length': GRPC_MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': GRPC_MESSAGE_BYTES_MAX
  })
  const calls = new Calls(log, onCall)
  server.addService(serviceOf('snapshots').service, snapshotsService(snapshotters, calls))
  if (content !== undefined) server.addService(serviceOf('content').service, contentService(content, calls))
  server.addService(serviceOf('health').service, healthService())
  const inode = await bind(server, address)
  log.info({ address }, 'serving snapshots and content')

  let stopping: Promise<void> | null = null
  return { address, stop: async () => await (stopping ??= stop(server, address, inode)) }
}

/** Changes nothing. @throws ENVIRONMENT when somebody serves the address, or something else is there. */
export async function requireFree (address: string): Promise<void> {
  const found = await lstat(address).catch(() => null)
  if (found !== null && !found.isSocket()) throw new SnapshotterError('ENVIRONMENT', `${address} is there and no socket; choose another [grpc] address`)
  if (await isServed(address)) {
    throw new SnapshotterError('ENVIRONMENT', `${address} is served by another process; stop it or choose another [grpc] address`)
  }
}

/** A stale socket is replaced at once. @returns its inode. */
async function bind (server: Server, address: string): Promise<number> {
  try {
    await bindPrivately(address, async (young) => {
      await new Promise<void>((resolve, reject) => {
        server.bindAsync(`unix:${young}`, ServerCredentials.createInsecure(), (error) => error === null ? resolve() : reject(error))
      })
    })
    return (await lstat(address)).ino
  } catch (cause) {
    server.forceShutdown()
    throw new SnapshotterError('ENVIRONMENT', `cannot listen on ${address}: ${messageOf(cause)}`, {}, { cause })
  }
}

async function stop (server: Server, address: string, inode: number): Promise<void> {
  const ended = new AbortController()
  server.tryShutdown(() => ended.abort())
  await sleep(GRPC_STOP_GRACE_MS, ended.signal).catch(() => {})
  server.forceShutdown()
  // A successor may have put its own socket there meanwhile.
  const found = await lstat(address).catch(() => null)
  if (found?.ino === inode) await rm(address, { force: true })
}

async function isServed (address: string): Promise<boolean> {
  return await new Promise<boolean>((resolve) => {
    const socket = connect(address)
    socket.once('connect', () => { socket.destroy(); resolve(true) })
    // Whoever is too busy to answer (EAGAIN) is there, too.
    socket.once('error', (error) => resolve(!['ENOENT', 'ECONNREFUSED'].includes(systemCode(error) ?? '')))
  })
}
