// `--to`: a CAR into somebody's RPC. The target is a fake that can fail in every way; ours and a real Kubo are asked elsewhere.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { CID } from 'multiformats/cid'
import { asSnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import type { ProgressEvent } from '../../src/base/report.ts'
import { KuboUploads } from '../../src/daemon/kubo-uploads.ts'
import { serveKuboRpc } from '../../src/http/kubo-rpc.ts'
import { GivenBlocks } from '../../src/ipfs/given-blocks.ts'
import { rpcEndpoint } from '../../src/pinning/endpoint.ts'
import { KuboClient } from '../../src/pinning/kubo-client.ts'
import { checkTarget, pushCar } from '../../src/pinning/push.ts'
import { createCar } from '../../src/publish/car-writer.ts'
import { rawCid } from '../../src/publish/dag-pb.ts'
import { startTarget, type Target, type TargetKnobs } from '../fakes/kubo-target.ts'
import { inFolder } from '../publish/published.ts'

const BLOCKS = 8
const BLOCK_BYTES = 1 << 20
let car = ''
let roots: CID[] = []
let leave: () => void
let folder: Promise<void>

beforeAll(async () => {
  await new Promise<void>((ready, reject) => {
    folder = inFolder(async (path) => {
      car = join(path, 'image.car')
      const file = await createCar(car, 2)
      const cids: CID[] = []
      for (let at = 0; at < BLOCKS; at++) {
        const bytes = Buffer.alloc(BLOCK_BYTES, createHash('sha256').update(String(at)).digest())
        cids.push(rawCid(bytes))
        await file.put(rawCid(bytes), bytes)
      }
      roots = cids.slice(0, 2)
      await file.finish(roots)
      ready()
      await new Promise<void>((resolve) => { leave = resolve })
    })
    folder.catch(reject)
  })
})
afterAll(async () => {
  leave()
  await folder
})

interface Pushed { readonly line: string | null, readonly events: ProgressEvent[], readonly target: Target }

async function push (knobs: Partial<TargetKnobs>, secret: string | null = null, signal?: AbortSignal): Promise<Pushed> {
  const target = await startTarget(knobs)
  const kubo = new KuboClient(rpcEndpoint(target.url, secret))
  const events: ProgressEvent[] = []
  try {
    await checkTarget(kubo, signal)
    await pushCar(kubo, { car, roots, report: (event) => events.push(event), signal, retryMsFirst: 1 })
    return { line: null, events, target }
  } catch (error) {
    return { line: asSnapshotterError(error).line.replaceAll(target.url, 'TARGET'), events, target }
  } finally {
    await kubo.close()
    await target.close()
  }
}

const names = (): string[] => roots.map(String)

test('every block arrives, both roots are pinned, and the bytes are told as they are taken', async () => {
  const { line, events, target } = await push({})

  expect(line).toBeNull()
  expect([...target.pins]).toEqual(names())
  expect(target.blocks.size).toBe(BLOCKS + 1) // and the empty one, which was asked first
  const [begin] = events
  expect(begin).toMatchObject({ event: 'begin', phase: 'upload' })
  const advanced = events.filter(({ event }) => event === 'advance')
  expect(advanced.length).toBeGreaterThan(BLOCKS)
  expect(advanced.reduce((sum, event) => sum + (event.event === 'advance' ? event.bytes : 0), 0)).toBe(begin?.event === 'begin' ? begin.total : 0)
  expect(events.at(-1)).toMatchObject({ event: 'end', text: expect.stringContaining('2 roots pinned') })
})

test('a target that pins only when it is asked is asked for each root', async () => {
  const { line, target } = await push({ pinsLater: true })

  expect([line, [...target.pins]]).toEqual([null, names()])
  expect(target.asked.slice(-2)).toEqual(names().map((cid) => `pin/add arg=${cid}`))
})

test('a connection that dies is tried again with the whole CAR', async () => {
  const { line, events, target } = await push({ dieAfter: [100_000, 3_000_000] })

  expect([line, [...target.pins], target.uploads()]).toEqual([null, names(), 3])
  const notes = events.flatMap((event) => event.event === 'note' ? [event.text] : [])
  const told = /dag\/import: \S.*, after \d+ of \d+ bytes: the whole CAR is sent again \(2 of 4\)$/
  expect(notes).toEqual([expect.stringMatching(told), expect.stringContaining('(3 of 4)')])
})

test('a connection that always dies ends in one line, and nothing is pinned', async () => {
  const { line, target } = await push({ dieAfter: Array<number>(9).fill(200_000) })

  expect(line).toMatch(/^PIN_UNREACHABLE: TARGET: dag\/import: \S.*, after \d+ of \d+ bytes, in the last of 4 attempts; nothing is announced$/)
  expect([target.pins.size, target.uploads()]).toEqual([0, 4])
})

test.each<[string, Partial<TargetKnobs>, RegExp]>([
  ['pins nothing', { pinError: 'disk full' }, /^PIN_FAILED: TARGET took the CAR and did not pin baf\S+: "disk full"$/],
  ['wants a token', { secret: ['authorization', 'Bearer right'] },
    /^PIN_REFUSED: TARGET: dag\/import is refused \(403 "403 - Forbidden"\); it wants a token: --to-token-file$/],
  ['is a web page', { answer: () => ({ status: 200, body: '<html>hello</html>\n' }) },
    /^PIN_FAILED: TARGET: dag\/import answers "<html>hello<\/html>", no JSON; is this the RPC of a Kubo\?$/],
  ['knows no such command', { answer: () => ({ status: 404, body: 'not found' }) },
    /^PIN_FAILED: TARGET: dag\/import: 404 "not found"; is this the RPC of a Kubo\?$/],
  ['leads elsewhere', { answer: () => ({ status: 301, body: '', headers: { location: 'https://else.example/' } }) },
    /^PIN_FAILED: TARGET: dag\/import leads to "https:\/\/else\.example\/" \(301\); name that address$/],
  ['says why it fails', { answer: () => ({ status: 500, body: JSON.stringify({ Message: 'no room\nleft', Code: 0, Type: 'error' }) }) },
    /^PIN_FAILED: TARGET: dag\/import: 500 "no room\\nleft"$/],
  ['is about to start', { answer: () => ({ status: 503, body: '' }) }, /^PIN_UNREACHABLE: TARGET: dag\/import: 503$/],
  ['never stops answering', { answer: () => ({ status: 200, body: 'x'.repeat(5 << 20) }) },
    /^PIN_FAILED: TARGET: dag\/import answers with more than \d+ bytes$/],
  ['pins another thing', { pinsLater: true, answer: (command) => command === 'pin/add' ? { status: 200, body: '{"Pins":["bafkqaaa"]}' } : null },
    /^PIN_FAILED: TARGET took the CAR and does not say that baf\S+ is pinned$/]
])('a target that %s is one line', async (_what, knobs, line) => {
  const pushed = await push(knobs)

  expect(pushed.line).toMatch(line)
  expect(pushed.target.pins.size).toBe(0)
})

test('a wrong token is refused before the CAR travels', async () => {
  const { line, target } = await push({ secret: ['authorization', 'Bearer right'] }, 'wrong')

  expect(line).toBe('PIN_REFUSED: TARGET: dag/import is refused (403 "403 - Forbidden"); is the token right?')
  expect([target.uploads(), target.pins.size]).toEqual([0, 0])
})

test.each<[string, readonly [string, string]]>([
  ['right', ['authorization', 'Bearer right']],
  ['Bearer right', ['authorization', 'Bearer right']],
  ['bearer:right', ['authorization', 'Bearer right']],
  ['basic:user:pass:word', ['authorization', `Basic ${Buffer.from('user:pass:word').toString('base64')}`]],
  ['Basic dXNlcjpw', ['authorization', 'Basic dXNlcjpw']],
  ['X-Api-Key: some key', ['x-api-key', 'some key']]
])('the secret %j opens', async (text, secret) => {
  expect((await push({ secret }, text)).line).toBeNull()
})

test('told to stop in the middle, it stops at once and pins nothing', async () => {
  const stop = new AbortController()
  const pushing = push({ stallAfter: 500_000 }, null, stop.signal)
  setTimeout(() => { stop.abort() }, 200)

  const { line, target } = await pushing
  expect([line, target.pins.size]).toEqual([expect.stringMatching(/^CANCELLED: /), 0])
})

test('a CAR without its root is told by our own RPC, whose words are passed on', async () => inFolder(async (folder) => {
  const rootless = join(folder, 'rootless.car')
  const file = await createCar(rootless, 1)
  const root = rawCid(Buffer.from('not in it'))
  await file.put(rawCid(Buffer.from('something')), Buffer.from('something'))
  await file.finish([root])
  const given = await GivenBlocks.open({ folder: join(folder, 'blocks'), maxBytes: 1 << 20, log: silentLog })
  const nobody = async (): Promise<never> => await Promise.reject(new Error('not read here'))
  const reads = { open: nobody, stat: nobody, block: nobody }
  const rpc = await serveKuboRpc({ host: '127.0.0.1', port: 0 }, { reads, writes: new KuboUploads(given) }, silentLog)
  const kubo = new KuboClient(rpcEndpoint(rpc.multiaddr, null))
  try {
    await expect(pushCar(kubo, { car: rootless, roots: [root], report: () => {} })).rejects.toMatchObject({
      line: expect.stringMatching(new RegExp(`^PIN_FAILED: ${rpc.url} took the CAR and did not pin ${root.toString()}: "NOT_FOUND: .*"$`)) as unknown
    })
    expect(await given.pins()).toEqual([])
  } finally {
    await kubo.close()
    await rpc.close()
  }
}))

test('nobody at the address is one line', async () => {
  const kubo = new KuboClient(rpcEndpoint('http://127.0.0.1:9', null))
  try {
    await expect(checkTarget(kubo)).rejects.toMatchObject({ line: 'PIN_UNREACHABLE: http://127.0.0.1:9: dag/import: ECONNREFUSED' })
  } finally {
    await kubo.close()
  }
})

test.each([
  ['http://127.0.0.1:5001', 'http://127.0.0.1:5001/api/v0'],
  ['https://rpc.example/kubo/', 'https://rpc.example/kubo/api/v0'],
  ['https://rpc.example/api/v0', 'https://rpc.example/api/v0'],
  ['/ip4/127.0.0.1/tcp/5001', 'http://127.0.0.1:5001/api/v0'],
  ['/ip6/::1/tcp/5001/http', 'http://[::1]:5001/api/v0'],
  ['/dns4/rpc.example/tcp/443/https', 'https://rpc.example/api/v0']
])('%s is an address', (text, base) => {
  expect(rpcEndpoint(text, null).base).toBe(base)
})

test.each([
  ['rpc.example', null, /--to "rpc\.example" is no http\(s\) URL$/],
  ['ftp://rpc.example', null, /is no http\(s\) URL$/],
  ['http://user:secret@rpc.example', null, /--to rpc\.example holds credentials: put them into a token file$/],
  ['http://rpc.example?x=1', null, /has a query or fragment$/],
  ['http://rpc.example', 'token', /--to http:\/\/rpc\.example has a token, which is not sent over http except to this machine: use https$/],
  ['https://rpc.example', 'two words', /^CONFIG_INVALID: the token file of --to holds none of: TOKEN, Bearer TOKEN, Basic USER:PASSWORD, Name: value$/],
  ['https://rpc.example', 'X-Key: über', /holds none of/]
])('%s with the secret %j is refused', (text, secret, line) => {
  expect(() => rpcEndpoint(text, secret)).toThrow(expect.objectContaining({ line: expect.stringMatching(line) as unknown }))
})
