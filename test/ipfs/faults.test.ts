// What every misbehaving gateway leads to: an exact error line, or the right bytes from elsewhere; never wrong ones.
import { beforeAll, describe, expect, test } from '@jest/globals'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { silentLog } from '../../src/base/log.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import type { CarBlocks, FakeGateway, Knobs } from '../fakes/gateway.ts'
import { ManualTime } from '../fakes/manual-time.ts'
import { failureOf, gatewayOf, service, serviceOver } from './block-services.ts'
import { importContent, vectorContent } from './vector-dag.ts'

const content = vectorContent(30_000)
let blocks: CarBlocks
let root: CID

beforeAll(async () => {
  ({ blocks, root } = await importContent(content, { chunker: fixedSize({ chunkSize: 4_000 }), layout: balanced({ maxChildrenPerNode: 10 }) }))
})

/** Waits between rounds take no time. */
function impatient (gateways: readonly FakeGateway[], timeoutMs = 250): BlockService {
  return serviceOver(gateways, { timeoutMs, sleep: new ManualTime().sleep })
}

async function readAll (over: BlockService): Promise<Buffer> {
  const file = await over.openFile(root)
  return Buffer.from(await file.read(0, file.size))
}

/** The line with ports and times taken out. */
function line (error: { line: string }): string {
  return error.line.replaceAll(/127\.0\.0\.1:\d+/g, 'HOST').replaceAll(/, \d+ ms/g, ', N ms').replaceAll(root.toString(), 'ROOT')
}

const HINTS: Readonly<Record<string, string>> = {
  ROOT_NOT_FOUND: 'not pinned or not provided',
  ROOT_UNREACHABLE: 'the sources are out of reach, or it is not pinned',
  GATEWAY_TIMEOUT: 'raise the timeout, add a source, or it is not pinned',
  GATEWAY_RATE_LIMITED: 'wait, or add a source',
  GATEWAY_REFUSED: 'the source refuses this content or our token',
  BLOCK_HASH_MISMATCH: 'the source is broken or lies: use another',
  BLOCK_TOO_LARGE: 'no block is that large: the source is broken or lies',
  CAR_TRUNCATED: 'the source breaks off: use another'
}

/** The whole line of a failure to fetch the root. */
function failed (code: string, tried: string): string {
  return `${code}: block ROOT could not be fetched (${tried}); ${HINTS[code] ?? ''}`
}

const status = (status: number, headers: Record<string, string> = {}): Partial<Knobs> => ({ status: () => ({ status, headers }) })
const NO_FORMAT = { formats: 'none' as 'raw' }
const RAW_PAGE = 'HOST: text/html instead of application/vnd.ipld.raw, N ms'
const CAR_PAGE = 'HOST: text/html instead of application/vnd.ipld.car, N ms'

