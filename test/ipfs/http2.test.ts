// Gateways over TLS: HTTP/2 where it is offered, many requests on one connection, and every way in which that connection can
// end under them; HTTP/1.1 where it is not.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createSecureServer, type Http2ServerResponse, type ServerHttp2Session } from 'node:http2'
import type { RequestListener, Server, ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { silentLog } from '../../src/base/log.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import { type CarBlocks, type FakeGateway, startFakeGateway } from '../fakes/gateway.ts'
import { ManualTime } from '../fakes/manual-time.ts'
import { failureOf, gatewayOf, onClose, service } from './block-services.ts'
import { importContent, vectorContent } from './vector-dag.ts'

const content = vectorContent(6_000_000)
const folder = mkdtempSync(join(tmpdir(), 'ipfs-snapshotter-tls-'))
const maybe = hasOpenssl(folder) ? describe : describe.skip
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

let blocks: CarBlocks
let root: CID
let leaves: CID[]

beforeAll(async () => {
  ({ blocks, root } = await importContent(content, { chunker: fixedSize({ chunkSize: 100_000 }), layout: balanced({ maxChildrenPerNode: 100 }) }))
  leaves = [...blocks.blocks.values()].map(({ cid }) => cid).filter(({ code }) => code === 0x55)
})

interface Secure {
  readonly gateway: FakeGateway
  readonly sessions: ServerHttp2Session[]
  readonly over: (others?: readonly FakeGateway[]) => BlockService
}

type Meddle = (response: Http2ServerResponse, session: ServerHttp2Session, requests: number) => boolean

/** `meddle` sees each request first and may keep it for itself. */
async function secureGateway (meddle: Meddle = () => false): Promise<Secure> {
  const { key, cert } = { key: readFileSync(join(folder, 'key.pem')), cert: readFileSync(join(folder, 'cert.pem'), 'utf8') }
  const sessions: ServerHttp2Session[] = []
  let requests = 0
  const gateway = await startFakeGateway(blocks, {}, (listener) => {
    const server = createSecureServer({ key, cert, allowHTTP1: true }, (request, response) => {
      const { stream } = response as unknown as { stream?: { session?: ServerHttp2Session } }
      if (stream?.session !== undefined && meddle(response, stream.session, ++requests)) return
      listener(request as never, response as unknown as ServerResponse)
    })
    server.on('session', (session) => { sessions.push(session) })
    return server as unknown as Server
  }, 'https')
  onClose(async () => {
    for (const session of sessions) session.destroy()
    await gateway.close()
  })
  const sources = (others: readonly FakeGateway[]) => [
    { type: 'gateway' as const, url: gateway.url, caPem: cert, token: 'secret' }, ...others.map(({ url }) => ({ type: 'gateway' as const, url }))
  ]
  return { gateway, sessions, over: (others = []) => service({ sources: sources(others), log: silentLog, sleep: new ManualTime().sleep }) }
}

maybe('HTTP/2', () => {
  test('is used where it is offered, with a private CA; many requests share one connection', async () => {
    const { gateway, sessions, over } = await secureGateway()
    const blockService = over()
    gateway.knobs.delayMs = 30
    await Promise.all(leaves.slice(0, 16).map(async (cid) => await blockService.get(cid)))
    expect(new Set(gateway.requests.map(({ httpVersion }) => httpVersion))).toEqual(new Set(['2.0']))
    expect(gateway.requests.length).toBe(16)
    expect(sessions.length).toBe(1)
    expect(gateway.requests[0]?.headers.authorization).toBe('Bearer secret')
  })

  test('answers of many megabytes arrive whole, several at once', async () => {
    const { sessions, over } = await secureGateway()
    const file = await over().openFile(root)
    const [one, other] = await Promise.all([file.read(0, 3_000_000), file.read(3_000_000, 3_000_000)])
    expect(Buffer.concat([one, other]).equals(content)).toBe(true)
    expect(sessions.length).toBe(1)
  })

  test.each<[string, Meddle]>([
    ['GOAWAY after the answers', (_response, session, requests) => { if (requests === 3) session.goaway(0); return false }],
    ['GOAWAY instead of an answer', (_response, session, requests) => {
      if (requests !== 3) return false
      session.goaway(1)
      session.destroy()
      return true
    }],
    ['one stream reset', (response, _session, requests) => { if (requests === 3) response.stream.close(2); return requests === 3 }],
    ['a stream refused', (response, _session, requests) => { if (requests === 3) response.stream.close(7); return requests === 3 }],
    ['the connection cut', (_response, session, requests) => { if (requests === 3) session.socket.destroy(); return requests === 3 }]
  ])('%s: every read ends well', async (_name, meddle) => {
    const { over } = await secureGateway(meddle)
    const blockService = over()
    const got = await Promise.all(leaves.slice(0, 8).map(async (cid) => await blockService.get(cid)))
    expect(Buffer.concat(got).equals(content.subarray(0, 800_000))).toBe(true)
    expect((await blockService.get(root)).byteLength).toBeGreaterThan(0)
  })

  test('a stream reset in the middle of a body goes on at the next source', async () => {
    const reset: Meddle = (response) => {
      response.writeHead(200, { 'content-type': 'application/vnd.ipld.raw' })
      response.write(content.subarray(0, 1_000))
      setTimeout(() => { response.stream.close(2) }, 20)
      return true
    }
    const { over } = await secureGateway(reset)
    const blockService = over([await gatewayOf(blocks)])
    expect(Buffer.from(await blockService.get(leaves[0] ?? root)).equals(content.subarray(0, 100_000))).toBe(true)
  })

  test('without the CA nothing is asked', async () => {
    const { gateway } = await secureGateway()
    const doubtful = service({ sources: [{ type: 'gateway', url: gateway.url }], log: silentLog, sleep: new ManualTime().sleep })
    const failure = await failureOf(doubtful.get(root))
    expect(failure.code).toBe('ROOT_UNREACHABLE')
    expect(failure.message).toContain('DEPTH_ZERO_SELF_SIGNED_CERT')
    expect(gateway.requests).toEqual([])
  })

  test('HTTP/1.1 serves where a server speaks nothing else', async () => {
    const { key, cert } = { key: readFileSync(join(folder, 'key.pem')), cert: readFileSync(join(folder, 'cert.pem'), 'utf8') }
    const gateway = await startFakeGateway(blocks, {}, (listener: RequestListener): Server => createTlsServer({ key, cert }, listener), 'https')
    onClose(gateway.close)
    const over = service({ sources: [{ type: 'gateway', url: gateway.url, caPem: cert }], log: silentLog })
    await Promise.all(leaves.slice(0, 8).map(async (cid) => await over.get(cid)))
    expect(new Set(gateway.requests.map(({ httpVersion }) => httpVersion))).toEqual(new Set(['1.1']))
  })
})

function hasOpenssl (into: string): boolean {
  try {
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1',
      '-keyout', join(into, 'key.pem'), '-out', join(into, 'cert.pem')
    ], { stdio: 'ignore' })
    return true
  } catch {
    process.stderr.write('skipped: TLS needs the openssl command\n')
    return false
  }
}
