// How requests are spread: order, penalties, rate limits, redirects and tokens, single flight, cancellation, priorities.
import { beforeAll, describe, expect, test } from '@jest/globals'
import { createServer } from 'node:http'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CID } from 'multiformats/cid'
import { SOURCE_BACKGROUND_CONCURRENCY } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import { type CarBlocks, type FakeGateway, startFakeGateway } from '../fakes/gateway.ts'
import { ManualTime } from '../fakes/manual-time.ts'
import { failureOf, gatewayOf, onClose, service, serviceOver } from './block-services.ts'
import { importContent, vectorContent } from './vector-dag.ts'

const content = vectorContent(30_000)
let blocks: CarBlocks
let root: CID
let leaves: CID[]

beforeAll(async () => {
  ({ blocks, root } = await importContent(content, { chunker: fixedSize({ chunkSize: 2_000 }), layout: balanced({ maxChildrenPerNode: 20 }) }))
  leaves = [...blocks.blocks.values()].map(({ cid }) => cid).filter(({ code }) => code === 0x55)
})

function leaf (index: number): CID {
  const cid = leaves[index]
  if (cid === undefined) throw new Error(`no leaf ${index}`)
  return cid
}

function timed (gateways: readonly FakeGateway[]): { over: BlockService, time: ManualTime } {
  const time = new ManualTime()
  return { over: serviceOver(gateways, { clock: time.clock, sleep: time.sleep, timeoutMs: 300 }), time }
}

async function until (condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2_000 && !condition(); turn++) await new Promise((resolve) => setTimeout(resolve, 2))
  if (!condition()) throw new Error('it never happened')
}

describe('order', () => {
  test('the first source that has it wins; later ones are not asked', async () => {
    const [first, second, third] = [await gatewayOf(blocks, { status: () => ({ status: 404 }) }), await gatewayOf(blocks), await gatewayOf(blocks)]
    await serviceOver([first, second, third]).get(root)
    expect([first, second, third].map(({ requests }) => requests.length)).toEqual([1, 1, 0])
  })

  test('a source that hung or lied goes last for a while, then first again', async () => {
    const [first, second] = [await gatewayOf(blocks, { hang: true }), await gatewayOf(blocks)]
    const { over, time } = timed([first, second])
    await over.get(leaf(0))
    await over.get(leaf(1))
    expect([first.requests.length, second.requests.length]).toEqual([1, 2])
    first.knobs.hang = false
    time.ms += 60_000
    await over.get(leaf(2))
    expect([first.requests.length, second.requests.length]).toEqual([2, 2])
  })

  test('figures are kept per source', async () => {
    const [first, second] = [await gatewayOf(blocks, { status: () => ({ status: 404 }) }), await gatewayOf(blocks)]
    const over = serviceOver([first, second])
    await over.get(leaf(0))
    expect(over.sources()).toMatchObject([
      { name: first.host, type: 'gateway', requests: 1, failures: 1, budget: null, retryAt: null },
      { name: second.host, type: 'gateway', requests: 1, failures: 0, bytes: 2_000, budget: null, retryAt: null }
    ])
  })
})

test('a leaf that a gateway does not know by itself is asked for under its root', async () => {
  const gateway = await gatewayOf(blocks)
  gateway.knobs.status = ({ cid, format }) => format === 'raw' && cid !== root.toString() ? { status: 404 } : null
  const file = await serviceOver([gateway]).openFile(root)
  expect(Buffer.from(await file.read(2_000, 2_000)).equals(content.subarray(2_000, 4_000))).toBe(true)
  expect(gateway.requests.map(({ format }) => format)).toEqual(['raw', 'raw', 'car'])
})

