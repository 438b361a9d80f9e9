import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { request } from 'node:http'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { type Registry, type RegistryBlob, serveRegistry } from '../../src/http/registry.ts'
import { readRange } from '../../src/http/registry-request.ts'
import { parseCid, rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { type VerifiedBytes, verifiedPart, verifyDigest } from '../../src/verify/verified-bytes.ts'

const MANIFEST = Buffer.from('{"schemaVersion":2}')
const LAYER = Buffer.alloc(100_000, 'layer')
const OTHER = digestOf(Buffer.from('other'))
const cidOf = (text: string): string => rawCidOf(digestOf(Buffer.from(text))).toString()
const CID = cidOf('image')
const V0 = 'QmNWUN9Hk8gMEeRUaBuznW1xv1SXGeSKqZSdesSpmiKm9L'
const V0_AS_V1 = parseCid(V0).toV1().toString()
const FAILURES = {
  [cidOf('unpinned')]: new SnapshotterError('ROOT_NOT_FOUND', 'nobody has it'),
  [cidOf('late')]: new SnapshotterError('GATEWAY_TIMEOUT', 'too slow'),
  [cidOf('no image')]: new SnapshotterError('NOT_OCI', 'a cat'),
  [cidOf('away')]: new SnapshotterError('ROOT_UNREACHABLE', 'down'),
  [cidOf('busy')]: new SnapshotterError('GATEWAY_RATE_LIMITED', 'later')
}

let registry: Registry
let damaged = false
const blobOf = (mediaType: string, bytes: Buffer): RegistryBlob => ({
  mediaType,
  size: bytes.length,
  read: async function * (offset, length) {
    const whole: VerifiedBytes = verifyDigest(digestOf(bytes), bytes, 'test')
    for (let at = offset; at < offset + length; at += 30_000) {
      if (damaged && at > 0) throw new SnapshotterError('DIGEST_MISMATCH', 'the disk lost it')
      yield verifiedPart(whole, at, Math.min(at + 30_000, offset + length))
    }
  }
})
beforeAll(async () => {
  const manifest = [digestOf(MANIFEST), blobOf('application/vnd.oci.image.manifest.v1+json', MANIFEST)] as const
  const blobs = new Map([manifest, [digestOf(LAYER), blobOf('layer', LAYER)] as const])
  const image = { top: digestOf(MANIFEST), manifests: new Map([manifest]), blobs, other: async () => null }
  registry = await serveRegistry({ host: '127.0.0.1', port: 0 }, async (cid) => {
    const failure = FAILURES[cid.toString()]
    if (failure !== undefined) throw failure
    return image
  }, silentLog)
})
afterAll(async () => { await registry.close() })

interface Answer { readonly status: number, readonly headers: Readonly<Record<string, unknown>>, readonly body: Buffer, readonly broken: boolean }

/** Not fetch: that cleans paths up and forbids headers. */
async function ask (path: string, { method = 'GET', headers = {} }: { method?: string, headers?: Record<string, string> } = {}): Promise<Answer> {
  const { hostname, port } = new URL(registry.url)
  return await new Promise((resolve) => {
    const asked = request({ hostname, port, path, method, headers }, (response) => {
      const pieces: Buffer[] = []
      const end = (broken: boolean) => () => { resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces), broken }) }
      response.on('data', (piece: Buffer) => { pieces.push(piece) })
      response.on('end', end(false))
      response.on('error', end(true))
    })
    asked.on('error', () => { resolve({ status: 0, headers: {}, body: Buffer.alloc(0), broken: true }) })
    asked.end()
  })
}

const layer = `/v2/ipfs/${CID}/blobs/${digestOf(LAYER)}`

