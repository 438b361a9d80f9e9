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

describe('a block that one gateway cannot give', () => {
  test.each<[string, Partial<Knobs>, string]>([
    ['unpinned: 404', { status: () => ({ status: 404 }) }, 'ROOT_NOT_FOUND: block ROOT could not be fetched (HOST: 404, N ms); not pinned or not provided'],
    ['not cached: 412', { status: () => ({ status: 412 }) }, 'ROOT_NOT_FOUND: block ROOT could not be fetched (HOST: 412, N ms); not pinned or not provided'],
    ['gone: 410', { status: () => ({ status: 410 }) }, 'GATEWAY_REFUSED: block ROOT could not be fetched (HOST: 410, N ms); the source refuses this content or our token'],
    ['blocked: 451', { status: () => ({ status: 451 }) }, 'GATEWAY_REFUSED: block ROOT could not be fetched (HOST: 451, N ms); the source refuses this content or our token'],
    ['no token: 401', { status: () => ({ status: 401 }) }, 'GATEWAY_REFUSED: block ROOT could not be fetched (HOST: 401, N ms); the source refuses this content or our token'],
    ['forbidden: 403', { status: () => ({ status: 403 }) }, 'GATEWAY_REFUSED: block ROOT could not be fetched (HOST: 403, N ms); the source refuses this content or our token'],
    ['no providers: 502', { status: () => ({ status: 502 }) }, 'ROOT_UNREACHABLE: block ROOT could not be fetched (HOST: 502 3 times, N ms); the sources are out of reach, or it is not pinned'],
    ['timed out there: 504', { status: () => ({ status: 504 }) }, 'ROOT_UNREACHABLE: block ROOT could not be fetched (HOST: 504 3 times, N ms); the sources are out of reach, or it is not pinned'],
    ['server error: 500', { status: () => ({ status: 500 }) }, 'ROOT_UNREACHABLE: block ROOT could not be fetched (HOST: 500 3 times, N ms); the sources are out of reach, or it is not pinned'],
    ['a status from nowhere: 299', { status: () => ({ status: 299 }) }, 'ROOT_UNREACHABLE: block ROOT could not be fetched (HOST: 299, N ms); the sources are out of reach, or it is not pinned'],
    ['rate limited for long', { status: () => ({ status: 429, headers: { 'retry-after': '3600' } }) }, 'GATEWAY_RATE_LIMITED: block ROOT could not be fetched (HOST: 429, N ms); wait, or add a source'],
    ['hangs', { hang: true }, 'GATEWAY_TIMEOUT: block ROOT could not be fetched (HOST: no answer for 250 ms, N ms); raise the timeout, add a source, or it is not pinned'],
    ['stalls in the body', { stallAt: 100 }, 'GATEWAY_TIMEOUT: block ROOT could not be fetched (HOST: no data for 250 ms, N ms); raise the timeout, add a source, or it is not pinned'],
    ['other bytes', { lie: true }, 'BLOCK_HASH_MISMATCH: block ROOT could not be fetched (HOST: block ROOT from HOST has other bytes (DIGEST), N ms); the source is broken or lies: use another'],
    ['claims 2 GiB', { huge: 2 ** 31 }, 'BLOCK_TOO_LARGE: block ROOT could not be fetched (HOST: block ROOT of 2147483648 bytes or more, limit 2097152, N ms); no block is that large: the source is broken or lies'],
    ['web pages instead of blocks', { refusal: 200, formats: 'none' as 'raw' }, 'ROOT_UNREACHABLE: block ROOT could not be fetched (HOST: text/html instead of application/vnd.ipld.raw, N ms; HOST: text/html instead of application/vnd.ipld.car, N ms); the sources are out of reach, or it is not pinned'],
    ['knows no format: 400', { refusal: 400, formats: 'none' as 'raw' }, 'ROOT_UNREACHABLE: block ROOT could not be fetched (HOST: 400 2 times, N ms); the sources are out of reach, or it is not pinned']
  ])('%s', async (_name, knobs, expected) => {
    const gateway = await gatewayOf(blocks, knobs)
    const over = impatient([gateway])
    const failure = await failureOf(over.get(root))
    expect(line(failure).replace(/sha256:[0-9a-f]{64}/, 'DIGEST')).toBe(expected)
    expect(over.sources()[0]?.bytes).toBeLessThan(3 << 20)
  })

  test('cut in the middle, the connection being closed', async () => {
    const failure = await failureOf(impatient([await gatewayOf(blocks, { cutAt: { bytes: 50, clean: false } })]).get(root))
    expect(line(failure)).toMatch(/^ROOT_UNREACHABLE: block ROOT could not be fetched \(HOST: connection broke after \d+ bytes \(\w+\) 3 times, N ms\); the sources are out of reach, or it is not pinned$/)
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
    expect(line(failure)).toBe('ROOT_UNREACHABLE: block ROOT could not be fetched (HOST: ECONNREFUSED 3 times, N ms); the sources are out of reach, or it is not pinned')
  })

  test('no source at all', async () => {
    const failure = await failureOf(impatient([]).get(root))
    expect(line(failure)).toBe('ROOT_UNREACHABLE: block ROOT could not be fetched (no source is configured); the sources are out of reach, or it is not pinned')
  })
})

