// The Kubo-RPC shim: as much of Kubo's RPC as clients of images use (nerdctl, kubo-rpc-client), for machines without Kubo.
// Reading only; what is sent is verified against the CID that was asked for. What Kubo would write is refused, not pretended.
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { arch } from 'node:os'
import type { CID } from 'multiformats/cid'
import { base58btc } from 'multiformats/bases/base58'
import { asCall } from '../base/call-id.ts'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { HTTP_REQUEST_MS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { CODE_RAW } from '../verify/cid.ts'
import { type ListenAddress, listen } from './gateway-listen.ts'
import { type KuboPath, type KuboRequest, readKuboPath, readKuboRange, readKuboRequest } from './kubo-request.ts'
import { refuseKubo } from './kubo-problem.ts'
import { whyStranger } from './loopback.ts'

export interface KuboFile {
  readonly size: number
  /** Bytes of it, in pieces; only ranges within it are asked for. */
  readonly read: (offset: number, length: number) => AsyncIterable<Uint8Array>
}

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

interface Call { readonly request: KuboRequest, readonly response: ServerResponse, readonly reads: KuboReads, readonly signal: AbortSignal }

/** @throws ENVIRONMENT when the address cannot be had. */
export async function serveKuboRpc (address: ListenAddress, reads: KuboReads, log: Log): Promise<KuboRpc> {
  const server = createServer({ requestTimeout: HTTP_REQUEST_MS_MAX, headersTimeout: HTTP_REQUEST_MS_MAX, maxHeaderSize: 16_384 }, (request, response) => {
    const gone = new AbortController()
    response.once('close', () => { gone.abort(new SnapshotterError('CANCELLED', 'the client left')) })
    asCall('kubo', `${request.method ?? ''} ${(request.url ?? '').slice(0, 200)}`, async () => {
      requireWelcome(request, address.host, (server.address() as AddressInfo).port)
      await answer({ request: readKuboRequest(request.url ?? '/'), response, reads, signal: gone.signal })
    }).catch((error: unknown) => {
      const failure = asSnapshotterError(error)
      log[failure.code === 'CANCELLED' ? 'debug' : 'warn']({ path: request.url?.slice(0, 400), error: failure.line }, 'kubo request failed')
      refuseKubo(response, failure)
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

/** @throws POLICY_DENIED; INVALID_ARGUMENT for a body, since no command that we answer takes one. */
function requireWelcome (request: IncomingMessage, host: string, port: number): void {
  const stranger = whyStranger(request, host, port)
  if (stranger !== null) throw new SnapshotterError('POLICY_DENIED', stranger)
  // As Kubo: a page of a browser can make any machine send a GET.
  if (request.method !== 'POST') throw new SnapshotterError('POLICY_DENIED', `${request.method ?? ''}: commands are sent with POST`)
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers
  if (encoding !== undefined || length !== '0') refuseWriting(request.url ?? '')
}

function refuseWriting (url: string): never {
  const { command } = readKuboRequest(url)
  if (READS.has(command)) throw new SnapshotterError('INVALID_ARGUMENT', `${command} takes no body`)
  throw new SnapshotterError('UNSUPPORTED', `${command}: this daemon stores nothing for others; publish with ipfs-snapshotter publish`)
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
  }],
  ['pin/ls', ({ request, response }) => {
    if (request.query.has('arg')) throw notPinned(request)
    sendJson(response, { Keys: {} })
  }],
  ['pin/rm', ({ request }) => { throw notPinned(request) }]
])

function notPinned (request: KuboRequest): SnapshotterError {
  return new SnapshotterError('FAILED_PRECONDITION', `${readKuboPath(request).cid.toString()} is not pinned: this daemon pins nothing`)
}

async function answer (call: Call): Promise<void> {
  const { command } = call.request
  const run = READS.get(command)
  if (run === undefined) {
    throw new SnapshotterError('UNSUPPORTED', `${command}: this daemon answers ${[...READS.keys()].join(', ')}; nothing that writes`)
  }
  await run(call)
}

function sendJson (response: ServerResponse, value: object): void {
  const body = `${JSON.stringify(value)}\n`
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
}

async function sendBytes (response: ServerResponse, read: KuboFile['read'], from: number, to: number): Promise<void> {
  const head = { 'content-type': 'application/octet-stream', 'content-length': to - from, 'x-content-length': to - from, 'x-stream-output': '1' }
  if (to > from) {
    // The first piece comes before the headers: what cannot be had still has a status of its own.
    for await (const piece of read(from, to - from)) {
      if (!response.headersSent) response.writeHead(200, head)
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')])
      if (response.destroyed) return
    }
  }
  if (!response.headersSent) response.writeHead(200, head)
  response.end()
}

/** Clients parse it; nobody can dial it: the key is gone. Spec: libp2p peer-ids, an identity multihash of an ed25519 key. */
const PEER_ID = peerId()

function peerId (): string {
  const key = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  return base58btc.encode(Uint8Array.from([0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...key])).slice(1)
}
