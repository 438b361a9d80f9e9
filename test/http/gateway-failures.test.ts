import { afterAll, expect, test } from '@jest/globals'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { IDENTITY_BYTES_MAX } from '../../src/base/limits.ts'
import { type Gateway, type GatewayOptions, startGateway } from '../../src/http/gateway.ts'
import type { BlockStoreReadonly } from '../../src/ipfs/block-store.ts'
import { openCarStore } from '../../src/ipfs/car-store.ts'
import { ask } from '../suites/ask.ts'
import { type Block, block, blocksOf, carBytes, DAG_CBOR, directory, fileNode, identityCid, leaf, names, readCar } from '../suites/dags.ts'

const folder = mkdtempSync(join(tmpdir(), 'gateway-failures-'))
const open: Array<() => Promise<void>> = []
afterAll(async () => {
  for (const close of open.reverse()) await close()
  rmSync(folder, { recursive: true })
})

async function storeOf (car: Uint8Array): Promise<BlockStoreReadonly> {
  const path = join(folder, `${open.length}.car`)
  writeFileSync(path, car)
  const store = await openCarStore([path])
  open.push(() => store.close())
  return store
}

async function serve (store: BlockStoreReadonly, options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const gateway = await startGateway({ store, listen: { host: '127.0.0.1', port: 0 }, ...options })
  open.push(() => gateway.close())
  return gateway
}

/** The store with a hook in front of each read. */
function watched (store: BlockStoreReadonly, before: (read: number, signal: AbortSignal | undefined) => Promise<void> | void): BlockStoreReadonly {
  let reads = 0
  return {
    roots: store.roots, blocks: store.blocks, ordinals: store.ordinals,
    has: (cid) => store.has(cid), ordinal: (cid) => store.ordinal(cid), close: () => store.close(),
    get: async (cid, waits) => { await before(++reads, waits?.signal); return await store.get(cid, waits) }
  }
}

const file = fileNode([leaf(Buffer.alloc(70_000, 1)), leaf(Buffer.alloc(70_000, 2)), leaf(Buffer.alloc(70_000, 3))])
const root = directory({ file: file.root.cid })
const blocks = [root, ...blocksOf(file)]

function damaged (victim: Block): Uint8Array {
  const bytes = Buffer.from(carBytes([root.cid], blocks))
  const at = bytes.indexOf(Buffer.from(victim.bytes)) + victim.bytes.byteLength - 1
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes
}

const victims = blocks.map((victim, index) => [index, victim] as const)

test.each(victims)('no answer contains block %i when one bit of it is flipped on disk', async (_index, victim) => {
  const { url } = await serve(await storeOf(damaged(victim)))
  const raw = await ask(`${url}/ipfs/${victim.cid.toString()}?format=raw`)
  const head = await ask(`${url}/ipfs/${victim.cid.toString()}?format=raw`, { method: 'HEAD' })
  const all = await ask(`${url}/ipfs/${root.cid.toString()}?format=car`)

  expect([raw.status, head.status]).toEqual([500, 500])
  expect(raw.body.toString()).toBe('BLOCK_HASH_MISMATCH: the gateway cannot serve this block\n')
  expect(all.status === 500 || (all.status === 200 && !all.whole)).toBe(true)
  const inCar = all.status === 200 ? await readWhatCame(all.body) : []
  expect(inCar).toEqual(names(blocks).slice(0, inCar.length))
  expect(inCar).not.toContain(victim.cid.toString())
  for (const other of blocks.filter((each) => each !== victim)) {
    expect((await ask(`${url}/ipfs/${other.cid.toString()}?format=raw`)).body).toEqual(Buffer.from(other.bytes))
  }
})

/** The sections of a CAR that may be cut between two of them or inside one. */
async function readWhatCame (car: Buffer): Promise<string[]> {
  for (let end = car.byteLength; end > 0; end--) {
    const read = await readCar(car.subarray(0, end)).catch(() => null)
    if (read !== null) return names(read.blocks)
  }
  return []
}

test('a block that is missing behind the status line cuts the connection: the client sees that the CAR is not whole', async () => {
  const { url } = await serve(await storeOf(carBytes([root.cid], blocks.slice(0, 3))))
  const answer = await ask(`${url}/ipfs/${root.cid.toString()}?format=car`)

  expect([answer.status, answer.whole]).toEqual([200, false])
  expect(names((await readCar(answer.body)).blocks)).toEqual(names(blocks.slice(0, 3)))
  const present = await ask(`${url}/ipfs/${root.cid.toString()}/file?format=car&entity-bytes=0:69999`)
  expect([present.status, present.whole]).toEqual([200, true])
})

