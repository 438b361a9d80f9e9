// Sources that fall silent, die and return, lie about lengths, have no address, or live under a clock that jumps: reads go on
// elsewhere, soon, and background work stays out of their way.
import { beforeAll, describe, expect, test } from '@jest/globals'
import { createServer, type Server } from 'node:net'
import type { AddressInfo } from 'node:net'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { silentLog } from '../../src/base/log.ts'
import { HEDGE_BURST, HEDGE_MS_FIRST, HEDGE_MS_MAX, HEDGE_MS_MIN, SOURCE_BACKGROUND_CONCURRENCY, SOURCE_CONCURRENCY } from '../../src/base/limits.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import { ForegroundGate } from '../../src/ipfs/foreground-gate.ts'
import { Latency } from '../../src/ipfs/latency.ts'
import type { CarBlocks } from '../fakes/gateway.ts'
import { ManualTime } from '../fakes/manual-time.ts'
import { Relay } from '../fakes/relay.ts'
import { failureOf, gatewayOf, onClose, service, serviceOver } from './block-services.ts'
import { importContent, vectorContent } from './vector-dag.ts'

const content = vectorContent(60_000)
let blocks: CarBlocks
let root: CID
let leaves: CID[]

beforeAll(async () => {
  ({ blocks, root } = await importContent(content, { chunker: fixedSize({ chunkSize: 2_000 }), layout: balanced({ maxChildrenPerNode: 40 }) }))
  leaves = [...blocks.blocks.values()].map(({ cid }) => cid).filter(({ code }) => code === 0x55)
})

function leaf (index: number): CID {
  return leaves[index] ?? root
}

async function until (condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 3_000 && !condition(); turn++) await new Promise((resolve) => setTimeout(resolve, 2))
  if (!condition()) throw new Error('it never happened')
}

describe('a source that falls silent', () => {
  test('does not cost its timeout: the next one is asked, wins, and goes first from then on', async () => {
    const [first, second] = [await gatewayOf(blocks), await gatewayOf(blocks)]
    const over = serviceOver([first, second], { timeoutMs: 600_000 })
    for (let at = 0; at < 8; at++) await over.get(leaf(at)) // both it and we know now how long it usually takes
    expect(second.requests.length).toBe(0)
    first.knobs.hang = true
    expect((await over.get(leaf(8))).byteLength).toBe(2_000)
    await until(() => first.active() === 0) // it was given up
    const asked = first.requests.length
    for (let at = 9; at < 15; at++) await over.get(leaf(at))
    expect(first.requests.length).toBe(asked)
  })

  test('in the middle of a body loses only what is missing', async () => {
    const [first, second] = [await gatewayOf(blocks), await gatewayOf(blocks)]
    const over = serviceOver([first, second], { timeoutMs: 600_000 })
    const file = await over.openFile(root)
    for (let at = 0; at < 8; at++) await over.get(leaf(at))
    first.knobs.stallAt = 21_000
    expect(Buffer.from(await file.read(16_000, 44_000)).equals(content.subarray(16_000))).toBe(true)
    const asked = second.requests.map(({ query }) => query.get('entity-bytes'))
    expect(asked).toEqual(['34000:59999']) // 21,000 bytes held a root and nine leaves
  })

  test('under many reads at once holds none of them', async () => {
    const [first, second] = [await gatewayOf(blocks), await gatewayOf(blocks)]
    const over = serviceOver([first, second], { timeoutMs: 600_000 })
    await over.get(root)
    first.knobs.hang = true
    const reads = await Promise.all(leaves.slice(0, HEDGE_BURST * 2 + 5).map(async (cid) => await over.get(cid)))
    expect(reads.every(({ byteLength }) => byteLength === 2_000)).toBe(true)
  })

  test('while others have nothing is still waited for', async () => {
    const [first, second] = [await gatewayOf(blocks), await gatewayOf(blocks, { status: () => ({ status: 404 }) })]
    const over = serviceOver([first, second])
    for (let at = 0; at < 8; at++) await over.get(leaf(at))
    first.knobs.delayMs = 600
    expect((await over.get(leaf(9))).byteLength).toBe(2_000)
    expect(second.requests.length).toBe(1)
  })

  test('is not hedged by background work', async () => {
    const [first, second] = [await gatewayOf(blocks), await gatewayOf(blocks)]
    const over = serviceOver([first, second])
    for (let at = 0; at < 8; at++) await over.get(leaf(at))
    first.knobs.delayMs = 500
    await over.get(leaf(9), { priority: 'background' })
    expect(second.requests.length).toBe(0)
  })
})

