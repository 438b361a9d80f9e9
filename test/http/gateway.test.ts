import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Gateway, startGateway } from '../../src/http/gateway.ts'
import { type CarStore, openCarStore } from '../../src/ipfs/car-store.ts'
import { ask, type Asked } from '../suites/ask.ts'
import { block, blocksOf, DAG_CBOR, directory, fileNode, identityCid, leaf, names, readCar, symlink, writeCar } from '../suites/dags.ts'

const RAW = 'application/vnd.ipld.raw'
const CAR = 'application/vnd.ipld.car'
const folder = mkdtempSync(join(tmpdir(), 'gateway-'))

const file = fileNode([leaf(Buffer.from('first leaf')), leaf(Buffer.from('second leaf')), leaf(Buffer.from('first leaf'))])
const text = block('just text')
const link = symlink('file')
const tiny = identityCid('tiny')
const sub = directory({ 'a b/c?': text.cid, 'wörld': text.cid })
const root = directory({ file: file.root.cid, copy: file.root.cid, link: link.cid, sub: sub.cid, tiny, text: text.cid, gone: block('never stored').cid })
const blocks = [root, ...blocksOf(file).slice(0, 3), text, link, sub]

let store: CarStore
let gateway: Gateway
beforeAll(async () => {
  store = await openCarStore([writeCar(join(folder, 'site.car'), [root.cid], blocks)])
  gateway = await startGateway({ store, listen: { host: '127.0.0.1', port: 0 } })
})
afterAll(async () => {
  await gateway.close()
  await store.close()
  rmSync(folder, { recursive: true })
})

const at = (path: string): string => `${gateway.url}/ipfs/${path}`
const car = async (path: string): Promise<string[]> => names((await readCar((await ask(at(path))).body)).blocks)

describe('a raw block', () => {
  test('comes as it is, with headers that let caches keep it for ever', async () => {
    const answer = await ask(at(`${text.cid.toString()}?format=raw`))

    expect(answer.status).toBe(200)
    expect(answer.body.toString()).toBe('just text')
    expect(answer.headers).toMatchObject({
      'content-type': RAW,
      'content-length': '9',
      'content-disposition': `attachment; filename="${text.cid.toString()}.bin"`,
      'cache-control': 'public, max-age=29030400, immutable',
      etag: `"${text.cid.toString()}.raw"`,
      'x-content-type-options': 'nosniff',
      'x-ipfs-path': `/ipfs/${text.cid.toString()}`,
      'x-ipfs-roots': text.cid.toString(),
      'access-control-allow-origin': '*'
    })
    expect(answer.headers).not.toHaveProperty('content-location')
  })

  test('asked for by the Accept header, says where that answer may be cached', async () => {
    const answer = await ask(at(text.cid.toString()), { headers: { Accept: RAW } })

    expect([answer.status, answer.body.toString()]).toEqual([200, 'just text'])
    expect(answer.headers['content-location']).toBe(`/ipfs/${text.cid.toString()}?format=raw`)
  })

  test('of a node is the node, not what it means', async () => {
    expect((await ask(at(`${root.cid.toString()}?format=raw`))).body).toEqual(Buffer.from(root.bytes))
  })

  test('answers the probe for bafkqaaa with nothing', async () => {
    const answer = await ask(at('bafkqaaa?format=raw'))
    expect([answer.status, answer.body.byteLength, answer.headers['content-length']]).toEqual([200, 0, '0'])
  })

  test('of an identity CID is what the CID carries', async () => {
    expect((await ask(at(`${tiny.toString()}?format=raw`))).body.toString()).toBe('tiny')
  })

  test('is found by CIDv0, too, and by a CID with a slash behind it', async () => {
    expect((await ask(at(`${root.cid.toV0().toString()}?format=raw`))).body).toEqual(Buffer.from(root.bytes))
    expect((await ask(at(`${text.cid.toString()}/?format=raw`))).status).toBe(200)
  })

  test('takes a file name', async () => {
    const answer = await ask(at(`${text.cid.toString()}?format=raw&filename=t%C3%A9st.bin`))
    expect(answer.headers['content-disposition']).toBe('attachment; filename="t_st.bin"; filename*=UTF-8\'\'t%C3%A9st.bin')
  })
})

