// A read-only OCI registry (distribution-spec v1.1 pull endpoints) over the files of an OCI image layout: what a plain
// containerd pulls from, to compare with. Any repository name; tags are the layout's `ref.name` annotations, and a
// layout of one image answers to every tag. Plain HTTP for loopback; it checks nothing, its clients do.
import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

export interface StaticRegistry {
  /** `http://127.0.0.1:port` */
  readonly url: string
  /** `host:port`, the first part of an image reference. */
  readonly host: string
  readonly close: () => Promise<void>
}

interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly annotations?: Readonly<Record<string, string>>
}

const ROUTE = /^\/v2\/[a-z0-9._/-]+\/(manifests|blobs)\/([A-Za-z0-9._:-]+)$/
const DIGEST = /^sha256:([0-9a-f]{64})$/
const REF_NAME = 'org.opencontainers.image.ref.name'

/** @throws when `layout` has no readable index.json. */
export async function startStaticRegistry (layout: string): Promise<StaticRegistry> {
  const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as { manifests: Descriptor[] }
  const server = createServer((request, response) => {
    answer(layout, manifests, request, response).catch(() => { response.destroy() })
  })
  await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(0, '127.0.0.1', () => resolve()) })
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: `http://${host}`,
    host,
    close: async () => {
      const closed = new Promise<void>((resolve) => { server.close(() => resolve()) })
      server.closeAllConnections()
      await closed
    }
  }
}

async function answer (layout: string, manifests: readonly Descriptor[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '').split('?')[0] ?? ''
  if (request.method !== 'GET' && request.method !== 'HEAD') { refuse(response, 405, 'UNSUPPORTED'); return }
  if (path === '/v2/' || path === '/v2') { response.writeHead(200, { 'Content-Length': 0 }).end(); return }
  const [, kind, reference = ''] = ROUTE.exec(path) ?? []
  if (kind === undefined) { refuse(response, 404, 'NAME_UNKNOWN'); return }

  const digest = DIGEST.test(reference) ? reference : kind === 'manifests' ? tagged(manifests, reference)?.digest : undefined
  const file = digest === undefined ? null : join(layout, 'blobs', 'sha256', digest.replace('sha256:', ''))
  const size = file === null ? null : await stat(file).then((stats) => stats.size, () => null)
  if (file === null || size === null || digest === undefined) { refuse(response, 404, kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN'); return }
  const type = kind === 'blobs' ? 'application/octet-stream' : await manifestType(file)
  await send(request, response, file, size, { 'Content-Type': type, 'Docker-Content-Digest': digest })
}

function tagged (manifests: readonly Descriptor[], tag: string): Descriptor | undefined {
  return manifests.find(({ annotations }) => annotations?.[REF_NAME] === tag) ?? (manifests.length === 1 ? manifests[0] : undefined)
}

async function manifestType (file: string): Promise<string> {
  const document = JSON.parse(await readFile(file, 'utf8')) as { mediaType?: string, manifests?: unknown }
  return document.mediaType ?? `application/vnd.oci.image.${document.manifests === undefined ? 'manifest' : 'index'}.v1+json`
}

async function send (request: IncomingMessage, response: ServerResponse, file: string, size: number, headers: Record<string, string>): Promise<void> {
  const [, fromText, toText] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  const from = Number(fromText ?? 0)
  const to = toText === undefined || toText === '' ? size - 1 : Math.min(Number(toText), size - 1)
  if (fromText !== undefined && (from >= size || to < from)) {
    response.writeHead(416, { 'Content-Range': `bytes */${size}`, 'Content-Length': 0 }).end()
    return
  }
  response.writeHead(fromText === undefined ? 200 : 206, {
    ...headers,
    'Accept-Ranges': 'bytes',
    'Content-Length': to - from + 1,
    ...fromText === undefined ? {} : { 'Content-Range': `bytes ${from}-${to}/${size}` }
  })
  if (request.method === 'HEAD' || size === 0) response.end()
  else await pipeline(createReadStream(file, { start: from, end: to }), response)
}

function refuse (response: ServerResponse, status: number, code: string): void {
  const body = JSON.stringify({ errors: [{ code, message: code.toLowerCase().replace('_', ' ') }] })
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }).end(body)
}