test('an internet that is slow everywhere is not asked twice for everything', async () => {
  const slow = { delayMs: 130 }
  const [first, second] = [await gatewayOf(blocks), await gatewayOf(blocks, slow)]
  const over = serviceOver([first, second])
  for (let at = 0; at < 8; at++) await over.get(leaf(at))
  Object.assign(first.knobs, slow)
  for (let at = 8; at < 28; at++) await over.get(leaf(at))
  expect(first.requests.length + second.requests.length).toBeLessThan(28 + HEDGE_BURST)
})

test('what is unusual follows what was seen, within bounds', () => {
  const latency = new Latency()
  expect(latency.unusualMs).toBe(HEDGE_MS_FIRST)
  for (let times = 0; times < 50; times++) latency.observe(100)
  expect(latency.unusualMs).toBeGreaterThanOrEqual(200)
  expect(latency.unusualMs).toBeLessThan(210)
  for (let times = 0; times < 50; times++) latency.observe(1)
  expect(latency.unusualMs).toBe(HEDGE_MS_MIN)
  for (let times = 0; times < 50; times++) latency.observe(60_000)
  expect(latency.unusualMs).toBe(HEDGE_MS_MAX)
})

describe('background work', () => {
  test('waits while somebody reads, and goes on afterwards', async () => {
    const gateway = await gatewayOf(blocks, { hang: ({ cid }) => cid === leaf(0).toString() })
    const over = serviceOver([gateway])
    const leaving = new AbortController()
    const reading = over.get(leaf(0), { signal: leaving.signal })
    const behind = over.get(leaf(1), { priority: 'background' })
    await until(() => gateway.active() === 1)
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(gateway.requests.length).toBe(1)
    leaving.abort(new Error('enough'))
    await expect(reading).rejects.toThrow('enough')
    expect((await behind).byteLength).toBe(2_000)
  })

  test('goes on at last, however busy the node is', async () => {
    const gate = new ForegroundGate()
    const leave = gate.enter()
    await gate.quiet(new AbortController().signal)
    await expect(gate.quiet(AbortSignal.timeout(20))).rejects.toThrow()
    leave()
  })

  test('asks for little at once', async () => {
    const gateway = await gatewayOf(blocks, { delayMs: 20 })
    const over = serviceOver([gateway])
    let most = 0
    const counted = leaves.map(async (cid) => {
      const got = await over.get(cid, { priority: 'background' })
      most = Math.max(most, gateway.active())
      return got
    })
    expect((await Promise.all(counted)).length).toBe(leaves.length)
    expect(most).toBeLessThanOrEqual(SOURCE_BACKGROUND_CONCURRENCY)
  })
})

describe('death and return', () => {
  test('a gateway that comes back is used at the next read, under its old address', async () => {
    const gateway = await gatewayOf(blocks)
    const over = serviceOver([gateway], { sleep: new ManualTime().sleep })
    await over.get(leaf(0))
    gateway.knobs.status = () => ({ status: 503 })
    expect((await failureOf(over.get(leaf(1)))).code).toBe('ROOT_UNREACHABLE')
    gateway.knobs.status = null
    expect((await over.get(leaf(1))).byteLength).toBe(2_000)
  })

  test('connections that all broke are made anew', async () => {
    const relay = await Relay.over((await gatewayOf(blocks)).host)
    onClose(async () => { await relay.close() })
    const over = service({ sources: [{ type: 'gateway', url: relay.url }], log: silentLog, sleep: new ManualTime().sleep })
    await Promise.all(leaves.slice(0, 6).map(async (cid) => await over.get(cid)))
    relay.cut()
    expect((await over.get(leaf(7))).byteLength).toBe(2_000)
  })
})