describe('a CAR', () => {
  test('says what it is', async () => {
    const answer = await ask(at(`${file.root.cid.toString()}?format=car&dag-scope=entity&entity-bytes=0:5`))

    expect(answer.headers).toMatchObject({
      'content-type': `${CAR}; version=1; order=dfs; dups=n`,
      'content-disposition': `attachment; filename="${file.root.cid.toString()}.car"`,
      'cache-control': 'public, max-age=29030400, immutable',
      'accept-ranges': 'none',
      'x-content-type-options': 'nosniff'
    })
    expect(answer.headers['etag']).toMatch(/^W\/"entity\..*0:5/)
    expect((await readCar(answer.body)).roots.map(String)).toEqual([file.root.cid.toString()])
  })

  test('has an ETag of its own for every scope, range, path and way with repeats', async () => {
    const id = root.cid.toString()
    const queries = [
      `${id}?format=raw`, `${id}?format=car`, `${id}/file?format=car`, `${id}/copy?format=car`, `${id}?format=car&dag-scope=block`,
      `${id}?format=car&dag-scope=entity`, `${id}/file?format=car&entity-bytes=0:1`, `${id}/file?format=car&entity-bytes=0:2`, `${id}?format=car&car-dups=y`
    ]
    const etags = await Promise.all(queries.map(async (query) => (await ask(at(query))).headers['etag']))

    expect(new Set(etags).size).toBe(queries.length)
  })

  test('sends repeats once, or every time when asked', async () => {
    const each = names(blocksOf(file))
    expect(await car(`${file.root.cid.toString()}?format=car`)).toEqual(each.slice(0, 3))
    expect(await car(`${file.root.cid.toString()}?format=car&car-dups=y`)).toEqual(each)
    const answer = await ask(at(file.root.cid.toString()), { headers: { Accept: `${CAR};dups=y` } })
    expect(answer.headers['content-type']).toBe(`${CAR}; version=1; order=dfs; dups=y`)
    expect(answer.headers['content-location']).toBe(`/ipfs/${file.root.cid.toString()}?format=car&car-dups=y`)
  })

  test('of a path carries the blocks on the way first', async () => {
    expect(await car(`${root.cid.toString()}/file?format=car`)).toEqual(names([root, ...blocksOf(file).slice(0, 3)]))
    expect(await car(`${root.cid.toString()}/file?format=car&dag-scope=block`)).toEqual(names([root, file.root]))
    expect(await car(`${root.cid.toString()}/sub/a%20b%2Fc%3F?format=car`)).toEqual(names([root, sub, text]))
    expect(await car(`${root.cid.toString()}/sub/w%C3%B6rld/?format=car`)).toEqual(names([root, sub, text]))
    const answer = await ask(at(`${root.cid.toString()}/sub/w%C3%B6rld?format=car`))
    expect(answer.headers['x-ipfs-roots']).toBe([root, sub, text].map(({ cid }) => cid.toString()).join(','))
    expect(answer.headers['x-ipfs-path']).toBe(`/ipfs/${root.cid.toString()}/sub/w%C3%B6rld`)
  })

  test('of a directory in entity scope lists it without its entries', async () => {
    expect(await car(`${root.cid.toString()}?format=car&dag-scope=entity`)).toEqual(names([root]))
    expect(await car(`${root.cid.toString()}/sub?format=car&entity-bytes=0:10`)).toEqual(names([root, sub]))
  })

  test('of a symlink is the link, not what it points at', async () => {
    for (const scope of ['block', 'entity', 'all']) {
      expect(await car(`${root.cid.toString()}/link?format=car&dag-scope=${scope}`)).toEqual(names([root, link]))
    }
    expect((await ask(at(`${root.cid.toString()}/link/x?format=car`))).status).toBe(404)
  })

  test('never contains an identity CID, whether it is the root or a child', async () => {
    expect(await car(`${root.cid.toString()}/tiny?format=car`)).toEqual(names([root]))
    const answer = await ask(at('bafkqaaa?format=car&car-dups=y'))
    expect(await readCar(answer.body)).toEqual({ roots: [identityCid('')], blocks: [] })
  })

  test('with a range beyond the file is refused, with an empty one is the root block', async () => {
    expect((await ask(at(`${file.root.cid.toString()}?format=car&entity-bytes=31:*`))).status).toBe(400)
    expect(await car(`${file.root.cid.toString()}?format=car&entity-bytes=20:-20`)).toEqual(names([file.root]))
  })

  test('with block scope stays one block even when a range is asked for', async () => {
    expect(await car(`${file.root.cid.toString()}?format=car&dag-scope=block&entity-bytes=0:*`)).toEqual(names([file.root]))
  })
})

describe('other requests', () => {
  test.each([
    ['a format is missing', text.cid.toString(), {}, 400],
    ['anything is accepted', text.cid.toString(), { Accept: '*/*' }, 400],
    ['only web pages are accepted', text.cid.toString(), { Accept: 'text/html' }, 406],
    ['another format is asked for', `${text.cid.toString()}?format=dag-json`, {}, 406],
    ['a raw block is asked for by path', `${root.cid.toString()}/file?format=raw`, {}, 400],
    ['the CID is none', 'bafy?format=raw', {}, 400],
    ['the CID is a path trick', '..%2f..%2fetc%2fpasswd?format=raw', {}, 400],
    ['a segment is badly encoded', `${root.cid.toString()}/%zz?format=car`, {}, 400],
    ['the path has 300 segments', `${root.cid.toString()}${'/x'.repeat(300)}?format=car`, {}, 400],
    ['the scope is unknown', `${root.cid.toString()}?format=car&dag-scope=some`, {}, 400],
    ['the range is broken', `${root.cid.toString()}?format=car&entity-bytes=x:y`, {}, 400],
    ['the block is not here', `${block('absent').cid.toString()}?format=raw`, {}, 404],
    ['the root is not here', `${block('absent').cid.toString()}?format=car`, {}, 404],
    ['the name is not here', `${root.cid.toString()}/nope?format=car`, {}, 404],
    ['the path goes up', `${root.cid.toString()}/sub/../file?format=car`, {}, 404],
    ['the path goes through a file', `${root.cid.toString()}/text/more?format=car`, {}, 404],
    ['the named block is missing', `${root.cid.toString()}/gone?format=car`, {}, 404],
    ['the hash is one that nobody here checks', 'bafk2bzaceb5fptjswu6ia6wk7kdh5yyc5esymlnvcnxwmxxevfetjwpvalvci?format=raw', {}, 404],
    ['an IPNS record is asked for under /ipfs', `${text.cid.toString()}?format=ipns-record`, {}, 400]
  ])('%s: refused in one line', async (_what, path, headers, status) => {
    const answer = await ask(at(path), { headers: headers })

    expect(answer.status).toBe(status)
    expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(answer.headers).not.toHaveProperty('cache-control')
    expect(answer.body.toString().trimEnd().split('\n')).toHaveLength(1)
  })

  test('only GET, HEAD and OPTIONS are methods', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
      const answer = await ask(at(`${text.cid.toString()}?format=raw`), { method })
      expect([answer.status, answer.headers['allow']]).toEqual([405, 'GET, HEAD, OPTIONS'])
    }
    const preflight = await ask(at(text.cid.toString()), { method: 'OPTIONS' })
    expect([preflight.status, preflight.headers['access-control-allow-methods']]).toEqual([204, 'GET, HEAD, OPTIONS'])
  })

  test('paths outside /ipfs are not there, /ipns is not served', async () => {
    for (const path of ['/', '/index.html', '/ipfs', '/ipfs/', '/api/v0/id', '//ipfs/x']) expect((await ask(`${gateway.url}${path}`)).status).toBe(404)
    expect((await ask(`${gateway.url}/ipns/k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r?format=ipns-record`)).status).toBe(501)
  })

  test.each([
    [`${text.cid.toString()}?format=raw`, 200], [`${root.cid.toString()}/file?format=car`, 200], ['bafkqaaa?format=raw', 200],
    [`${block('absent').cid.toString()}?format=raw`, 404], [`${root.cid.toString()}/nope?format=car`, 404], [text.cid.toString(), 400]
  ])('HEAD %s answers as GET does, without a body', async (path, status) => {
    const [head, get] = [await ask(at(path), { method: 'HEAD' }), await ask(at(path))]
    const told = ({ headers }: Asked): string[] => Object.entries(headers)
      .filter(([name]) => name !== 'date' && name !== 'transfer-encoding').map(([name, value]) => `${name}: ${String(value)}`)

    expect([head.status, get.status, head.body.byteLength]).toEqual([status, status, 0])
    expect(told(head)).toEqual(told(get))
  })

  test('If-None-Match spares the body, for a block and for a CAR', async () => {
    for (const path of [`${text.cid.toString()}?format=raw`, `${root.cid.toString()}/file?format=car`]) {
      const etag = String((await ask(at(path))).headers['etag'])
      const again = await ask(at(path), { headers: { 'If-None-Match': `"other", ${etag}` } })
      expect([again.status, again.body.byteLength, again.headers['etag']]).toEqual([304, 0, etag])
      expect((await ask(at(path), { headers: { 'If-None-Match': '"other"' } })).status).toBe(200)
    }
    const absent = await ask(at(`${block('absent').cid.toString()}?format=raw`), { headers: { 'If-None-Match': '*' } })
    expect(absent.status).toBe(404)
  })

  test('only-if-cached is 412 for what is not here, else like any request', async () => {
    const headers = { 'Cache-Control': 'max-age=0, only-if-cached' }
    for (const method of ['GET', 'HEAD']) {
      expect((await ask(at(`${block('absent').cid.toString()}?format=raw`), { method, headers })).status).toBe(412)
      expect((await ask(at(`${text.cid.toString()}?format=raw`), { method, headers })).status).toBe(200)
    }
  })
})

test('a codec that nobody here can follow is served as a block only', async () => {
  const odd = block('{"odd":1}', 0x1234)
  const document = block(Buffer.from('a0', 'hex'), DAG_CBOR)
  const broken = block('no dag-pb at all', 0x70)
  const other = await openCarStore([writeCar(join(folder, 'odd.car'), [], [odd, document, broken])])
  const served = await startGateway({ store: other, listen: { host: '127.0.0.1', port: 0 } })
  const status = async (cid: string, query: string): Promise<number> => (await ask(`${served.url}/ipfs/${cid}?${query}`)).status

  expect(await status(odd.cid.toString(), 'format=raw')).toBe(200)
  expect(await status(odd.cid.toString(), 'format=car&dag-scope=entity')).toBe(200)
  expect(await status(odd.cid.toString(), 'format=car')).toBe(400)
  expect(await status(document.cid.toString(), 'format=car')).toBe(200)
  expect(await status(broken.cid.toString(), 'format=raw')).toBe(200)
  expect(await status(broken.cid.toString(), 'format=car&dag-scope=block')).toBe(200)
  expect(await status(broken.cid.toString(), 'format=car')).toBe(404)
  await served.close()
  await other.close()
})
