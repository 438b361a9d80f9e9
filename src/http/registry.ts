// The loopback façade: images on IPFS as a read-only registry, for clients that know nothing else. `ipfs:0/<CID>` (by
// hosts.toml), `localhost:PORT/ipfs/<CID>` and `<gateway>/ipfs/<CID>` all end here as /v2/[ipfs/]<CID>/…; whatever is sent
// matched its digest. Spec: opencontainers/distribution-spec v1.1; what containerd asks: core/remotes/docker.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { CID } from 'multiformats/cid'
import { asCall } from '../base/call-id.ts'
import { asSnapshotterError, type ErrorCode, SnapshotterError } from '../base/errors.ts'
import { HTTP_REQUEST_MS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Digest } from '../verify/digest.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { type ListenAddress, listen } from './gateway-listen.ts'
import { whyStranger } from './loopback.ts'
import { readRange, readRegistryPath } from './registry-request.ts'

export interface RegistryBlob {
  readonly mediaType: string
  readonly size: number
  /** Bytes of it, in pieces. */
  readonly read: (offset: number, length: number) => AsyncIterable<VerifiedBytes>
}

export interface RegistryImage {
  /** What a tag means: the index, or the manifest without one. */
  readonly top: Digest
  /** Index and manifest. */
  readonly manifests: ReadonlyMap<Digest, RegistryBlob>
  /** All that the image consists of. */
  readonly blobs: ReadonlyMap<Digest, RegistryBlob>
  /** A document of another platform in the index, or null. @throws what fetching throws */
  readonly other: (kind: 'manifest' | 'blob', digest: Digest) => Promise<RegistryBlob | null>
}

/** @throws what resolving throws */
export type ImageByCid = (cid: CID, signal: AbortSignal) => Promise<RegistryImage>

export interface Registry { readonly url: string, readonly close: () => Promise<void> }

/** @throws ENVIRONMENT when the address cannot be had. */
export async function serveRegistry (address: ListenAddress, images: ImageByCid, log: Log): Promise<Registry> {
  const server = createServer({ requestTimeout: HTTP_REQUEST_MS_MAX, headersTimeout: HTTP_REQUEST_MS_MAX, maxHeaderSize: 16_384 }, (request, response) => {
    const gone = new AbortController()
    response.once('close', () => { gone.abort(new SnapshotterError('CANCELLED', 'the client left')) })
    const { port } = server.address() as AddressInfo
    const stranger = whyStranger(request, address.host, port)
    const work = stranger === null
      ? asCall('registry', `${request.method ?? ''} ${(request.url ?? '').slice(0, 200)}`, async () => {
          await answer(request, response, images, gone.signal)
        })
      : Promise.reject(new SnapshotterError('POLICY_DENIED', stranger))
    work.catch((error: unknown) => {
      const failure = asSnapshotterError(error)
      const usual = failure.code === 'CANCELLED' || failure.code === 'NOT_FOUND'
      log[usual ? 'debug' : 'warn']({ path: request.url, error: failure.line }, 'registry request failed')
      refuse(request, response, failure)
    })
  })
  const url = await listen(server, address)
  log.info({ url }, 'serving images as a registry')
  return {
    url,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
    }
  }
}

async function answer (request: IncomingMessage, response: ServerResponse, images: ImageByCid, signal: AbortSignal): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') throw new SnapshotterError('UNSUPPORTED', `${request.method ?? ''}: this registry is read-only`)
  const asked = readRegistryPath(request.url?.split('?', 1)[0] ?? '/')
  if (asked.kind === 'ping') return sendJson(request, response, {})
  if (asked.kind === 'tags') return sendJson(request, response, { name: `ipfs/${asked.cid.toString()}`, tags: ['latest'] })
  const image = await images(asked.cid, signal)
  if (asked.kind === 'referrers') {
    const mediaType = 'application/vnd.oci.image.index.v1+json'
    return sendJson(request, response, { schemaVersion: 2, mediaType, manifests: [] }, mediaType)
  }
  const digest = asked.digest ?? image.top
  await sendBlob(request, response, digest, await found(image, asked.kind, asked.cid, digest))
}

