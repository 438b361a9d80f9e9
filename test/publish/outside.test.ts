// A published image looked at through gateways: what is asked for, and what is said of gateways that lack, lie, dawdle or
// get the blocks later.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { OUTSIDE_FAILURES_MAX, OUTSIDE_LEAVES } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import { lookThrough, type OutsideView } from '../../src/publish/outside-look.ts'
import { outsidePieces, type Piece, type PiecesOptions } from '../../src/publish/outside-pieces.ts'
import type { Published } from '../../src/publish/publish.ts'
import type { ProgressEvent } from '../../src/publish/report.ts'
import { CarBlocks, type FakeGateway, type Knobs } from '../fakes/gateway.ts'
import { gatewayOf, service, serviceOver } from '../ipfs/block-services.ts'
import { writeBigImage } from './big-image.ts'
import { writeManyPlatforms } from './many-platforms.ts'
import { publishTo, readLayout } from './published.ts'

const LEAF = 65_536
const LONG_MS = 60_000
const SHORT_MS = 1_500
let folder = ''
let big: Published
let blocks: CarBlocks
let pieces: readonly Piece[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'outside-test-'))
  await writeBigImage(join(folder, 'big.tar'), 12 * 2 ** 20)
  big = await publishTo(join(folder, 'big.car'), join(folder, 'big.tar'), { leafBytes: LEAF })
  blocks = await CarBlocks.load(big.car)
  pieces = await piecesOf(big)
}, 60_000)
afterAll(async () => { await rm(folder, { recursive: true, force: true }) })

async function piecesOf (published: Published, options: Partial<PiecesOptions> = {}): Promise<Piece[]> {
  return await outsidePieces(published, service({ sources: [{ type: 'car', path: published.car }], log: silentLog }), { all: false, ...options })
}

interface Looked { readonly view: OutsideView, readonly notes: readonly string[], readonly gateway: FakeGateway, readonly bytes: number }

/** Through a gateway with such knobs; `onNote` is called whenever the look says that it waits. */
async function look (knobs: Partial<Knobs>, deadlineMs = LONG_MS, onNote: (gateway: FakeGateway) => void = () => {}): Promise<Looked> {
  const gateway = await gatewayOf(blocks, knobs)
  const notes: string[] = []
  let bytes = 0
  const report = (event: ProgressEvent): void => {
    if (event.event === 'advance') bytes += event.bytes
    if (event.event !== 'note') return
    notes.push(event.text)
    onNote(gateway)
  }
  const view = await lookThrough(gateway.url, serviceOver([gateway]), pieces, { item: gateway.host, deadlineMs, report })
  return { view, notes, gateway, bytes }
}

function pieceOf (of: RegExp): Piece {
  const found = pieces.find((piece) => of.test(piece.of))
  if (found === undefined) throw new Error(`nothing is called ${of.source}`)
  return found
}

test('asks for roots, directories, documents, inner nodes, the table of contents, and some leaves by chance', async () => {
  const layer = big.layers[0]?.digest ?? ''
  const kinds = Map.groupBy(pieces, ({ of }) => of.replace(/bytes \d+ to \d+$/, 'bytes'))

  expect([...kinds.keys()].sort()).toEqual([
    `config ${(await configOf(big))}`, 'directory blobs', 'directory blobs/sha256', 'index.json', `layer ${layer}, bytes`, `layer ${layer}, node`,
    `layer ${layer}, table of contents`, `manifest ${big.manifestDigest}`, 'oci-layout', 'root', 'root for nerdctl'
  ])
  expect(kinds.get(`layer ${layer}, bytes`)).toHaveLength(OUTSIDE_LEAVES)
  const again = [await piecesOf(big), await piecesOf(big), await piecesOf(big)].map((one) => one.map(({ of }) => of).join())
  expect(new Set(again).size).toBeGreaterThan(1)
  const first = await piecesOf(big, { pick: () => 0 })
  expect(first.some(({ of }) => of === `layer ${layer}, bytes 0 to ${LEAF}`)).toBe(true)
})

async function configOf (published: Published): Promise<string> {
  const { files } = await readLayout(published.car)
  const manifest = files.get(`blobs/sha256/${published.manifestDigest.slice(7)}`) ?? Buffer.alloc(0)
  return (JSON.parse(manifest.toString()) as { config: { digest: string } }).config.digest
}

test.each(['keep', 'estargz'] as const)('%s: all is every block of the CAR, also of several platforms', async (format) => {
  const source = await writeManyPlatforms(join(folder, format), ['amd64', 'arm64'])
  const published = await publishTo(join(folder, `${format}.car`), source.layout, { format, platforms: 'all' })
  const all = await piecesOf(published, { all: true })
  const some = await piecesOf(published)

  const inCar = [...(await CarBlocks.load(published.car)).blocks.values()]
  expect(all.map(({ cid }) => cid.toString()).sort()).toEqual(inCar.map(({ cid }) => cid.toString()).sort())
  for (const { digest } of published.images.flatMap(({ layers }) => layers)) expect(some.some(({ of }) => of.startsWith(`layer ${digest}`))).toBe(true)
  expect(some.some(({ of }) => of === `index ${published.indexDigest}`)).toBe(true)
  // Attestations are nothing that a container needs.
  expect(all.length - some.length).toBe(format === 'keep' ? 6 : 0)
})

