// `--pin` and `pin` against the mock service of the specification's authors: states, refusals, and services that are broken.
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { CID } from 'multiformats/cid'
import { asSnapshotterError } from '../../src/base/errors.ts'
import { endpoint } from '../../src/pinning/endpoint.ts'
import type { Peers } from '../../src/pinning/peers.ts'
import { type PinnedRoot, pinRoots } from '../../src/pinning/pin-roots.ts'
import { PIN_STATUSES, PinningService } from '../../src/pinning/service.ts'
import { rawCid } from '../../src/publish/dag-pb.ts'
import { DELEGATE, type PinningMock, startPinningMock } from '../fakes/pinning-service.ts'

const TOKEN = 'right'
const ORIGIN = '/ip4/203.0.113.1/tcp/4001/p2p/QmYVEDcquBLjoMEz6qxTSm5AfQ3uUcvHdxC8VUJs6sB1oh'
let mock: PinningMock
let plain: PinningMock['knobs']
let made = 0

beforeAll(async () => {
  mock = await startPinningMock(TOKEN)
  plain = { ...mock.knobs }
})
afterAll(async () => { await mock.close() })
beforeEach(() => {
  Object.assign(mock.knobs, plain)
  mock.asked.length = 0
})

/** Of nothing that was pinned before. */
const fresh = (): CID => rawCid(Buffer.from(`root ${++made}`))

function service (token = TOKEN, signal?: AbortSignal): PinningService {
  return new PinningService('alpha', endpoint('the endpoint', mock.url, token), signal)
}

interface Outcome { readonly pins: PinnedRoot[], readonly line: string | null, readonly notes: string[], readonly connected: string[] }

async function pin (roots: readonly CID[], { token = TOKEN, deadlineMs = 5_000, peers = true, signal }: {
  token?: string, deadlineMs?: number, peers?: boolean, signal?: AbortSignal
} = {}): Promise<Outcome> {
  const notes: string[] = []
  const connected: string[] = []
  const known: Peers = { origins: [ORIGIN], connect: async (delegates) => { connected.push(...delegates) } }
  try {
    const pins = await pinRoots(service(token, signal), {
      roots: roots.map((cid, at) => ({ cid, name: `name ${at}` })), peers: peers ? known : null, deadlineMs, pollMsFirst: 5, signal,
      report: (event) => { if (event.event === 'note') notes.push(event.text) }
    })
    return { pins, line: null, notes, connected }
  } catch (error) {
    return { pins: [], line: asSnapshotterError(error).line.replaceAll(mock.url, 'SERVICE'), notes, connected }
  }
}
const kept = (cid: CID): ReturnType<PinningMock['pins']>[number] | undefined => mock.pins().find((one) => one.pin.cid === cid.toString())

test('both roots go from queued to pinned; the service is told who has them, and that one to dial its delegates', async () => {
  const roots = [fresh(), fresh()]
  const { pins, line, notes, connected } = await pin(roots)

  expect([line, pins.map(({ service, cid, status }) => [service, cid, status])]).toEqual([null, roots.map((cid) => ['alpha', cid.toString(), 'pinned'])])
  expect(roots.map((cid) => kept(cid)?.pin)).toEqual(roots.map((cid, at) => ({ cid: cid.toString(), name: `name ${at}`, origins: [ORIGIN] })))
  expect(connected).toEqual([DELEGATE])
  for (const cid of roots.map(String)) {
    expect(notes.filter((text) => text.includes(cid))).toEqual(['queued', 'pinning', 'pinned'].map((state) => `alpha: ${cid} ${state}`))
  }
})

test('what is pinned there is not asked for again, what is under way is waited for', async () => {
  const roots = [fresh(), fresh()]
  await pin(roots)
  const slow = kept(roots[1] ?? fresh())
  if (slow !== undefined) slow.status = 'pinning'
  mock.asked.length = 0

  const { line, notes } = await pin(roots)
  expect(line).toBeNull()
  expect(notes.slice(0, 2)).toEqual([`alpha: ${String(roots[0])} was pinned there before`, `alpha: ${String(roots[1])} was pinning there before`])
  expect(mock.asked.filter((one) => one.startsWith('POST'))).toEqual([])
})

test('a pin that failed before is replaced', async () => {
  const root = fresh()
  mock.knobs.step = (one) => {
    one.status = 'failed'
    one.info = { status_details: 'nobody has\nit' }
  }
  expect((await pin([root])).line).toBe(`PIN_FAILED: pinning service alpha: ${root.toString()} failed ("nobody has\\nit"); the same command asks again`)
  Object.assign(mock.knobs, plain)
  mock.asked.length = 0

  expect((await pin([root])).line).toBeNull()
  expect(mock.asked.filter((one) => one.startsWith('POST'))).toEqual([expect.stringMatching(/^POST \/pins\/req-\d+$/)])
})

test('a service that never gets on ends at the deadline, and says how to go on', async () => {
  const root = fresh()
  mock.knobs.step = () => {}

  expect((await pin([root], { deadlineMs: 60 })).line).toBe(`PIN_TIMEOUT: pinning service alpha: ${root.toString()} is still queued after 60 ms; ` +
    'the service goes on: see pin status, or give the same command again')
})

test('a service that is away for a while is waited for until the deadline, which names its last words', async () => {
  let left = 3
  const away = (method: string, path: string): { status: number, body: string } | null =>
    method === 'GET' && path.startsWith('/pins/') && left-- > 0 ? { status: 503, body: '' } : null
  mock.knobs.answer = away
  expect((await pin([fresh()])).line).toBeNull()

  left = Infinity
  expect((await pin([fresh()], { deadlineMs: 2_000 })).line)
    .toMatch(/^PIN_TIMEOUT: .* is still queued after 2000 ms, last: pinning service alpha fails \(503\); try later; /)
})

