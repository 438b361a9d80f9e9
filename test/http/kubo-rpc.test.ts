import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { KuboUploads } from '../../src/daemon/kubo-uploads.ts'
import { type KuboReads, type KuboRpc, serveKuboRpc } from '../../src/http/kubo-rpc.ts'
import { GivenBlocks } from '../../src/ipfs/given-blocks.ts'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'

const BYTES = Buffer.alloc(100_000, 'bytes')
const cidOf = (text: string): string => rawCidOf(digestOf(Buffer.from(text))).toString()
const CID = cidOf('file')
const BROKEN = cidOf('broken')
const FAILURES: Readonly<Record<string, readonly [SnapshotterError, number]>> = {
  [cidOf('unpinned')]: [new SnapshotterError('ROOT_NOT_FOUND', 'nobody has it'), 404],
  [cidOf('late')]: [new SnapshotterError('GATEWAY_TIMEOUT', 'too slow'), 504],
  [cidOf('no image')]: [new SnapshotterError('NOT_OCI', 'a cat'), 422],
  [cidOf('other platform')]: [new SnapshotterError('PLATFORM_MISSING', 'for riscv64'), 406],
  [cidOf('no containerd')]: [new SnapshotterError('CONTAINERD', 'away'), 424],
  [cidOf('altered')]: [new SnapshotterError('DIGEST_MISMATCH', 'other bytes'), 409],
  [cidOf('away')]: [new SnapshotterError('ROOT_UNREACHABLE', 'down'), 502]
}

let rpc: KuboRpc
let folder: string
const asked: string[] = []
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kubo-rpc-'))
  const writes = new KuboUploads(await GivenBlocks.open({ folder, maxBytes: 1 << 20, log: silentLog }))
  const reads: KuboReads = {
    open: async ({ cid, names }) => {
      asked.push([cid.toString(), ...names].join('/'))
      const failure = FAILURES[cid.toString()]
      if (failure !== undefined) throw failure[0]
      return {
        size: BYTES.length,
        read: async function * (offset, length) {
          for (let at = offset; at < offset + length; at += 30_000) {
            if (cid.toString() === BROKEN && at > 0) throw new SnapshotterError('BLOCK_HASH_MISMATCH', 'the gateway lied')
            yield await Promise.resolve(BYTES.subarray(at, Math.min(at + 30_000, offset + length)))
          }
        }
      }
    },
    stat: async ({ cid, names }) => ({ cid, type: names.length > 0 ? 'directory' : 'file', size: names.length > 0 ? 0 : BYTES.length }),
    block: async () => BYTES
  }
  rpc = await serveKuboRpc({ host: '127.0.0.1', port: 0 }, { reads, writes }, silentLog)
})
afterAll(async () => {
  await rpc.close()
  rmSync(folder, { recursive: true })
})

interface Answer { readonly status: number, readonly body: Buffer, readonly broken: boolean }
interface Asking { readonly method?: string, readonly headers?: Record<string, string>, readonly body?: Buffer }

/** Not fetch: that cleans paths up and forbids headers. */
async function ask (path: string, { method = 'POST', headers = {}, body }: Asking = {}): Promise<Answer> {
  const { hostname, port } = new URL(rpc.url)
  return await new Promise((resolve) => {
    const sent = request({ hostname, port, path, method, headers }, (response) => {
      const pieces: Buffer[] = []
      const end = (broken: boolean) => () => { resolve({ status: response.statusCode ?? 0, body: Buffer.concat(pieces), broken }) }
      response.on('data', (piece: Buffer) => { pieces.push(piece) })
      response.on('end', end(false))
      response.on('error', end(true))
    })
    sent.on('error', () => { resolve({ status: 0, body: Buffer.alloc(0), broken: true }) })
    sent.end(body)
  })
}
async function json (path: string, asking?: Asking): Promise<{ status: number, value: Record<string, unknown> }> {
  const { status, body } = await ask(path, asking)
  return { status, value: JSON.parse(body.toString()) as Record<string, unknown> }
}