describe('rate limits', () => {
  test('a 429 silences its source for as long as it says; others serve meanwhile', async () => {
    const first = await gatewayOf(blocks, { status: () => ({ status: 429, headers: { 'retry-after': '7' } }) })
    const second = await gatewayOf(blocks)
    const { over, time } = timed([first, second])
    await over.get(leaf(0))
    expect(over.sources()[0]).toMatchObject({ budget: 0, retryAt: time.ms + 7_000 })
    await over.get(leaf(1))
    expect(first.requests.length).toBe(1)
    first.knobs.status = null
    time.ms += 7_001
    await over.get(leaf(2))
    expect(first.requests.length).toBe(2)
    expect(over.sources()[0]).toMatchObject({ budget: null, retryAt: null })
    expect(time.waits).toEqual([])
  })

  test('the only source is waited for', async () => {
    const gateway = await gatewayOf(blocks)
    const { over, time } = timed([gateway])
    gateway.knobs.status = () => gateway.requests.length === 1 ? { status: 429, headers: { 'retry-after': '12' } } : null
    await over.get(leaf(0))
    expect(time.waits).toEqual([12_000])
  })

  test('a date in Retry-After counts, too', async () => {
    const gateway = await gatewayOf(blocks)
    const { over, time } = timed([gateway])
    const date = new Date(time.ms + 9_000).toUTCString()
    gateway.knobs.status = () => gateway.requests.length === 1 ? { status: 429, headers: { 'retry-after': date } } : null
    await over.get(leaf(0))
    expect(time.waits).toEqual([9_000])
  })

  test('nobody waits longer than the limit, nor for ever in small steps', async () => {
    const gateway = await gatewayOf(blocks, { status: () => ({ status: 429, headers: { 'retry-after': '31' } }) })
    const patient = timed([gateway])
    expect((await failureOf(patient.over.get(leaf(0)))).code).toBe('GATEWAY_RATE_LIMITED')
    expect(patient.time.waits).toEqual([])

    gateway.knobs.status = () => ({ status: 429, headers: { 'retry-after': '9' } })
    const again = timed([gateway])
    expect((await failureOf(again.over.get(leaf(0)))).code).toBe('GATEWAY_RATE_LIMITED')
    expect(again.time.waits).toEqual([9_000, 9_000, 9_000])
  })

  test('while it rests it is not asked, and the line says so', async () => {
    const gateway = await gatewayOf(blocks, { status: () => ({ status: 429, headers: { 'retry-after': '600' } }) })
    const { over } = timed([gateway])
    await failureOf(over.get(leaf(0)))
    const failure = await failureOf(over.get(leaf(1)))
    expect(failure.line).toContain(`${gateway.host}: it asked to be left alone for 600 s more, 0 ms`)
    expect(gateway.requests.length).toBe(1)
  })

  test('a budget that the gateway states is shown', async () => {
    const { over } = timed([await gatewayOf(blocks, { headers: { 'x-ratelimit-remaining': '41' } })])
    await over.get(leaf(0))
    expect(over.sources()[0]?.budget).toBe(41)
  })
})

describe('redirects', () => {
  const token = 'secret-token'
  const over = (gateway: FakeGateway): BlockService => service({ sources: [{ type: 'gateway', url: gateway.url, token, timeoutMs: 2_000 }], log: silentLog })

  test('the token goes to the configured origin and nowhere else', async () => {
    const elsewhere = await gatewayOf(blocks)
    const gateway = await gatewayOf(blocks, { redirect: ({ path }) => `${elsewhere.url}${path}` })
    await over(gateway).get(leaf(0))
    expect(gateway.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${token}`])
    expect(elsewhere.requests.length).toBe(1)
    expect(elsewhere.requests.map(({ headers }) => headers.authorization)).toEqual([undefined])
    expect(JSON.stringify(elsewhere.requests)).not.toContain(token)
  })

  test('within the origin it stays', async () => {
    const gateway = await gatewayOf(blocks)
    gateway.knobs.redirect = ({ path }) => path.includes('moved') ? null : `${path}&moved=1`
    await over(gateway).get(leaf(0))
    expect(gateway.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${token}`, `Bearer ${token}`])
  })

  test.each<[string, string, string]>([
    ['for ever', '/ipfs/again', 'more than 3 redirects'],
    ['to another scheme', 'ftp://example.org/', 'redirect to no http or https URL'],
    ['to a URL with credentials', 'https://user:word@example.org/', 'redirect with credentials'],
    ['to nonsense', 'http://[', 'redirect to no http or https URL']
  ])('%s: refused', async (_name, location, why) => {
    const gateway = await gatewayOf(blocks, { redirect: () => location })
    const failure = await failureOf(serviceOver([gateway], { sleep: new ManualTime().sleep }).get(leaf(0)))
    expect(failure.code).toBe('ROOT_UNREACHABLE')
    expect(failure.message).toContain(why)
    expect(failure.message).not.toContain('word')
  })

  test('no message, log event or status holds the token', async () => {
    const events: unknown[] = []
    const record = (...event: unknown[]): void => { events.push(event) }
    const log = { debug: record, info: record, warn: record, error: record }
    const gateway = await gatewayOf(blocks, { lie: true })
    const blockService = service({ sources: [{ type: 'gateway', url: gateway.url, token }], log })
    const failure = await failureOf(blockService.get(leaf(0)))
    expect(events.length).toBeGreaterThan(0)
    expect(JSON.stringify([events, failure.line, failure.details, blockService.sources()])).not.toContain(token)
  })
})