/** @throws NOT_FOUND naming what there is. */
async function found (image: RegistryImage, kind: 'manifest' | 'blob', cid: CID, digest: Digest): Promise<RegistryBlob> {
  const blob = (kind === 'manifest' ? image.manifests : image.blobs).get(digest) ?? await image.other(kind, digest)
  if (blob !== null) return blob
  const there = [...image.manifests.keys()].join(' and ')
  throw new SnapshotterError('NOT_FOUND', `${kind} ${digest} is no part of image ${cid.toString()} on this platform, which has ${there}`)
}

async function sendBlob (request: IncomingMessage, response: ServerResponse, digest: Digest, { mediaType, size, read }: RegistryBlob): Promise<void> {
  const range = readRange(request.headers.range, size)
  const headers = {
    'docker-content-digest': digest, 'docker-distribution-api-version': 'registry/2.0', 'content-type': mediaType, 'accept-ranges': 'bytes', etag: `"${digest}"`
  }
  if (range === null) {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${size}`, 'content-length': 0 }).end()
    return
  }
  const { from, to } = range === 'whole' ? { from: 0, to: size } : range
  const status = range === 'whole' ? 200 : 206
  const head = { ...headers, 'content-length': to - from, ...status === 206 ? { 'content-range': `bytes ${from}-${to - 1}/${size}` } : {} }
  if (request.method === 'HEAD' || to === from) {
    response.writeHead(status, head).end()
    return
  }
  // The first piece comes before the headers: what cannot be had still has a status of its own.
  const pieces = read(from, to - from)[Symbol.asyncIterator]()
  for (let piece = await pieces.next(); piece.done !== true; piece = await pieces.next()) {
    if (!response.headersSent) response.writeHead(status, head)
    if (!response.write(piece.value)) await Promise.race([once(response, 'drain'), once(response, 'close')])
    if (response.destroyed) return
  }
  response.end()
}

function sendJson (request: IncomingMessage, response: ServerResponse, value: object, type = 'application/json', status = 200): void {
  const body = JSON.stringify(value)
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'docker-distribution-api-version': 'registry/2.0' })
  response.end(request.method === 'HEAD' ? '' : body)
}

// containerd retries 408, 429 and 5xx, and says only "not found" for 404: an image that is wrong must not look like one that is late.
const STATUSES: Readonly<Partial<Record<ErrorCode, readonly [status: number, name: string]>>> = {
  NOT_FOUND: [404, 'MANIFEST_UNKNOWN'],
  ROOT_NOT_FOUND: [404, 'NAME_UNKNOWN'],
  REF_INVALID: [400, 'NAME_INVALID'],
  REF_MUTABLE: [400, 'NAME_INVALID'],
  CID_UNSUPPORTED: [400, 'NAME_INVALID'],
  UNSUPPORTED: [405, 'UNSUPPORTED'],
  POLICY_DENIED: [403, 'DENIED'],
  GATEWAY_REFUSED: [403, 'DENIED'],
  GATEWAY_TIMEOUT: [504, 'UNKNOWN'],
  GATEWAY_RATE_LIMITED: [429, 'TOOMANYREQUESTS'],
  ROOT_UNREACHABLE: [502, 'UNKNOWN'],
  UNAVAILABLE: [503, 'UNKNOWN'],
  NOT_OCI: [422, 'MANIFEST_INVALID'],
  MEDIA_TYPE_UNSUPPORTED: [422, 'MANIFEST_INVALID'],
  PLATFORM_MISSING: [422, 'MANIFEST_UNKNOWN'],
  DIGEST_MISMATCH: [422, 'DIGEST_INVALID']
}

/** After the headers only a broken connection can say that the rest will not come. */
function refuse (request: IncomingMessage, response: ServerResponse, { code, line }: SnapshotterError): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const [status, name] = STATUSES[code] ?? [500, 'UNKNOWN']
  sendJson(request, response, { errors: [{ code: name, message: line }] }, 'application/json', status)
}