describe('lengths that lie', () => {
  test.each<[string, string]>([['shorter than the body', '1999'], ['longer than the body', '2001'], ['no number', 'many']])('%s', async (_name, length) => {
    const liar = await rawServer(() => [
      `HTTP/1.1 200 OK\r\ncontent-type: application/vnd.ipld.raw\r\nconnection: close\r\ncontent-length: ${length}\r\n\r\n`, content.subarray(0, 2_000)
    ])
    const good = await gatewayOf(blocks)
    const sources = [liar, good.url].map((url) => ({ type: 'gateway' as const, url, timeoutMs: 1_000 }))
    const over = service({ sources, log: silentLog, sleep: new ManualTime().sleep })
    expect(Buffer.from(await over.get(leaf(0))).equals(content.subarray(0, 2_000))).toBe(true)
    const alone = service({ sources: sources.slice(0, 1), log: silentLog, sleep: new ManualTime().sleep })
    expect((await failureOf(alone.get(leaf(0)))).code).toMatch(/^(ROOT_UNREACHABLE|BLOCK_HASH_MISMATCH|GATEWAY_TIMEOUT)$/)
  })
})

test('answers that are refused unread do not keep their connections: the source serves as soon as it can again', async () => {
  const gateway = await gatewayOf(blocks, { huge: 2 ** 31 })
  const over = serviceOver([gateway], { sleep: new ManualTime().sleep })
  for (let at = 0; at <= SOURCE_CONCURRENCY; at++) expect((await failureOf(over.get(leaf(at)))).code).toBe('BLOCK_TOO_LARGE')
  await until(() => gateway.active() === 0)
  gateway.knobs.huge = null
  expect((await over.get(leaf(0))).byteLength).toBe(2_000)
})

test('a name without an address is told, and passed over', async () => {
  const good = await gatewayOf(blocks)
  const nowhere = { type: 'gateway' as const, url: 'http://nowhere.invalid', timeoutMs: 1_000 }
  const over = service({ sources: [nowhere, { type: 'gateway', url: good.url }], log: silentLog, sleep: new ManualTime().sleep })
  expect((await over.get(leaf(0))).byteLength).toBe(2_000)
  const failure = await failureOf(service({ sources: [nowhere], log: silentLog, sleep: new ManualTime().sleep }).get(leaf(0)))
  expect(failure.code).toMatch(/^(ROOT_UNREACHABLE|GATEWAY_TIMEOUT)$/)
  expect(failure.message).toMatch(/nowhere\.invalid: (ENOTFOUND|EAI_AGAIN|no answer)/)
})

test.each([['back', -86_400_000], ['forth', 86_400_000]])('a clock that jumps %s by a day neither silences a source nor wakes it', async (_name, jump) => {
  const time = new ManualTime()
  let wall = 0
  const clock = { ...time.clock, now: () => time.ms + wall }
  const gateway = await gatewayOf(blocks, { status: () => ({ status: 429, headers: { 'retry-after': '40' } }) })
  const over: BlockService = serviceOver([gateway], { clock, sleep: time.sleep })
  expect((await failureOf(over.get(leaf(0)))).code).toBe('GATEWAY_RATE_LIMITED')
  wall = jump
  gateway.knobs.status = null
  expect((await failureOf(over.get(leaf(0)))).message).toContain('to be left alone for 40 s more')
  expect(over.sources()[0]?.retryAt).toBe(clock.now() + 40_000)
  time.ms += 40_001
  expect((await over.get(leaf(0))).byteLength).toBe(2_000)
})

async function listening (server: Server): Promise<string> {
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Answers every connection's first bytes with these, and hangs up. */
async function rawServer (answer: () => Array<string | Uint8Array>): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      for (const part of answer()) socket.write(part)
      socket.end()
    })
  })
  onClose(async () => { await new Promise((resolve) => { server.close(resolve) }) })
  return await listening(server)
}
