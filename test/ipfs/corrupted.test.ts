// Corrupted answers, many of them, through the real gateway source, CAR parser and hashes, without sockets: no wrong byte is
// ever accepted. IPFS_SNAPSHOTTER_CORRUPT sets how many answers, default 20,000; IPFS_SNAPSHOTTER_SEED repeats a run.
import { expect, test } from '@jest/globals'
import { CID } from 'multiformats/cid'
import { systemClock } from '../../src/base/clock.ts'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Attempt } from '../../src/ipfs/attempts.ts'
import { type BlockKey, keyOf } from '../../src/ipfs/block-key.ts'
import type { Need, WantList } from '../../src/ipfs/block-source.ts'
import { ForegroundGate } from '../../src/ipfs/foreground-gate.ts'
import { GatewaySource } from '../../src/ipfs/gateway-source.ts'
import type { GatewayTransport, TransportAnswer } from '../../src/ipfs/gateway-transport.ts'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { carPieces } from '../fakes/gateway-dag.ts'
import { vectorContent } from './vector-dag.ts'

const ANSWERS = Number(process.env['IPFS_SNAPSHOTTER_CORRUPT'] ?? 20_000)
const SEED = Number(process.env['IPFS_SNAPSHOTTER_SEED'] ?? 1)

/** mulberry32: small, and the same everywhere. */
function randomNumbers (seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const random = randomNumbers(SEED)
const text = vectorContent(4_000)
const TRUTH = [1, 5, 40, 127, 128, 200, 700, 1_500].map((size, at) => {
  const bytes = Buffer.from(text.subarray(at * 17, at * 17 + size))
  const cid = rawCidOf(digestOf(bytes))
  return { cid, key: keyOf(cid), bytes }
})
const ROOT = TRUTH[0]?.cid ?? CID.parse('bafkqaaa')
const CAR = Buffer.concat([...carPieces(ROOT, TRUTH)])
const RAW = new Map(TRUTH.map(({ cid, bytes }) => [cid.toString(), bytes]))

type Mutation = (body: Buffer) => Buffer
const spot = (body: Buffer): number => random(body.byteLength + 1)
const MUTATIONS: readonly Mutation[] = [
  (body) => { const at = spot(body); if (at < body.byteLength) body[at] = (body[at] ?? 0) ^ (1 << random(8)); return body },
  (body) => { const at = spot(body); if (at < body.byteLength) body[at] = random(256); return body },
  (body) => body.subarray(0, spot(body)),
  (body) => body.subarray(Math.min(spot(body), 60)),
  (body) => { const at = spot(body); return Buffer.concat([body.subarray(0, at), body.subarray(at + 1 + random(40))]) },
  (body) => { const at = spot(body); return Buffer.concat([body.subarray(0, at), Buffer.alloc(1 + random(40), random(256)), body.subarray(at)]) },
  (body) => { const [a, b] = [spot(body), spot(body)]; return Buffer.concat([body.subarray(0, Math.max(a, b)), body.subarray(Math.min(a, b))]) },
  // One valid CID or block over another: right by itself, wrong in its place.
  (body) => over(body, pick().cid.bytes, pick().cid.bytes),
  (body) => over(body, pick().bytes, pick().bytes),
  (body) => Buffer.concat([body, CAR]),
  (body) => { const at = spot(body); body.fill(random(2) * 255, at, at + random(300)); return body },
  () => CAR.subarray(random(CAR.byteLength)),
  () => pick().bytes,
  () => Buffer.alloc(0)
]

function pick (): typeof TRUTH[number] {
  return TRUTH[random(TRUTH.length)] ?? { cid: ROOT, key: keyOf(ROOT), bytes: Buffer.alloc(0) }
}

function over (body: Buffer, old: Uint8Array, young: Uint8Array): Buffer {
  const at = body.indexOf(old)
  return at < 0 ? body : Buffer.concat([body.subarray(0, at), young, body.subarray(at + old.byteLength)])
}

function corrupted (right: Buffer): Buffer {
  let body: Buffer = Buffer.from(right)
  for (let times = 1 + random(3); times > 0; times--) body = Buffer.from(MUTATIONS[random(MUTATIONS.length)]?.(body) ?? body)
  return body
}

/** A body in pieces of any size, which may end in a broken connection, under headers that may lie. */
function answerOf (body: Buffer, contentType: string, onBytes: (bytes: number) => void): TransportAnswer {
  let at = 0
  const cut = random(12) === 0 ? spot(body) : Infinity
  const answer = {
    status: 200,
    headers: {},
    length: random(3) > 0 ? null : random(2) > 0 ? body.byteLength : random(2 ** 31),
    bytes: 0,
    contentType,
    next: async () => {
      if (at >= cut) throw new SnapshotterError('ROOT_UNREACHABLE', 'connection broke')
      if (at >= body.byteLength) return null
      const piece = body.subarray(at, at + 1 + random(600))
      at += piece.byteLength
      answer.bytes = at
      onBytes(piece.byteLength)
      return piece
    },
    finish: async () => {},
    drop: async () => {}
  }
  return answer
}

class Tally implements WantList {
  readonly target = { root: ROOT, names: [], scope: 'entity' } as const
  readonly what = 'test'
  readonly #missing = new Map<BlockKey, Need>()
  delivered = 0
  wrong = 0

  constructor (wanted: ReadonlyArray<typeof TRUTH[number]>) {
    for (const { cid, key } of wanted) this.#missing.set(key, { cid, base: 0, size: 0, from: 0, to: 0, deep: false })
  }

  get size (): number { return this.#missing.size }
  pending (): Iterable<readonly [BlockKey, Need]> { return this.#missing }
  wanted (key: BlockKey): CID | undefined { return this.#missing.get(key)?.cid }
  begin (): void {}

  accept (key: BlockKey, bytes: Uint8Array): void {
    const truth = TRUTH.find((block) => block.key === key)
    if (truth?.bytes.equals(bytes) !== true || !this.#missing.delete(key)) this.wrong++
    this.delivered++
  }
}

test(`of ${ANSWERS} corrupted answers no wrong block is accepted`, async () => {
  let answers = 0
  const http: GatewayTransport = {
    name: 'corrupt',
    get: async (path, _accept, onBytes) => {
      answers++
      const raw = path.includes('format=raw')
      const right = raw ? RAW.get(path.slice('/ipfs/'.length).split('?')[0] ?? '') ?? CAR : CAR
      return answerOf(corrupted(right), raw ? 'application/vnd.ipld.raw' : 'application/vnd.ipld.car', onBytes)
    },
    close: async () => {}
  }
  const totals = { wrong: 0, right: 0, refused: 0 }
  const waits = { signal: new AbortController().signal, priority: 'foreground' } as const
  while (answers < ANSWERS) {
    const source = new GatewaySource(http, { clock: systemClock, log: silentLog, gate: new ForegroundGate() })
    const wants = new Tally(TRUTH.filter(() => random(2) === 0))
    const attempts: Attempt[] = []
    await source.fetch(wants, attempts, waits)
    totals.wrong += wants.wrong
    totals.right += wants.delivered - wants.wrong
    totals.refused += attempts.length
  }
  process.stdout.write(`corrupted answers: ${answers}, refused: ${totals.refused}, right blocks taken from them: ${totals.right}, ` +
    `wrong blocks accepted: ${totals.wrong} (seed ${SEED})\n`)
  expect(totals.wrong).toBe(0)
  expect(totals.refused).toBeGreaterThan(ANSWERS / 4)
  expect(totals.right).toBeGreaterThan(ANSWERS / 20)
}, Math.max(60_000, ANSWERS * 5))

test('the count would see a wrong block, a block too many, and one under another name', () => {
  const [one, other] = [pick(), TRUTH.at(-1)]
  if (other === undefined) throw new Error('no truth')
  const wants = new Tally([other])
  wants.accept(other.key, Buffer.alloc(other.bytes.byteLength))
  wants.accept(other.key, other.bytes)
  wants.accept(other.key, other.bytes)
  wants.accept('no such key', one.bytes)
  expect([wants.delivered, wants.wrong]).toEqual([4, 3])
})
