// What clients of Kubo's RPC store, over HTTP, in a real folder: the CIDs that Kubo gives, all of an upload or nothing.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type ClientRequest, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { KuboUploads } from '../../src/daemon/kubo-uploads.ts'
import { type KuboReads, type KuboRpc, serveKuboRpc } from '../../src/http/kubo-rpc.ts'
import { createBlockService } from '../../src/ipfs/block-service.ts'
import { GivenBlocks } from '../../src/ipfs/given-blocks.ts'
import { parseCid } from '../../src/verify/cid.ts'
import { until } from '../e2e/command.ts'
import { vectorStream } from '../publish/vector-stream.ts'
import { block, carBytes, DAG_CBOR, directory, fileNode, leaf } from '../suites/dags.ts'
import { canMount, withMounts } from '../suites/mounts.ts'
import { type Form, form } from '../suites/multipart.ts'

type Vector = Readonly<Record<'unixfs-v0-2015' | 'cidv1-256k-raw', string>> & { readonly size: number }
const vectorsFile = join(import.meta.dirname, '../fixtures/unixfs-vectors.json')
const vectors = (JSON.parse(readFileSync(vectorsFile, 'utf8')) as Vector[]).filter(({ size }) => size < 20 << 20)

const MAX = 64 << 20
const nobody: KuboReads = {
  open: async () => await Promise.reject(new Error('not read here')),
  stat: async () => await Promise.reject(new Error('not read here')),
  block: async () => await Promise.reject(new Error('not read here'))
}

let folder: string
let given: GivenBlocks
let rpc: KuboRpc
async function start (maxBytes = MAX, below = folder): Promise<void> {
  given = await GivenBlocks.open({ folder: below, maxBytes, log: silentLog })
  rpc = await serveKuboRpc({ host: '127.0.0.1', port: 0 }, { reads: nobody, writes: new KuboUploads(given) }, silentLog)
}
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kubo-uploads-'))
  await start()
})
afterEach(async () => {
  await rpc.close()
  rmSync(folder, { recursive: true })
})

interface Answer { readonly status: number, readonly lines: ReadonlyArray<Record<string, unknown>> }

function begin (command: string, headers: Readonly<Record<string, string>>): ClientRequest {
  const { hostname, port } = new URL(rpc.url)
  return request({ hostname, port, path: `/api/v0/${command}`, method: 'POST', headers })
}