describe('single flight', () => {
  test('many readers of one block share one request, under every CID of it', async () => {
    const gateway = await gatewayOf(blocks, { delayMs: 30 })
    const over = serviceOver([gateway])
    const asV0 = CID.createV0(root.multihash as Parameters<typeof CID.createV0>[0])
    await Promise.all(Array.from({ length: 50 }, async (_, index) => await over.get(index % 2 === 0 ? root : asV0)))
    await over.get(asV0)
    expect(gateway.requests.length).toBe(1)
  })

  test('many readers of one range share one CAR', async () => {
    const gateway = await gatewayOf(blocks, { delayMs: 30 })
    const file = await serviceOver([gateway]).openFile(root)
    await Promise.all(Array.from({ length: 20 }, async () => await file.read(3_000, 9_000)))
    expect(gateway.requests.map(({ format }) => format)).toEqual(['raw', 'car'])
  })

  test('overlapping readers fetch each leaf once', async () => {
    const gateway = await gatewayOf(blocks, { formats: 'raw', delayMs: 5 })
    const file = await serviceOver([gateway]).openFile(root)
    await Promise.all(Array.from({ length: 14 }, async (_, index) => await file.read(index * 2_000, 4_000)))
    const raw = gateway.requests.filter(({ format }) => format === 'raw').map(({ cid }) => cid)
    expect(new Set(raw).size).toBe(raw.length)
    expect(raw.length).toBe(16)
  })
})

describe('giving up', () => {
  test('one reader leaves, the other gets the block from the same request', async () => {
    const gateway = await gatewayOf(blocks, { delayMs: 60 })
    const over = serviceOver([gateway])
    const leaving = new AbortController()
    const left = over.get(leaf(0), { signal: leaving.signal })
    const stayed = over.get(leaf(0))
    await until(() => gateway.requests.length === 1)
    leaving.abort(new Error('enough'))
    await expect(left).rejects.toThrow('enough')
    expect((await stayed).byteLength).toBe(2_000)
    expect(gateway.requests.length).toBe(1)
  })

  test('when the last reader leaves, the request ends', async () => {
    const gateway = await gatewayOf(blocks, { hang: true })
    const over = serviceOver([gateway], { timeoutMs: 30_000 })
    const leaving = new AbortController()
    const left = over.get(leaf(0), { signal: leaving.signal })
    await until(() => gateway.active() === 1)
    leaving.abort(new Error('enough'))
    await expect(left).rejects.toThrow('enough')
    await until(() => gateway.active() === 0)
  })

  test('a signal that has fired already asks nobody', async () => {
    const gateway = await gatewayOf(blocks)
    await expect(serviceOver([gateway]).get(root, { signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow('too late')
    expect(gateway.requests.length).toBe(0)
  })

  test('a stream that is left early stops fetching', async () => {
    const gateway = await gatewayOf(blocks, { formats: 'raw', hang: ({ cid }) => cid === leaf(1).toString() })
    const file = await serviceOver([gateway], { timeoutMs: 30_000 }).openFile(root)
    for await (const piece of file.stream(0, file.size)) {
      expect(Buffer.from(piece).equals(content.subarray(0, 2_000))).toBe(true)
      break
    }
    await until(() => gateway.active() === 0)
  })

  test('closing the service ends what is under way', async () => {
    const gateway = await gatewayOf(blocks, { hang: true })
    const over = serviceOver([gateway], { timeoutMs: 30_000 })
    const waiting = failureOf(over.get(root))
    await until(() => gateway.active() === 1)
    await over.close()
    expect((await waiting).line).toBe('CANCELLED: the block service was closed')
    await until(() => gateway.active() === 0)
  })
})

test('a foreground reader takes a block over from the background queue', async () => {
  const gateway = await gatewayOf(blocks, { hang: ({ cid }) => cid !== leaf(12).toString() })
  const over = serviceOver([gateway], { timeoutMs: 30_000 })
  const leaving = new AbortController()
  const queued = Array.from({ length: 12 }, async (_, index) => await over.get(leaf(index), { priority: 'background', signal: leaving.signal }))
  const wanted = over.get(leaf(12), { priority: 'background' })
  await until(() => gateway.requests.length === SOURCE_BACKGROUND_CONCURRENCY) // all background slots are taken; the wanted block waits behind them
  expect((await over.get(leaf(12))).byteLength).toBe(2_000)
  expect((await wanted).byteLength).toBe(2_000)
  leaving.abort(new Error('enough'))
  expect((await Promise.allSettled(queued)).map(({ status }) => status)).toEqual(queued.map(() => 'rejected'))
  expect(gateway.requests.filter(({ cid }) => cid === leaf(12).toString()).length).toBe(1)
})

test.each<['raw' | 'car', number]>([['raw', 16], ['car', 9]])('connections are kept over many %s answers', async (formats, least) => {
  const sockets = new Set<unknown>()
  const gateway = await startFakeGateway(blocks, { formats }, (listener) => createServer(listener).on('connection', (socket) => sockets.add(socket)))
  onClose(gateway.close)
  const file = await serviceOver([gateway]).openFile(root)
  for (let at = 0; at < file.size; at += 4_000) await file.read(at, 4_000)
  expect(gateway.requests.length).toBeGreaterThanOrEqual(least)
  expect(sockets.size).toBeLessThan(least / 2)
})