describe('a block that one gateway cannot give', () => {
  test.each<[string, Partial<Knobs>, string, string]>([
    ['unpinned: 404', status(404), 'ROOT_NOT_FOUND', 'HOST: 404, N ms'],
    ['not cached: 412', status(412), 'ROOT_NOT_FOUND', 'HOST: 412, N ms'],
    ['gone: 410', status(410), 'GATEWAY_REFUSED', 'HOST: 410, N ms'],
    ['blocked: 451', status(451), 'GATEWAY_REFUSED', 'HOST: 451, N ms'],
    ['no token: 401', status(401), 'GATEWAY_REFUSED', 'HOST: 401, N ms'],
    ['forbidden: 403', status(403), 'GATEWAY_REFUSED', 'HOST: 403, N ms'],
    ['no providers: 502', status(502), 'ROOT_UNREACHABLE', 'HOST: 502 3 times, N ms'],
    ['timed out there: 504', status(504), 'ROOT_UNREACHABLE', 'HOST: 504 3 times, N ms'],
    ['server error: 500', status(500), 'ROOT_UNREACHABLE', 'HOST: 500 3 times, N ms'],
    ['a status from nowhere: 299', status(299), 'ROOT_UNREACHABLE', 'HOST: 299, N ms'],
    ['rate limited for long', status(429, { 'retry-after': '3600' }), 'GATEWAY_RATE_LIMITED', 'HOST: 429, N ms'],
    ['hangs', { hang: true }, 'GATEWAY_TIMEOUT', 'HOST: no answer for 250 ms, N ms'],
    ['stalls in the body', { stallAt: 100 }, 'GATEWAY_TIMEOUT', 'HOST: no data for 250 ms, N ms'],
    ['other bytes', { lie: true }, 'BLOCK_HASH_MISMATCH', 'HOST: block ROOT from HOST has other bytes (DIGEST), N ms'],
    ['claims 2 GiB', { huge: 2 ** 31 }, 'BLOCK_TOO_LARGE', 'HOST: block ROOT of 2147483648 bytes or more, limit 2097152, N ms'],
    ['web pages instead of blocks', { refusal: 200, ...NO_FORMAT }, 'ROOT_UNREACHABLE', `${RAW_PAGE}; ${CAR_PAGE}`],
    ['knows no format: 400', { refusal: 400, ...NO_FORMAT }, 'ROOT_UNREACHABLE', 'HOST: 400 2 times, N ms']
  ])('%s', async (_name, knobs, code, tried) => {
    const gateway = await gatewayOf(blocks, knobs)
    const over = impatient([gateway])
    const failure = await failureOf(over.get(root))
    expect(line(failure).replace(/sha256:[0-9a-f]{64}/, 'DIGEST')).toBe(failed(code, tried))
    expect(over.sources()[0]?.bytes).toBeLessThan(3 << 20)
  })

  test('cut in the middle, the connection being closed', async () => {
    const failure = await failureOf(impatient([await gatewayOf(blocks, { cutAt: { bytes: 50, clean: false } })]).get(root))
    const tried = line(failure).replace(/after \d+ bytes \(\w+\)/, 'after SOME')
    expect(tried).toBe(failed('ROOT_UNREACHABLE', 'HOST: connection broke after SOME 3 times, N ms'))
  })

  test('endless, without saying so', async () => {
    const over = impatient([await gatewayOf(blocks, { endless: true })])
    const failure = await failureOf(over.get(root))
    expect(failure.code).toBe('BLOCK_TOO_LARGE')
    expect(over.sources()[0]?.bytes).toBeLessThan(3 << 20)
  })

  test('slow loris: some bytes, but never enough', async () => {
    const failure = await failureOf(impatient([await gatewayOf(blocks, { dripMs: 20 })]).get(root))
    expect(line(failure)).toMatch(/^GATEWAY_TIMEOUT: block ROOT could not be fetched \(HOST: only \d+ bytes in \d+ ms, N ms\)/)
  })

  test('nobody listens', async () => {
    const gateway = await gatewayOf(blocks)
    await gateway.close()
    const failure = await failureOf(impatient([gateway]).get(root))
    expect(line(failure)).toBe(failed('ROOT_UNREACHABLE', 'HOST: ECONNREFUSED 3 times, N ms'))
  })

  test('no source at all', async () => {
    const failure = await failureOf(impatient([]).get(root))
    expect(line(failure)).toBe(failed('ROOT_UNREACHABLE', 'no source is configured'))
  })
})

test('the line names every gateway with its status and time', async () => {
  const gateways = [await gatewayOf(blocks, status(404)), await gatewayOf(blocks, { missing: new Set([root.toString()]) })]
  const failure = await failureOf(impatient(gateways).get(root))
  const tried = gateways.map(({ host }) => `${host}: 404, \\d+ ms`).join('; ')
  expect(failure.line).toMatch(new RegExp(
    `^ROOT_NOT_FOUND: block ${root.toString()} could not be fetched \\(${tried}\\); not pinned or not provided$`))
})