async function answerOf (sent: ClientRequest): Promise<Answer> {
  const [response] = await once(sent, 'response') as [AsyncIterable<Buffer> & { statusCode: number }]
  const pieces: Buffer[] = []
  for await (const piece of response) pieces.push(piece)
  const text = Buffer.concat(pieces).toString()
  const lines = text.trim().split('\n').filter((line) => line !== '')
  return { status: response.statusCode, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

async function send (command: string, { headers, body }: Form | { headers: object, body: string } = { headers: {}, body: '' }): Promise<Answer> {
  const sent = begin(command, { ...headers, ...body.length > 0 ? { 'transfer-encoding': 'chunked' } : { 'content-length': '0' } })
  sent.on('error', () => {})
  for (let at = 0; at < body.length; at += 100_000) sent.write(body.slice(at, at + 100_000))
  sent.end()
  return await answerOf(sent)
}

const stored = (): number => readdirSync(join(folder, 'sha256')).length
const incoming = (): number => existsSync(join(folder, 'incoming')) ? readdirSync(join(folder, 'incoming')).length : 0
const nothing = (): void => { expect([stored(), incoming(), given.bytes]).toEqual([0, 0, 0]) }
const pinned = async (): Promise<string[]> => (await given.pins()).map(String)

async function read (cid: string): Promise<Buffer> {
  const blocks = createBlockService({ sources: [], own: given.blocks, log: silentLog })
  try {
    return Buffer.from(await blocks.readAll(parseCid(cid), MAX))
  } finally {
    await blocks.close()
  }
}

const FILE = fileNode([leaf(Buffer.from('first')), leaf(Buffer.from('second'))])
const ALL = [FILE.root, ...FILE.children.map(({ root }) => root)]

describe('add', () => {
  test.each(vectors)('gives $size bytes the CIDs that Kubo gives, and gives them back', async (vector) => {
    const bytes = Buffer.concat([...vectorStream(vector.size)])
    const wanted = { 'cid-version=1&pin=true': vector['cidv1-256k-raw'], 'pin=false&chunker=size-262144': vector['unixfs-v0-2015'] }
    for (const [query, cid] of Object.entries(wanted)) {
      expect(await send(`add?${query}`, form({ name: 'file', bytes }))).toEqual({ status: 200, lines: [{ Name: 'file', Hash: cid, Size: expect.any(String) }] })
      expect((await read(cid)).equals(bytes)).toBe(true)
    }
    expect(await pinned()).toEqual([vector['cidv1-256k-raw']])
  })

  // What ipfs add -r says of a folder d with a: hello, sub/b: empty, none: an empty folder. Kubo 0.42.
  test('makes the directories that Kubo makes of paths, and pins the top only', async () => {
    const files = form({ name: 'd', type: 'application/x-directory', bytes: '' }, { name: 'd/a', bytes: 'hello' },
      { name: 'd/none', type: 'application/x-directory', bytes: '' }, { name: 'd/sub/b', bytes: '' })
    const said = async (query: string): Promise<unknown> => (await send(`add?${query}`, files)).lines.map(({ Name, Hash, Bytes }) => [Name, Hash ?? Bytes])
    expect(await said('cid-version=1&progress=true')).toEqual([
      ['d/a', 5], ['d/a', 'bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq'],
      ['d/sub/b', 0], ['d/sub/b', 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'],
      ['d/none', 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354'],
      ['d/sub', 'bafybeihrqqhoyxy3iiaoccid64guyvyeng7g2lxlmrmqt4lcppfs5d4hke'],
      ['d', 'bafybeihmjaznuhamz4c5pm2yqg6nyxukbfgaib4r2yvaih32bavsiucbbq']
    ])
    expect(await pinned()).toEqual(['bafybeihmjaznuhamz4c5pm2yqg6nyxukbfgaib4r2yvaih32bavsiucbbq'])
    expect(await said('')).toEqual([
      ['d/a', 'QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX'], ['d/sub/b', 'QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH'],
      ['d/none', 'QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn'], ['d/sub', 'QmNMrBRth3NMjdWYXaireUyUNFjsbY7j1r2xYzQu8eEgUw'],
      ['d', 'QmXB8j388eTpTrtRMW2iCbjgJrrDSVnnoSckBHqRZFiZqe']
    ])
  })

  test('wraps files, names those without a name after their CID, and stores nothing when only CIDs are asked for', async () => {
    const said = async (query: string, sent: Form): Promise<unknown> => (await send(`add?${query}`, sent)).lines.map(({ Name, Hash }) => [Name, Hash])
    expect(await said('wrap-with-directory=true&only-hash=true', form({ name: 'a', bytes: 'hello' }))).toEqual([
      ['a', 'QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX'], ['', 'QmSjwuQC95jZLLUydxm8iAy3PvxHYpHkM683z2afGWsoQ8']
    ])
    expect(await said('only-hash=true', form({ bytes: 'no name' }))).toEqual([Array(2).fill('QmeKL7i5KR6BrGzEoshDXNEkpuGJGmV7jcQ9as5U22y1Rb')])
    nothing()
    expect(await send('add?silent=true', form({ bytes: 'x' }, { bytes: 'y' }))).toEqual({ status: 200, lines: [] })
    expect(await pinned()).toHaveLength(2)
  })

  test.each([
    ['a chunker of its own', 'chunker=rabin', 501], ['an impossible chunker', 'chunker=size-0', 400],
    ['a chunker beyond the largest block', 'chunker=size-2097152', 400],
    ['another hash', 'hash=blake3', 501], ['another layout', 'trickle=true', 501], ['a copy that is none', 'nocopy=true', 501],
    ['blocks in CIDs', 'inline=true', 501], ['a pin with a name', 'pin-name=x', 501], ['times', 'mtime=1', 501], ['another encoding', 'encoding=xml', 501],
    ['a flag that is none', 'pin=perhaps', 400], ['CIDs of a version to come', 'cid-version=2', 501]
  ])('refuses %s', async (_what, query, status) => {
    expect((await send(`add?${query}`, form({ bytes: 'x' }))).status).toBe(status)
    nothing()
  })

  test.each([
    ['a path that leads elsewhere', [{ name: 'd/../e', bytes: '' }], 400],
    ['a symbolic link', [{ name: 'l', type: 'application/symlink', bytes: '/etc' }], 501],
    ['a file and a folder of one name', [{ name: 'd/a', bytes: '' }, { name: 'd/a/b', bytes: '' }], 400], ['nothing', [], 400]
  ])('refuses %s', async (_what, parts, status) => {
    expect((await send('add', form({ name: 'before', bytes: 'x' }, ...parts))).status).toBe(parts.length > 0 ? status : 200)
    if (parts.length > 0) nothing()
    else expect((await send('add', form())).status).toBe(status)
  })

  test('beyond the limit is refused with the line that says so, while the client still sends', async () => {
    await rpc.close()
    await start(1 << 20)
    const { status, lines } = await send('add', form({ bytes: Buffer.alloc(3 << 20, 'abcdefg') }, { bytes: Buffer.alloc(8 << 20) }))
    expect([status, lines[0]]).toEqual([413, { Message: expect.stringMatching(/^LIMIT_EXCEEDED: .*max_size/), Code: 0, Type: 'error' }])
    nothing()
  })

  const asRoot = canMount ? test : test.skip
  asRoot('on a full disk is refused, leaves nothing there, and works when there is room again', async () => {
    await rpc.close()
    const disk = join(folder, 'disk')
    await withMounts([{ type: 'tmpfs', source: 'tmpfs', options: ['size=2m'] }], disk, async () => {
      await start(MAX, disk)
      const big = form({ bytes: 'small' }, { bytes: Buffer.concat([...vectorStream(3 << 20)]) })
      expect(await send('add', big)).toMatchObject({ status: 507, lines: [{ Message: expect.stringMatching(/^RESOURCE_EXHAUSTED: .*ENOSPC/) }] })
      await until('what came is gone', () => given.bytes === 0)
      expect([readdirSync(join(disk, 'sha256')), readdirSync(join(disk, 'incoming'))]).toEqual([[], []])
      expect((await send('add', form({ bytes: Buffer.alloc(1 << 20, 'room') }))).status).toBe(200)
      await rpc.close()
    })
  })

  test('leaves nothing of a client that goes away, and of one whose body is cut', async () => {
    const { headers, body } = form({ bytes: Buffer.alloc(2 << 20, 'abcdefg') })
    const sent = begin('add', { ...headers, 'transfer-encoding': 'chunked' })
    sent.on('error', () => {})
    sent.write(body.subarray(0, 1 << 20))
    await until('blocks arrive', () => given.bytes > 0)
    sent.destroy()
    await until('they are gone', () => given.bytes === 0 && incoming() === 0)
    expect((await send('add', { headers, body: body.subarray(0, -10) })).status).toBe(400)
    nothing()
  })

  test('takes two uploads at once, also of the same bytes', async () => {
    const bytes = Buffer.concat([...vectorStream(3 << 20)])
    const twice = form({ bytes })
    const answers = await Promise.all([send('add?cid-version=1', twice), send('add?cid-version=1', twice), send('add', form({ bytes: 'x' }))])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(answers[0].lines).toEqual(answers[1].lines)
    expect((await read(String(answers[0].lines[0]?.['Hash']))).equals(bytes)).toBe(true)
    expect([stored(), incoming(), given.bytes]).toEqual([14, 0, (3 << 20) + 2 * 4_096])
  })
})

describe('dag/import', () => {
  test('stores the blocks of several CARs, pins their roots and counts', async () => {
    const cars = [carBytes([FILE.root.cid], ALL.slice(0, 2)), carBytes([FILE.root.cid], ALL.slice(2))].map((bytes) => ({ bytes }))
    expect(await send('dag/import?stats=true', form(...cars))).toEqual({
      status: 200,
      lines: [
        { Root: { Cid: { '/': FILE.root.cid.toString() }, PinErrorMsg: '' } },
        { Stats: { BlockCount: 3, BlockBytesCount: ALL.reduce((sum, { bytes }) => sum + bytes.byteLength, 0) } }
      ]
    })
    expect(await pinned()).toEqual([FILE.root.cid.toString()])
    expect((await read(FILE.root.cid.toString())).toString()).toBe('firstsecond')
  })

  test('tells which root it could not pin, and keeps what came for the CAR that brings the rest', async () => {
    const part = await send('dag/import', form({ bytes: carBytes([FILE.root.cid], ALL.slice(0, 2)) }))
    expect(part.lines).toEqual([{ Root: { Cid: { '/': FILE.root.cid.toString() }, PinErrorMsg: expect.stringMatching(/^NOT_FOUND: .* a part of /) } }])
    const foreign = block(Buffer.from('a0', 'hex'), DAG_CBOR)
    const other = await send('dag/import', form({ bytes: carBytes([foreign.cid], [foreign]) }))
    expect(other.lines).toEqual([{ Root: { Cid: { '/': foreign.cid.toString() }, PinErrorMsg: expect.stringMatching(/^CID_UNSUPPORTED/) } }])
    expect([await pinned(), stored()]).toEqual([[], 3])
    const rest = await send('dag/import', form({ bytes: carBytes([FILE.root.cid], ALL.slice(2)) }))
    expect(rest.lines).toEqual([{ Root: { Cid: { '/': FILE.root.cid.toString() }, PinErrorMsg: '' } }])
    expect(await send('dag/import?pin-roots=false', form({ bytes: carBytes([FILE.root.cid], ALL) }))).toEqual({ status: 200, lines: [] })
  })

  const lie = { cid: block('what it says').cid, bytes: Buffer.from('what it is') }
  test.each([
    ['a block with another hash', carBytes([FILE.root.cid], [...ALL, lie]), 409],
    ['a CAR that ends early', carBytes([FILE.root.cid], ALL).subarray(0, -1), 400],
    ['a page', Buffer.from('<!doctype html>'.repeat(10)), 400],
    ['nothing', Buffer.alloc(0), 400],
    ['a CAR of version 2', Buffer.concat([Buffer.from('0aa16776657273696f6e02', 'hex'), Buffer.alloc(40)]), 400],
    ['a block that is too large', carBytes([], [block(Buffer.alloc((2 << 20) + 1))]), 413]
  ])('refuses %s, and stores nothing of what came before it', async (_what, bytes, status) => {
    expect((await send('dag/import', form({ bytes: carBytes([], [block('before')]) }, { bytes }))).status).toBe(status)
    nothing()
  })
})

describe('block/put and pins', () => {
  test('put blocks stay until they are pinned, and go with their last pin', async () => {
    const top = directory({ file: FILE.root.cid })
    const nodes = await send('block/put?cid-codec=dag-pb&mhtype=sha2-256&mhlen=-1', form({ bytes: FILE.root.bytes }, { bytes: top.bytes }))
    expect(nodes.lines).toEqual([FILE.root, top].map(({ cid, bytes }) => ({ Key: cid.toString(), Size: bytes.byteLength })))
    const leaves = await send('block/put', form(...FILE.children.map(({ root }) => ({ bytes: root.bytes }))))
    expect(leaves.lines.map(({ Key }) => Key)).toEqual(FILE.children.map(({ root }) => root.cid.toString()))
    expect((await send('block/put?format=v0', form({ bytes: top.bytes }))).lines).toEqual([{ Key: top.cid.toV0().toString(), Size: top.bytes.byteLength }])

    expect(await send(`pin/add?arg=${FILE.root.cid.toString()}&arg=/ipfs/${top.cid.toString()}&stream=true`))
      .toEqual({ status: 200, lines: [{ Pins: [FILE.root.cid.toString(), top.cid.toString()] }] })
    const first = FILE.children[0]?.root.cid.toString() ?? ''
    const keys = async (query: string): Promise<unknown> => (await send(`pin/ls?${query}`)).lines[0]?.['Keys']
    expect(await keys('type=recursive')).toEqual(Object.fromEntries([FILE.root, top].map(({ cid }) => [cid.toString(), { Type: 'recursive', Name: '' }])))
    expect(Object.keys(await keys('') as object)).toHaveLength(4)
    expect(await keys(`arg=${first}`)).toEqual({ [first]: { Type: expect.stringMatching(/^indirect through bafy/), Name: '' } })
    expect(await keys('type=direct')).toEqual({})
    expect((await send('pin/ls?type=indirect&stream=true')).lines.map(({ Type }) => Type)).toEqual(['indirect', 'indirect'])

    expect((await send(`pin/rm?arg=${top.cid.toString()}&arg=${first}`)).status).toBe(424)
    expect(await send(`pin/rm?arg=${top.cid.toString()}`)).toEqual({ status: 200, lines: [{ Pins: [top.cid.toString()] }] })
    expect(stored()).toBe(3)
    expect((await send(`pin/rm?arg=${FILE.root.cid.toString()}`)).status).toBe(200)
    nothing()
  })

  test('a block that is too large, of another codec or hash, is refused', async () => {
    expect((await send('block/put', form({ bytes: 'x' }, { bytes: Buffer.alloc((2 << 20) + 1) }))).status).toBe(413)
    expect((await send('block/put?cid-codec=dag-cbor', form({ bytes: 'x' }))).status).toBe(501)
    expect((await send('block/put?mhtype=sha3-256', form({ bytes: 'x' }))).status).toBe(501)
    nothing()
  })
})