const failure = (reason: string, details?: string): string => JSON.stringify({ error: { reason, ...details === undefined ? {} : { details } } })
test.each<[number, string, RegExp]>([
  [400, failure('BAD_REQUEST', 'no CID'), /^PIN_FAILED: pinning service alpha refuses the request \(400 "BAD_REQUEST: no CID"\)$/],
  [401, failure('UNAUTHORIZED'), /^PIN_REFUSED: pinning service alpha refuses the token \(401 "UNAUTHORIZED"\); is its token_file right\?$/],
  [404, failure('NOT_FOUND'), /^PIN_FAILED: pinning service alpha has no \/pins \(404 "NOT_FOUND"\); is its endpoint SERVICE right\?$/],
  [409, failure('INSUFFICIENT_FUNDS', 'of 1 GiB, 2 are used'),
    /^PIN_REFUSED: pinning service alpha wants more funds or room for this \(409 "INSUFFICIENT_FUNDS: of 1 GiB, 2 are used"\); nothing is pinned there$/],
  [429, '', /^PIN_UNREACHABLE: pinning service alpha asks for rest \(429\); try later$/],
  [500, failure('INTERNAL\u001b[2J\nERROR'), /^PIN_UNREACHABLE: pinning service alpha fails \(500 "INTERNAL\\u001b\[2J\\nERROR"\); try later$/],
  [502, '<html>', /^PIN_UNREACHABLE: pinning service alpha fails \(502\); try later$/],
  [202, '<html>', /^PIN_FAILED: pinning service alpha answers "<html>", no JSON; is its endpoint SERVICE right\?$/],
  [202, '{"requestid":7}', /^PIN_FAILED: pinning service alpha: POST \/pins is answered with another shape than the Pinning Service API has$/],
  [202, `{"pad":"${'x'.repeat(5 << 20)}"}`, /^PIN_FAILED: pinning service alpha answers with more than \d+ bytes$/],
  [202, '{"requestid":"a","status":"pinned","created":"2026-01-01T00:00:00Z","pin":{"cid":"bafkqaaa"},"delegates":[]}',
    /^PIN_FAILED: pinning service alpha was asked to pin baf\w+ and answers for "bafkqaaa"$/]
])('a service that answers a new pin with %i %s is one line', async (status, body, line) => {
  const root = fresh()
  mock.knobs.answer = (method) => method === 'POST' ? { status, body } : null

  expect((await pin([root])).line).toMatch(line)
  expect(kept(root)).toBeUndefined()
})

test('a service that leads elsewhere does not get the token there', async () => {
  mock.knobs.answer = () => ({ status: 307, body: '', headers: { location: 'https://else.example/' } })

  expect((await pin([fresh()])).line).toBe('PIN_FAILED: pinning service alpha leads to "https://else.example/" (307); name that endpoint')
})

test('the mock itself refuses a wrong token', async () => {
  expect((await pin([fresh()], { token: 'wrong' })).line)
    .toBe('PIN_REFUSED: pinning service alpha refuses the token (401 "access token is invalid"); is its token_file right?')
})

test('a pin that somebody removes while it is waited for is named', async () => {
  mock.knobs.answer = (_method, path) => path.startsWith('/pins/') ? { status: 404, body: failure('NOT_FOUND') } : null

  expect((await pin([fresh()])).line).toBe('NOT_FOUND: pinning service alpha knows no such pin (404 "NOT_FOUND"); somebody removed it')
})

test('told to stop, it stops at once; the request stays there', async () => {
  const root = fresh()
  const stop = new AbortController()
  mock.knobs.step = () => { stop.abort() }

  expect((await pin([root], { signal: stop.signal })).line).toMatch(/^CANCELLED: /)
  expect(kept(root)?.status).toBe('queued')
})

test('asks for more CIDs than the API takes at once in several questions', async () => {
  const cids = Array.from({ length: 21 }, () => fresh().toString())
  for (const cid of cids) await service().add({ cid, name: '', origins: [] })
  mock.asked.length = 0

  expect((await service().list({ cids, statuses: PIN_STATUSES })).map(({ cid }) => cid).sort()).toEqual([...cids].sort())
  expect(mock.asked.map((one) => one.split('%2Cbaf').length)).toEqual([10, 10, 1])
})

test('lists page by page, each pin once, in all states that are named', async () => {
  const pages: string[] = []
  const at = (created: string, requestid: string): object => ({ requestid, status: 'failed', created, pin: { cid: 'bafkqaaa' }, delegates: null })
  const all = [
    at('2026-01-03T00:00:00.0009Z', 'c'), at('2026-01-02T00:00:00.0005Z', 'b2'), at('2026-01-02T00:00:00.0001Z', 'b1'), at('2026-01-01T00:00:00Z', 'a')
  ]
  mock.knobs.answer = (_method, path) => {
    pages.push(path)
    const before = Date.parse(new URL(path, mock.url).searchParams.get('before') ?? '2030-01-01')
    const left = all.filter((one) => Date.parse((one as { created: string }).created) < before)
    return { status: 200, body: JSON.stringify({ count: left.length, results: left.slice(0, 2) }) }
  }

  expect((await service().list({ statuses: PIN_STATUSES })).map(({ requestId }) => requestId)).toEqual(['c', 'b2', 'b1', 'a'])
  expect(pages[0]).toBe('/pins?status=queued%2Cpinning%2Cpinned%2Cfailed&limit=1000')
})