test.each<[string, Array<Partial<Knobs>>, string]>([
  ['one refuses, the rest have nothing', [status(451), status(404)], 'GATEWAY_REFUSED'],
  ['one limits us, the rest have nothing', [status(404), status(429, { 'retry-after': '900' })], 'GATEWAY_RATE_LIMITED'],
  ['one has nothing, one hangs', [status(404), { hang: true }], 'ROOT_UNREACHABLE'],
  ['all hang', [{ hang: true }, { hang: true }], 'GATEWAY_TIMEOUT'],
  ['one lies, one has nothing', [{ lie: true }, status(404)], 'BLOCK_HASH_MISMATCH']
])('of several failures the most telling one is the code: %s', async (_name, knobs, code) => {
  const gateways = await Promise.all(knobs.map(async (each) => await gatewayOf(blocks, each)))
  expect((await failureOf(impatient(gateways).get(root))).code).toBe(code)
})

describe('a good gateway behind a bad one is enough', () => {
  test.each<[string, Partial<Knobs>]>([
    ['404', status(404)], ['502', status(502)], ['429', status(429)],
    ['hangs', { hang: true }], ['lies', { lie: true }], ['2 GiB', { huge: 2 ** 31 }], ['endless', { endless: true, lie: true }],
    ['cuts', { cutAt: { bytes: 6_000, clean: false } }], ['cuts cleanly', { cutAt: { bytes: 6_000, clean: true } }],
    ['stalls', { stallAt: 6_000 }], ['web pages', { refusal: 200, ...NO_FORMAT }]
  ])('%s', async (_name, knobs) => {
    const bad = await gatewayOf(blocks, knobs)
    const good = await gatewayOf(blocks)
    expect((await readAll(impatient([bad, good]))).equals(content)).toBe(true)
    expect(bad.requests.length).toBeGreaterThan(0)
  })
})

describe('CARs', () => {
  test('what arrived before a cut is kept, the rest comes from the next gateway', async () => {
    const first = await gatewayOf(blocks, { status: ({ format }) => format === 'raw' ? { status: 404 } : null, cutAt: { bytes: 10_000, clean: true } })
    const second = await gatewayOf(blocks)
    second.knobs.status = ({ cid, format }) => format === 'raw' && cid !== root.toString() ? { status: 404 } : null
    expect((await readAll(impatient([first, second]))).equals(content)).toBe(true)
    expect(second.requests.map(({ query }) => query.get('entity-bytes'))).toEqual([null, '8000:29999'])
  })

  test('a gateway that cuts every CAR still gives single blocks', async () => {
    const gateway = await gatewayOf(blocks)
    gateway.knobs.status = ({ format }) => { gateway.knobs.cutAt = format === 'car' ? { bytes: 6_000, clean: false } : null; return null }
    expect((await readAll(impatient([gateway]))).equals(content)).toBe(true)
  })

  test('cut before the first block, by a gateway that knows only CARs: CAR_TRUNCATED', async () => {
    const over = impatient([await gatewayOf(blocks, { formats: 'car', cutAt: { bytes: 80, clean: true } })])
    const failure = await failureOf(over.get(root))
    const cut = 'HOST: CAR ended inside a section after 0 of the wanted blocks, 1 missing 3 times, N ms'
    expect(line(failure)).toBe(failed('CAR_TRUNCATED', `HOST: 406 3 times, N ms; ${cut}`))
  })

  test('endless blocks that nobody asked for end at the cap', async () => {
    const leaf = [...blocks.blocks.values()].find(({ cid }) => cid.code === 0x55)?.cid ?? root
    const over = impatient([await gatewayOf(blocks, { formats: 'car', endless: true, missing: new Set([leaf.toString()]) })])
    const failure = await failureOf(readAll(over))
    expect(failure.code).toBe('ROOT_NOT_FOUND') // the block's own CAR was a plain 404
    expect(failure.message).toMatch(/CAR of \d+ bytes or more, limit \d+/)
    expect(over.sources()[0]?.bytes).toBeLessThan(64 << 20)
  })

  test('a CAR that claims 2 GiB is not read', async () => {
    const gateway = await gatewayOf(blocks, { formats: 'car' })
    const over = impatient([gateway])
    const file = await over.openFile(root)
    gateway.knobs.huge = 2 ** 31
    const failure = await failureOf(file.read(0, file.size))
    expect(failure.message).toContain('CAR of 2147483648 bytes or more')
    expect(over.sources()[0]?.bytes).toBeLessThan(1 << 20)
  })

  test('other bytes under the right CIDs are refused', async () => {
    const gateway = await gatewayOf(blocks, { formats: 'car' })
    const over = impatient([gateway])
    const file = await over.openFile(root)
    gateway.knobs.lie = true
    expect((await failureOf(file.read(0, file.size))).code).toBe('BLOCK_HASH_MISMATCH')
  })

  test('a stalled CAR is continued elsewhere', async () => {
    const first = await gatewayOf(blocks, { stallAt: 10_000 })
    const second = await gatewayOf(blocks)
    expect((await readAll(impatient([first, second]))).equals(content)).toBe(true)
    expect(second.requests.at(-1)?.query.get('entity-bytes')).toBe('8000:29999')
  })
})