describe('the façade', () => {
  test.each([
    `/v2/ipfs/${CID}/manifests/latest`,
    `/v2/${CID}/manifests/${digestOf(MANIFEST)}?ns=ipfs%3A0`,
    `/v2/ipfs/${CID}/manifests/${digestOf(MANIFEST).replace(':', '%3A')}`
  ])(
    'answers %s with the manifest, and HEAD with what it would be', async (path) => {
      const whole = await ask(path)
      expect([whole.status, whole.body.toString(), whole.headers['docker-content-digest']]).toEqual([200, String(MANIFEST), digestOf(MANIFEST)])
      const head = await ask(path, { method: 'HEAD' })
      expect([head.status, head.body.length, head.headers['content-length'], head.headers['content-type']])
        .toEqual([200, 0, String(MANIFEST.length), 'application/vnd.oci.image.manifest.v1+json'])
    })

  test('pings, lists the one tag, and knows of no referrers', async () => {
    expect((await ask('/v2/')).status).toBe(200)
    expect(JSON.parse((await ask(`/v2/ipfs/${CID}/tags/list`)).body.toString())).toEqual({ name: `ipfs/${CID}`, tags: ['latest'] })
    expect(JSON.parse((await ask(`/v2/ipfs/${CID}/referrers/${digestOf(MANIFEST)}`)).body.toString())).toMatchObject({ manifests: [] })
  })

  test('sends the range that was asked for, and says when there is none', async () => {
    const part = await ask(layer, { headers: { range: 'bytes=99990-' } })
    expect([part.status, part.headers['content-range'], part.body.toString()]).toEqual([206, 'bytes 99990-99999/100000', LAYER.subarray(99_990).toString()])
    const outside = await ask(layer, { headers: { range: 'bytes=100000-' } })
    expect([outside.status, outside.headers['content-range']]).toEqual([416, 'bytes */100000'])
    for (const range of ['bytes=0-1,5-6', 'bytes=9-1', 'bytes=99999999999999999999-', 'lines=1-2', 'bytes=-']) {
      expect((await ask(layer, { headers: { range } })).body.length).toBe(LAYER.length)
    }
  })

  test('breaks the connection when the rest of a blob cannot be had, and has a status when nothing can', async () => {
    damaged = true
    try {
      expect(await ask(layer)).toMatchObject({ broken: true })
      const late = await ask(layer, { headers: { range: 'bytes=5-' } })
      expect(late.status).toBe(422)
      expect(JSON.parse(late.body.toString())).toEqual({ errors: [{ code: 'DIGEST_INVALID', message: 'DIGEST_MISMATCH: the disk lost it' }] })
    } finally {
      damaged = false
    }
  })

  test.each([
    ['unpinned', 404, 'NAME_UNKNOWN'], ['late', 504, 'UNKNOWN'], ['no image', 422, 'MANIFEST_INVALID'], ['away', 502, 'UNKNOWN'],
    ['busy', 429, 'TOOMANYREQUESTS']
  ])('has a status and our line for a CID that is %s', async (what, status, code) => {
    const failure = FAILURES[cidOf(what)]
    const got = await ask(`/v2/ipfs/${cidOf(what)}/manifests/latest`)
    expect([got.status, JSON.parse(got.body.toString())]).toEqual([status, { errors: [{ code, message: failure?.line }] }])
  })

  test.each([
    [`/v2/ipfs/${CID}/manifests/${OTHER}`, 404], [`/v2/ipfs/${CID}/blobs/${OTHER}`, 404], [`/v2/ipfs/${CID}/blobs/latest`, 400],
    [`/v2/ipfs/${CID}/manifests/sha256:AB`, 400], [`/v2/ipfs/${CID.toUpperCase()}/manifests/latest`, 400], ['/v2/ipfs/k51qzi5uqu5dh/manifests/latest', 400],
    [`/v2/ipfs/../${CID}/manifests/latest`, 404], [`/v2/ipfs%2f${CID}/manifests/latest`, 400], [`/v2/ipfs/${CID}/manifests/a%2fb`, 400],
    [`/v2/ipfs/${CID}/manifests/..`, 400], ['/', 404], [`/v2/ipfs/${CID}/tags/other`, 404], [`/v2/${'a/'.repeat(100)}`, 404]
  ])('refuses %s with %i, and a JSON error', async (path, status) => {
    const got = await ask(path)
    expect(got.status).toBe(status)
    expect((JSON.parse(got.body.toString()) as { errors: unknown[] }).errors).toHaveLength(1)
  })

  test.each([
    ['a mutable name', '/v2/ipns/k51qzi5uqu5dh/manifests/latest', 'REF_MUTABLE: "ipfs:0/ipns/k51qzi5uqu5dh:latest" can point elsewhere tomorrow'],
    ['a CIDv0', `/v2/ipfs/${V0}/manifests/latest`, `this form needs a lower-case CIDv1; write ipfs:0/${V0_AS_V1} or ipfs://${V0}`],
    ['a CIDv0 in lower case', `/v2/ipfs/${V0.toLowerCase()}/manifests/latest`, 'a CIDv0 loses its meaning in lower case; use the CIDv1 (ipfs cid base32)'],
    ['a CIDv0 as a tag', `/v2/i/manifests/${V0}`, `not a CID: "i"; a tag names no image; write ipfs://${V0}, or its CIDv1`]
  ])('says why it cannot find %s', async (_what, path, why) => {
    const got = await ask(path)
    expect(got.status).toBe(400)
    expect((JSON.parse(got.body.toString()) as { errors: Array<{ code: string, message: string }> }).errors)
      .toEqual([{ code: 'NAME_INVALID', message: expect.stringContaining(why) }])
  })

  test.each(['POST', 'PUT', 'DELETE', 'PATCH'])('is read-only: %s', async (method) => {
    expect((await ask(`/v2/ipfs/${CID}/manifests/latest`, { method })).status).toBe(405)
  })

  const strangers: Array<Record<string, string>> = [{ host: 'registry.example' }, { host: 'localhost' }, { origin: 'https://page.example' }]
  test.each(strangers)('serves no stranger: %j', async (headers) => {
    expect((await ask('/v2/', { headers })).status).toBe(403)
  })
})

test('a range is what RFC 9110 says', () => {
  expect(['bytes=0-0', 'bytes=-1', 'bytes=-9', 'bytes=2-99', 'bytes=-0', 'bytes=3-'].map((range) => readRange(range, 3)))
    .toEqual([{ from: 0, to: 1 }, { from: 2, to: 3 }, { from: 0, to: 3 }, { from: 2, to: 3 }, null, null])
})