test('a client that does not read holds the reading up; going away ends it', async () => {
  const leaves = Array.from({ length: 64 }, (_, number) => leaf(Buffer.alloc(1 << 20, number)))
  const large = fileNode(leaves)
  let reads = 0
  let aborted = false
  const store = watched(await storeOf(carBytes([], blocksOf(large))), (read, signal) => {
    reads = read
    signal?.addEventListener('abort', () => { aborted = true })
  })
  const { url } = await serve(store)
  const [response] = await once(get(`${url}/ipfs/${large.root.cid.toString()}?format=car`), 'response') as [IncomingMessage]
  response.on('error', () => {})
  let seen = -1
  while (seen !== reads) { // until it reads no further by itself
    seen = reads
    await sleep(100)
  }
  expect(seen).toBeLessThan(32) // socket buffers hold a few blocks, the other leaves stay on disk

  response.destroy()
  while (!aborted) await sleep(5)
  const atEnd = reads
  await sleep(100)
  expect(reads).toBe(atEnd)
})

test('a client that takes nothing for too long is cut off', async () => {
  const large = fileNode(Array.from({ length: 64 }, (_, number) => leaf(Buffer.alloc(1 << 20, number))))
  const cut = Promise.withResolvers<undefined>()
  const store = watched(await storeOf(carBytes([], blocksOf(large))), (_read, signal) => {
    signal?.addEventListener('abort', () => cut.resolve(undefined), { once: true })
  })
  const { url } = await serve(store, { stallMs: 100 })
  const [response] = await once(get(`${url}/ipfs/${large.root.cid.toString()}?format=car`), 'response') as [IncomingMessage]
  response.on('error', () => {})
  await cut.promise // hangs unless the gateway gives up
  const closed = new Promise((resolve) => response.once('close', resolve))
  response.resume()
  await closed

  expect(response.complete).toBe(false)
})

test('more requests at once than allowed are told to come back', async () => {
  const gate: { open: () => void } = { open: () => {} }
  const opened = new Promise<void>((resolve) => { gate.open = resolve })
  let waiting = 0
  const store = watched(await storeOf(carBytes([], blocks)), async () => { waiting++; await opened })
  const { url } = await serve(store, { requestsMax: 2 })
  const address = `${url}/ipfs/${root.cid.toString()}?format=raw`
  const held = [ask(address), ask(address)]
  while (waiting < 2) await sleep(5)
  const refused = await ask(address)
  gate.open()

  expect([refused.status, refused.headers['retry-after']]).toEqual([429, '1'])
  expect((await Promise.all(held)).map(({ status }) => status)).toEqual([200, 200])
  expect((await ask(address)).status).toBe(200)
})

test('closing cuts running answers and frees the address', async () => {
  const store = watched(await storeOf(carBytes([], blocks)), async () => { await new Promise(() => {}) })
  const gateway = await startGateway({ store, listen: { host: '127.0.0.1', port: 0 } })
  const hanging = ask(`${gateway.url}/ipfs/${root.cid.toString()}?format=raw`).catch((error: unknown) => String(error))
  await sleep(20)
  await gateway.close()

  expect(await hanging).toMatch(/socket hang up|ECONNRE/)
  const { host, port } = { host: '127.0.0.1', port: Number(new URL(gateway.url).port) }
  const again = await startGateway({ store, listen: { host, port } })
  await expect(startGateway({ store, listen: { host, port } })).rejects.toMatchObject({
    code: 'ENVIRONMENT', message: `cannot listen on 127.0.0.1:${port}: another program listens there`
  })
  await again.close()
})

test('a block that is not what its codec says is a 404 without headers of its own', async () => {
  const odd = block(Buffer.of(0xff), DAG_CBOR)
  const { url } = await serve(await storeOf(carBytes([], [odd])))
  const answer = await ask(`${url}/ipfs/${odd.cid.toString()}?format=car`)

  expect([answer.status, answer.body.toString()]).toEqual([
    404, `block ${odd.cid.toString()} is not what its codec says: ask for dag-scope=block or format=raw\n`
  ])
  expect(answer.headers).not.toHaveProperty('cause')
})

test.each(['raw', 'car'])('an identity CID that is longer than anybody takes is the client\'s error: format=%s', async (format) => {
  const { url } = await serve(await storeOf(carBytes([root.cid], blocks)))
  const answer = await ask(`${url}/ipfs/${identityCid('x'.repeat(IDENTITY_BYTES_MAX + 1)).toString()}?format=${format}`)

  expect([answer.status, answer.body.toString()]).toEqual([400, 'identity CID of 129 bytes, limit 128\n'])
  expect((await ask(`${url}/ipfs/${identityCid('x'.repeat(IDENTITY_BYTES_MAX)).toString()}?format=${format}`)).status).toBe(200)
})