describe('no wrong byte gets through, whichever byte of the answer is flipped', () => {
  test.each<[string, 'raw' | 'car']>([['raw blocks', 'raw'], ['CARs', 'car']])('%s', async (_name, formats) => {
    const small = vectorContent(250)
    const dag = await importContent(small, { chunker: fixedSize({ chunkSize: 100 }), layout: balanced({ maxChildrenPerNode: 10 }) })
    const gateway = await gatewayOf(dag.blocks, { formats })
    const length = formats === 'raw' ? 190 : 700
    let refused = 0
    for (let byte = 0; byte < length; byte++) {
      gateway.knobs.corruptAt = byte
      const over = serviceOver([gateway], { timeoutMs: 2_000, sleep: new ManualTime().sleep })
      try {
        const file = await over.openFile(dag.root)
        expect(file.size).toBe(250)
        expect(Buffer.from(await file.read(0, 250)).equals(small)).toBe(true)
      } catch (error) {
        expect((error as { code?: string }).code).toMatch(/^(BLOCK_HASH_MISMATCH|BLOCK_TOO_LARGE|CAR_TRUNCATED|CAR_INVALID|ROOT_UNREACHABLE)$/)
        refused++
      }
      await over.close()
    }
    expect(refused).toBeGreaterThan(length / 4)
  })
})

test('a caller\'s deadline ends the wait and says what had been tried', async () => {
  const gateways = [await gatewayOf(blocks, status(404)), await gatewayOf(blocks, { hang: true })]
  const over = serviceOver(gateways, { timeoutMs: 30_000 })
  const failure = await failureOf(over.get(root, { signal: AbortSignal.timeout(200) }))
  expect(line(failure)).toBe('GATEWAY_TIMEOUT: block ROOT did not arrive before its deadline (HOST: 404, N ms)')
})

test('sources that are not built are refused with a plain word', () => {
  expect(() => service({ sources: [{ type: 'bitswap' }], log: silentLog })).toThrow('sources of type bitswap are not supported')
})

test('a file that is given up while it opens is not asked for any more', async () => {
  const gateway = await gatewayOf(blocks, { hang: true })
  const leaving = new AbortController()
  const opening = impatient([gateway], 60_000).openFile(root, { signal: leaving.signal }, [{ from: 0, to: 1_000 }])
  while (gateway.active() === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  leaving.abort(new Error('enough'))

  await expect(opening).rejects.toThrow('enough')
  while (gateway.active() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
})
