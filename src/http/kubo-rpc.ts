// The Kubo-RPC shim: as much of Kubo's RPC as clients of images use (nerdctl, kubo-rpc-client), for machines without Kubo.
// What is sent is verified against the CID that was asked for. What we do not do is refused, not pretended.
import { generateKeyPairSync } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { arch } from 'node:os'
import type { CID } from 'multiformats/cid'
import { base58btc } from 'multiformats/bases/base58'
import { asCall } from '../base/call-id.ts'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { HTTP_REQUEST_MS_MAX, UPLOAD_STALL_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { CODE_RAW } from '../verify/cid.ts'
import { type ListenAddress, listen } from './gateway-listen.ts'
import { type KuboFile, sendBytes, sendJson } from './kubo-answers.ts'
import { type KuboPath, type KuboRequest, readKuboPath, readKuboRange, readKuboRequest } from './kubo-request.ts'
import { refuseKubo } from './kubo-problem.ts'
import { type KuboWrites, PINNING, UPLOADS } from './kubo-writes.ts'
import { whyStranger } from './loopback.ts'
import { boundaryOf, type Part, readParts } from './multipart.ts'

export interface KuboStat {
  readonly cid: CID
  readonly type: 'file' | 'directory'
  /** Of a file; 0 for a directory. */
  readonly size: number
}

export interface KuboReads {
  /** @throws INVALID_ARGUMENT for a directory that is no image. */
  readonly open: (path: KuboPath, signal: AbortSignal) => Promise<KuboFile>
  readonly stat: (path: KuboPath, signal: AbortSignal) => Promise<KuboStat>
  readonly block: (path: KuboPath, signal: AbortSignal) => Promise<Uint8Array>
}

export interface KuboRpc {
  readonly url: string
  /** What the file `api` says: `/ip4/127.0.0.1/tcp/PORT`. */
  readonly multiaddr: string
  readonly close: () => Promise<void>
}

interface Call {
  readonly request: KuboRequest
  readonly response: ServerResponse
  readonly reads: KuboReads
  readonly writes: KuboWrites
  readonly signal: AbortSignal
  readonly parts: () => AsyncIterable<Part>
}

/** @throws ENVIRONMENT when the address cannot be had. */
export async function serveKuboRpc (address: ListenAddress, commands: { readonly reads: KuboReads, readonly writes: KuboWrites }, log: Log): Promise<KuboRpc> {
  // The head of a request arrives within a time, its body as long as it moves.
  const server: Server = createServer({ requestTimeout: 0, headersTimeout: HTTP_REQUEST_MS_MAX, maxHeaderSize: 16_384 }, (request, response) => {
    const gone = new AbortController()
    response.once('close', () => { gone.abort(new SnapshotterError('CANCELLED', 'the client left')) })
    asCall('kubo', `${request.method ?? ''} ${(request.url ?? '').slice(0, 200)}`, async () => {
      requireWelcome(request, address.host, (server.address() as AddressInfo).port)
      await answer({ ...commands, request: readKuboRequest(request.url ?? '/'), response, signal: gone.signal, parts: () => partsOf(request) })
    }).catch((error: unknown) => {
      const failure = gone.signal.aborted ? asSnapshotterError(gone.signal.reason) : asSnapshotterError(error)
      log[failure.code === 'CANCELLED' ? 'debug' : 'warn']({ path: request.url?.slice(0, 400), error: failure.line }, 'kubo request failed')
      refuseKubo(request, response, failure)
    })
  })
  const url = await listen(server, address)
  const { address: host, family, port } = server.address() as AddressInfo
  const multiaddr = `/${family === 'IPv6' ? 'ip6' : 'ip4'}/${host}/tcp/${port}`
  log.info({ url, multiaddr }, 'serving the RPC of Kubo')
  return {
    url,
    multiaddr,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
    }
  }
}

/** @throws POLICY_DENIED; INVALID_ARGUMENT for a body that no command awaits. */
function requireWelcome (request: IncomingMessage, host: string, port: number): void {
  const stranger = whyStranger(request, host, port)
  if (stranger !== null) throw new SnapshotterError('POLICY_DENIED', stranger)
  // As Kubo: a page of a browser can make any machine send a GET.
  if (request.method !== 'POST') throw new SnapshotterError('POLICY_DENIED', `${request.method ?? ''}: commands are sent with POST`)
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers
  if (encoding === undefined && length === '0') return
  const { command } = readKuboRequest(request.url ?? '')
  if (commandOf(command) !== undefined && !UPLOADS.has(command)) throw new SnapshotterError('INVALID_ARGUMENT', `${command} takes no body`)
}

/** Its iterator leaves the connection to the answer when reading stops early. */
function partsOf (request: IncomingMessage): AsyncIterable<Part> {
  const boundary = boundaryOf(request.headers['content-type'])
  request.setTimeout(UPLOAD_STALL_MS, () => { request.destroy(new SnapshotterError('CANCELLED', `the client sent nothing for ${UPLOAD_STALL_MS} ms`)) })
  request.once('end', () => { request.socket.setTimeout(0) })
  return readParts(request.iterator({ destroyOnReturn: false }), boundary)
}

type Command = (call: Call) => Promise<void> | void

const READS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['version', ({ response }) => { sendJson(response, { Version: '0.0.0', Commit: 'ipfs-snapshotter', Repo: '', System: `${arch()}/linux`, Golang: '' }) }],
  ['id', ({ response }) => {
    sendJson(response, { ID: PEER_ID, PublicKey: '', Addresses: [], AgentVersion: 'ipfs-snapshotter', Protocols: [] })
  }],
  ['cat', async ({ request, response, reads, signal }) => {
    const { offset, length } = readKuboRange(request)
    const { size, read } = await reads.open(readKuboPath(request), signal)
    const from = Math.min(offset, size)
    await sendBytes(response, read, from, Math.min(from + length, size))
  }],
  ['files/stat', async ({ request, response, reads, signal }) => {
    const { cid, type, size } = await reads.stat(readKuboPath(request), signal)
    // Of a tree the sum of its blocks is not told: nobody needs it, and only all of them together prove it.
    sendJson(response, { Hash: cid.toString(), Size: size, ...cid.code === CODE_RAW ? { CumulativeSize: size } : {}, Type: type })
  }],
  ['block/get', async ({ request, response, reads, signal }) => {
    const block = await reads.block(readKuboPath(request), signal)
    await sendBytes(response, async function * () { yield await Promise.resolve(block) }, 0, block.byteLength)
  }],
  ['block/stat', async ({ request, response, reads, signal }) => {
    const path = readKuboPath(request)
    const block = await reads.block(path, signal)
    sendJson(response, { Key: path.cid.toString(), Size: block.byteLength })
  }]
])

function commandOf (command: string): Command | undefined {
  return READS.get(command) ?? UPLOADS.get(command) ?? PINNING.get(command)
}

async function answer (call: Call): Promise<void> {
  const { command } = call.request
  const run = commandOf(command)
  if (run === undefined) {
    throw new SnapshotterError('UNSUPPORTED', `${command}: this daemon answers ${[...READS.keys(), ...UPLOADS.keys(), ...PINNING.keys()].join(', ')}`)
  }
  await run(call)
}

/** Clients parse it; nobody can dial it: the key is gone. Spec: libp2p peer-ids, an identity multihash of an ed25519 key. */
const PEER_ID = peerId()

function peerId (): string {
  const key = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  return base58btc.encode(Uint8Array.from([0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...key])).slice(1)
}