test.each<[string, Partial<Knobs>]>([
  ['has everything', {}], ['knows raw blocks only', { formats: 'raw' }], ['knows CARs only', { formats: 'car' }], ['is slow', { delayMs: 30 }]
])('a gateway that %s: the image starts from there', async (_what, knobs) => {
  const { view, notes, gateway, bytes } = await look(knobs)

  expect(view).toEqual({ gateway: gateway.url, starts: true, blocks: pieces.length, found: pieces.length, ms: expect.any(Number), missing: [] })
  expect(notes).toEqual([])
  expect(bytes).toBe(pieces.reduce((sum, piece) => sum + piece.bytes, 0))
  // Neighbours come in one CAR of their file.
  expect(pieces.map(({ cid }) => cid.toString())).toEqual(expect.arrayContaining(gateway.requests.map(({ cid }) => cid)))
})

test('a gateway that finds leaves through the roots of their files only: a reader finds them, too', async () => {
  const leaves = new Set(pieces.filter(({ part }) => part !== null).map(({ cid }) => cid.toString()))
  const { view, gateway } = await look({ status: ({ format, cid }) => format === 'raw' && leaves.has(cid) ? { status: 404 } : null })

  expect(view).toMatchObject({ starts: true, missing: [] })
  expect(gateway.requests.some(({ format }) => format === 'car')).toBe(true)
})

test('a gateway that has only some of the blocks: what is missing is named, with what it is of', async () => {
  const lost = [pieceOf(/^config /), pieceOf(/table of contents$/), pieceOf(/bytes \d+ to/)]
  const { view, notes } = await look({ missing: new Set(lost.map(({ cid }) => cid.toString())) }, SHORT_MS)

  expect(view).toMatchObject({ starts: false, found: pieces.length - 3 })
  expect(new Set(view.missing.map(({ cid, of, code }) => `${cid} ${of} ${code}`)))
    .toEqual(new Set(lost.map(({ cid, of }) => `${cid.toString()} ${of} ROOT_NOT_FOUND`)))
  expect(notes[0]).toMatch(new RegExp(`^http://\\S+ lacks 3 of ${pieces.length} blocks \\(ROOT_NOT_FOUND: .*404.*\\); asking again in 1 s, for \\d+ s$`))
})

test('a gateway that has nothing is not asked for everything', async () => {
  const { view, gateway } = await look({ missing: new Set(pieces.map(({ cid }) => cid.toString())) }, SHORT_MS)

  expect(view).toMatchObject({ starts: false, found: 0 })
  expect(view.missing.length).toBeGreaterThanOrEqual(OUTSIDE_FAILURES_MAX)
  expect(gateway.requests.length).toBeLessThan(pieces.length * 2)
})

test('a gateway that gets the blocks later: they are waited for', async () => {
  const missing = new Set(pieces.slice(3).map(({ cid }) => cid.toString()))
  const { view, notes } = await look({ missing }, LONG_MS, () => { missing.clear() })

  expect(view).toMatchObject({ starts: true, found: pieces.length, missing: [] })
  expect(notes).toHaveLength(1)
})

test.each<[string, Partial<Knobs>, string]>([
  ['answers other bytes', { lie: true }, 'BLOCK_HASH_MISMATCH'],
  ['refuses', { status: () => ({ status: 403 }) }, 'GATEWAY_REFUSED'],
  ['answers with a web page', { status: () => ({ status: 200, headers: { 'content-type': 'text/html' } }) }, 'ROOT_UNREACHABLE']
])('a gateway that %s is not waited for', async (_what, knobs, code) => {
  const { view, notes } = await look(knobs)

  expect(view).toMatchObject({ starts: false, found: 0 })
  expect(new Set(view.missing.map((lost) => lost.code))).toEqual(new Set([code]))
  expect(notes).toEqual([])
})

test('a gateway with other bytes for one leaf: that leaf is named', async () => {
  const { cid, of } = pieceOf(/bytes \d+ to/)
  const other = { get: (wanted: typeof cid) => wanted.equals(cid) ? Buffer.from('other bytes') : blocks.get(wanted) }
  const gateway = await gatewayOf(other)
  const view = await lookThrough(gateway.url, serviceOver([gateway]), pieces, { item: 'x', deadlineMs: LONG_MS, report: () => {} })

  expect(view).toMatchObject({ starts: false, found: pieces.length - 1, missing: [{ cid: cid.toString(), of, code: 'BLOCK_HASH_MISMATCH' }] })
})

test('a gateway that asks for rest is given it', async () => {
  let refused = 0
  const { view } = await look({ status: () => refused++ < 3 ? { status: 429, headers: { 'retry-after': '1' } } : null })

  expect(view).toMatchObject({ starts: true, missing: [] })
})

test('a gateway that never answers ends with the deadline', async () => {
  const { view } = await look({ hang: true }, SHORT_MS)

  expect(view).toMatchObject({ starts: false, found: 0 })
  expect(view.missing[0]).toMatchObject({ code: 'GATEWAY_TIMEOUT', why: expect.stringContaining(`within the ${SHORT_MS} ms of the look`) as unknown })
})

test('who stops the look hears that it was stopped', async () => {
  const gateway = await gatewayOf(blocks, { hang: true })
  const stop = new AbortController()
  const view = lookThrough(gateway.url, serviceOver([gateway]), pieces, { item: 'x', deadlineMs: LONG_MS, report: () => {}, signal: stop.signal })
  stop.abort(new Error('enough'))

  await expect(view).rejects.toThrow('enough')
})
