// A registry that takes a push and gives it back, in memory (opencontainers/distribution-spec v1.1, "Push" and "Pull"): what
// was sent under a digest is refused when it is something else.
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { digestOf } from '../../src/verify/digest.ts'

interface Stored { readonly type: string, readonly bytes: Buffer }
interface Answer { readonly status: number, readonly headers?: Record<string, string | number>, readonly body?: Buffer }

const UPLOAD = /^\/v2\/[a-z0-9/]+\/blobs\/uploads\/([0-9a-f-]*)$/
const OBJECT = /^\/v2\/[a-z0-9/]+\/(?:blobs|manifests)\/([A-Za-z0-9:._-]+)$/

export class PushRegistry {
  /** Blobs and manifests, by digest; a tag names its manifest once more. */
  readonly objects = new Map<string, Stored>()
  readonly #uploads = new Map<string, Buffer>()
  readonly #server = createServer((request, response) => {
    this.#answer(request).then(({ status, headers = {}, body = Buffer.alloc(0) }) => {
      response.writeHead(status, { 'content-length': body.length, ...headers }).end(request.method === 'HEAD' ? undefined : body)
    }, () => { response.destroy() })
  })

  static async start (): Promise<PushRegistry> {
    const registry = new PushRegistry()
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve))
    return registry
  }

  get host (): string {
    return `localhost:${(this.#server.address() as AddressInfo).port}`
  }

  async close (): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => { this.#server.close(resolve) })
  }

  async #answer (request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? '', 'http://registry')
    const [, upload] = UPLOAD.exec(url.pathname) ?? []
    const [, name = ''] = OBJECT.exec(url.pathname) ?? []
    const isGet = request.method === 'GET' || request.method === 'HEAD'
    if (url.pathname === '/v2/') return { status: 200 }
    if (upload !== undefined) return await this.#upload(request, url, upload)
    if (name !== '' && isGet) return this.#give(name)
    if (name !== '' && request.method === 'PUT') return this.#keep(await bodyOf(request), request.headers['content-type'] ?? '', name)
    return { status: 404 }
  }

  async #upload (request: IncomingMessage, url: URL, id: string): Promise<Answer> {
    const session = id === '' ? randomUUID() : id
    const before = this.#uploads.get(session) ?? Buffer.alloc(0)
    const bytes = Buffer.concat([before, await bodyOf(request)])
    this.#uploads.set(session, bytes)
    if (request.method === 'PUT') {
      this.#uploads.delete(session)
      return this.#keep(bytes, 'application/octet-stream', url.searchParams.get('digest') ?? '')
    }
    return { status: 202, headers: { location: `${url.pathname.slice(0, url.pathname.lastIndexOf('/'))}/${session}`, range: `0-${Math.max(bytes.length - 1, 0)}` } }
  }

  #keep (bytes: Buffer, type: string, name: string): Answer {
    const digest = digestOf(bytes)
    if (name.includes(':') && name !== digest) return { status: 400 }
    for (const key of [name, digest]) this.objects.set(key, { type, bytes })
    return { status: 201, headers: { 'docker-content-digest': digest, location: `/v2/blobs/${digest}` } }
  }

  #give (name: string): Answer {
    const found = this.objects.get(name)
    if (found === undefined) return { status: 404 }
    return { status: 200, headers: { 'content-type': found.type, 'docker-content-digest': digestOf(found.bytes) }, body: found.bytes }
  }
}

async function bodyOf (request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece)
  return Buffer.concat(pieces)
}