describe('the RPC of Kubo', () => {
  test.each([CID, `/ipfs/${CID}`, `ipfs://${CID}/`, encodeURIComponent(`/ipfs/${CID}/a/b`)])('answers cat of %s', async (path) => {
    const { status, body } = await ask(`/api/v0/cat?arg=${path}`)
    expect([status, body.equals(BYTES)]).toEqual([200, true])
    expect(asked.at(-1)).toBe(path.includes('%2Fa') ? `${CID}/a/b` : CID)
  })

  test.each([
    ['offset=99990', 99_990, 100_000], ['offset=10&length=40000', 10, 40_010], ['length=0', 0, 0], ['offset=100000', 0, 0], ['offset=999999&length=5', 0, 0]
  ])('answers cat with %s', async (query, from, to) => {
    const { status, body } = await ask(`/api/v0/cat?arg=${CID}&${query}`)
    expect([status, body.equals(BYTES.subarray(from, to))]).toEqual([200, true])
  })

  test('says who it is, and how long files and blocks are', async () => {
    expect((await json('/api/v0/version')).value).toMatchObject({ Commit: 'ipfs-snapshotter' })
    expect(String((await json('/api/v0/id')).value['ID'])).toMatch(/^12D3Koo[1-9A-HJ-NP-Za-km-z]{45}$/)
    expect((await json(`/api/v0/files/stat?arg=/ipfs/${CID}&size=true`)).value)
      .toEqual({ Hash: CID, Size: BYTES.length, CumulativeSize: BYTES.length, Type: 'file' })
    expect((await json(`/api/v0/files/stat?arg=/ipfs/${CID}/below`)).value).toMatchObject({ Size: 0, Type: 'directory' })
    expect((await json(`/api/v0/block/stat?arg=${CID}`)).value).toEqual({ Key: CID, Size: BYTES.length })
    expect((await ask(`/api/v0/block/get?arg=${CID}`)).body).toEqual(BYTES)
    expect((await json('/api/v0/pin/ls')).value).toEqual({ Keys: {} })
    expect(rpc.multiaddr).toBe(`/ip4/127.0.0.1/tcp/${new URL(rpc.url).port}`)
  })

  test('gives each failure a status of its own, and its line in the shape of Kubo', async () => {
    for (const [cid, [error, want]] of Object.entries(FAILURES)) {
      expect(await json(`/api/v0/cat?arg=${cid}`)).toEqual({ status: want, value: { Message: error.line, Code: expect.any(Number), Type: 'error' } })
    }
    expect(new Set(Object.values(FAILURES).map(([, status]) => status)).size).toBe(Object.keys(FAILURES).length)
  })

  test('breaks the connection where bytes after the first are wrong', async () => {
    const { body, broken } = await ask(`/api/v0/cat?arg=${BROKEN}`)
    expect(broken).toBe(true)
    expect(body.length).toBeLessThan(BYTES.length)
  })

  test.each([
    ['a GET', 403, `/api/v0/cat?arg=${CID}`, { method: 'GET' }],
    ['a foreign host', 403, `/api/v0/cat?arg=${CID}`, { headers: { host: 'attacker.example' } }],
    ['a page of a browser', 403, `/api/v0/cat?arg=${CID}`, { headers: { origin: 'https://attacker.example' } }],
    ['no argument', 400, '/api/v0/cat', {}],
    ['two arguments', 400, `/api/v0/cat?arg=${CID}&arg=${CID}`, {}],
    ['a negative offset', 400, `/api/v0/cat?arg=${CID}&offset=-1`, {}],
    ['an offset beyond all files', 400, `/api/v0/cat?arg=${CID}&offset=99999999999999999999`, {}],
    ['what is no CID', 400, '/api/v0/cat?arg=hello', {}],
    ['a truncated hash', 400, '/api/v0/cat?arg=bafkreb', {}],
    ['a path with ..', 400, `/api/v0/cat?arg=/ipfs/${CID}/../${CID}`, {}],
    ['a path with an encoded ..', 400, `/api/v0/cat?arg=/ipfs/${CID}%2f%2e%2e`, {}],
    ['an empty name', 400, `/api/v0/cat?arg=/ipfs/${CID}/a//b`, {}],
    ['a NUL', 400, `/api/v0/cat?arg=/ipfs/${CID}/a%00`, {}],
    ['a mutable name', 410, '/api/v0/cat?arg=/ipns/example.com', {}],
    ['an endless query', 413, `/api/v0/cat?arg=${'a'.repeat(5_000)}`, {}],
    ['another path', 404, '/etc/passwd', {}],
    ['a path above the commands', 404, '/api/v0/../cat', {}],
    ['an unknown command', 501, '/api/v0/swarm/peers', {}],
    ['an upload that is no multipart', 400, '/api/v0/add', { body: Buffer.alloc(1_000) }],
    ['an upload without a body', 400, '/api/v0/add', {}],
    ['pin/add of what is not here', 424, `/api/v0/pin/add?arg=${CID}`, {}],
    ['pin/add of one block of a DAG', 501, `/api/v0/pin/add?arg=${CID}&recursive=false`, {}],
    ['pin/ls of what is not pinned', 424, `/api/v0/pin/ls?arg=${CID}`, {}],
    ['pin/rm of what is not pinned', 424, `/api/v0/pin/rm?arg=${CID}`, {}],
    ['pin/rm of a path', 400, `/api/v0/pin/rm?arg=${CID}/a`, {}],
    ['pin/rm of nothing', 400, '/api/v0/pin/rm', {}],
    ['a body where none belongs', 400, `/api/v0/cat?arg=${CID}`, { body: Buffer.alloc(10) }],
    ['a chunked body', 400, `/api/v0/cat?arg=${CID}`, { headers: { 'transfer-encoding': 'chunked' }, body: Buffer.alloc(10) }]
  ] as const)('refuses %s with %i', async (_what, want, path, asking) => {
    const before = asked.length
    const { status, value } = await json(path, asking)
    expect([status, value['Type'], asked.length]).toEqual([want, 'error', before])
  })
})