test('the line names every gateway with its status and time', async () => {
  const gateways = [await gatewayOf(blocks, { status: () => ({ status: 404 }) }), await gatewayOf(blocks, { missing: new Set([root.toString()]) })]
  const failure = await failureOf(impatient(gateways).get(root))
  expect(failure.line).toMatch(new RegExp(
    `^ROOT_NOT_FOUND: block ${root.toString()} could not be fetched \\(${gateways[0]?.host}: 404, \\d+ ms; ${gateways[1]?.host}: 404, \\d+ ms\\); not pinned or not provided$`))
})

test.each<[string, Array<Partial<Knobs>>, string]>([
  ['one refuses, the rest have nothing', [{ status: () => ({ status: 451 }) }, { status: () => ({ status: 404 }) }], 'GATEWAY_REFUSED'],
  ['one limits us, the rest have nothing', [{ status: () => ({ status: 404 }) }, { status: () => ({ status: 429, headers: { 'retry-after': '900' } }) }], 'GATEWAY_RATE_LIMITED'],
  ['one has nothing, one hangs', [{ status: () => ({ status: 404 }) }, { hang: true }], 'ROOT_UNREACHABLE'],
  ['all hang', [{ hang: true }, { hang: true }], 'GATEWAY_TIMEOUT'],
  ['one lies, one has nothing', [{ lie: true }, { status: () => ({ status: 404 }) }], 'BLOCK_HASH_MISMATCH']
])('of several failures the most telling one is the code: %s', async (_name, knobs, code) => {
  const gateways = await Promise.all(knobs.map(async (each) => await gatewayOf(blocks, each)))
  expect((await failureOf(impatient(gateways).get(root))).code).toBe(code)
})

describe('a good gateway behind a bad one is enough', () => {
  test.each<[string, Partial<Knobs>]>([
    ['404', { status: () => ({ status: 404 }) }], ['502', { status: () => ({ status: 502 }) }], ['429', { status: () => ({ status: 429 }) }],
    ['hangs', { hang: true }], ['lies', { lie: true }], ['2 GiB', { huge: 2 ** 31 }], ['endless', { endless: true, lie: true }],
    ['cuts', { cutAt: { bytes: 6_000, clean: false } }], ['cuts cleanly', { cutAt: { bytes: 6_000, clean: true } }],
    ['stalls', { stallAt: 6_000 }], ['web pages', { refusal: 200, formats: 'none' as 'raw' }]
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
    expect(line(failure)).toBe('CAR_TRUNCATED: block ROOT could not be fetched (HOST: 406 3 times, N ms; HOST: CAR ended inside a section after 0 of the wanted blocks, 1 missing 3 times, N ms); the source breaks off: use another')
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
  const gateways = [await gatewayOf(blocks, { status: () => ({ status: 404 }) }), await gatewayOf(blocks, { hang: true })]
  const over = serviceOver(gateways, { timeoutMs: 30_000 })
  const failure = await failureOf(over.get(root, { signal: AbortSignal.timeout(200) }))
  expect(line(failure)).toBe('GATEWAY_TIMEOUT: block ROOT did not arrive before its deadline (HOST: 404, N ms)')
})

test('sources that are not built are refused with a plain word', () => {
  expect(() => service({ sources: [{ type: 'bitswap' }], log: silentLog })).toThrow('sources of type bitswap are not supported')
})
