// A resolve over real gateways that misbehave: the error has its code, names the gateway in one line, and nothing is resolved.
import { afterEach, describe, expect, test } from '@jest/globals'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { resolveImage } from '../../src/image/resolver.ts'
import { createBlockService } from '../../src/ipfs/block-service.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { CarBlocks, type FakeGateway, type Knobs, startFakeGateway } from '../fakes/gateway.ts'

const CAR = join(import.meta.dirname, '..', 'fixtures', 'cars', 'layout-estargz-unixfs-v1-2025.car')
const CID = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'
const MANIFEST_CID = 'bafkreifb44uxz45lfgluvhjjvllu7kbto2clnjxcbdnxfdqxby6jnyhktq'
const MANIFEST = 'sha256:a1e7297cf3ab29974a9d29aad74fa8337684b6a6e208db728e170e3c96e0ea9c'

const opened: Array<FakeGateway | BlockService> = []
afterEach(async () => { for (const one of opened.splice(0).reverse()) await one.close() })

async function setUp (...knobs: ReadonlyArray<Partial<Knobs>>): Promise<{ gateways: FakeGateway[], resolve: (deadlineMs?: number) =>
  Promise<string> }> {
  const blocks = await CarBlocks.load(CAR)
  const gateways = await Promise.all(knobs.map(async (knob) => startFakeGateway(blocks, knob)))
  const service = createBlockService({
    // Short only where waiting is the point: a busy machine must not make the others time out.
    sources: gateways.map(({ url, knobs: { hang, stallAt } }) =>
      ({ type: 'gateway', url, timeoutMs: hang === true || stallAt !== null ? 200 : 10_000 })),
    log: silentLog,
    sleep: async () => {}
  })
  opened.push(...gateways, service)
  return {
    gateways,
    resolve: async (deadlineMs = 20_000) =>
      resolveImage(parseReference(`ipfs://${CID}@${MANIFEST}`), { blocks: service, platform: 'linux/amd64', deadlineMs })
      .then(({ manifest }) => manifest.digest, (error: unknown) => isSnapshotterError(error) ? error.line : String(error))
  }
}

describe('one gateway', () => {
  test.each<[string, Partial<Knobs>, RegExp]>([
    ['does not have it', { status: () => ({ status: 404 }) }, /^ROOT_NOT_FOUND: /],
    ['hangs', { hang: true }, /^GATEWAY_TIMEOUT: /],
    ['stalls in the body', { stallAt: 10 }, /^GATEWAY_TIMEOUT: /],
    ['is broken', { status: () => ({ status: 502 }) }, /^ROOT_UNREACHABLE: /],
    ['refuses', { status: () => ({ status: 451 }) }, /^GATEWAY_REFUSED: /],
    ['sends other bytes', { lie: true }, /^BLOCK_HASH_MISMATCH: /],
    ['flips a bit', { corruptAt: 20, formats: 'raw' }, /^BLOCK_HASH_MISMATCH: /],
    ['cuts the body', { cutAt: { bytes: 40, clean: true }, formats: 'car' }, /^CAR_TRUNCATED: /],
    ['claims 2 GiB', { huge: 2 ** 31 }, /^BLOCK_TOO_LARGE: |^LIMIT_EXCEEDED: |^CAR_INVALID: /],
    ['redirects for ever', { redirect: ({ path }) => `${path}&again` }, /^(ROOT_UNREACHABLE|GATEWAY_REFUSED): /]
  ])('%s', async (_name, knobs, line) => {
    const { gateways: [gateway], resolve } = await setUp(knobs)
    const got = await resolve()

    expect(got).toMatch(line)
    expect(got).toContain(gateway?.host)
    expect(got).not.toContain('\n')
  })

  test.each<[string, Partial<Knobs>]>([['works', {}], ['knows raw blocks only', { formats: 'raw' }],
    ['knows CARs only', { formats: 'car' }]])('%s', async (_name, knobs) => {
    const { resolve } = await setUp(knobs)
    expect(await resolve()).toBe(MANIFEST)
  })

  test('hangs longer than the whole resolve may take: the deadline names it', async () => {
    const { gateways: [gateway], resolve } = await setUp({ hang: true })
    const tried = `\\(.*${gateway?.host ?? ''}.*: [1-3] requests, 0 failed\\)`
    expect(await resolve(100)).toMatch(new RegExp(`^GATEWAY_TIMEOUT: ipfs://${CID} was not resolved within 100 ms ${tried}$`))
  })
})

describe('two gateways', () => {
  test.each<[string, Partial<Knobs>]>([
    ['does not have it', { status: () => ({ status: 404 }) }], ['hangs', { hang: true }], ['lies', { lie: true }],
      ['is broken', { status: () => ({ status: 500 }) }]
  ])('of which the first %s: the second one serves', async (_name, knobs) => {
    const { gateways, resolve } = await setUp(knobs, {})

    expect(await resolve()).toBe(MANIFEST)
    expect(gateways.map(({ requests }) => requests.length > 0)).toEqual([true, true])
  })

  test('that both do not have it are both named', async () => {
    const { gateways: [one, two], resolve } = await setUp({ status: () => ({ status: 404 }) }, { status: () => ({ status: 504 }) })
    expect(await resolve()).toMatch(new RegExp(`^ROOT_\\w+: .*${one?.host ?? ''}.*404.*${two?.host ?? ''}.*504`))
  })
})

describe('round trips', () => {
  const CONFIG_CID = 'bafkreia63sx57hbmsv2bjddv5a6wodz5pzzqv4m4l7josnxjp42q6e7kme'

  test('a reference with a digest gets manifest and config while the root is still on its way', async () => {
    const { gateways: [gateway], resolve } = await setUp({ hang: ({ cid }) => cid === CID })
    const line = resolve(2_000)
    while (gateway?.requests.some(({ cid }) => cid === CONFIG_CID) !== true) await new Promise((resolve) => setTimeout(resolve, 5))

    expect(gateway.requests.map(({ cid }) => cid)).toContain(MANIFEST_CID)
    expect(await line).toMatch(/^GATEWAY_TIMEOUT: /)
  })

  test('the early guesses cost no request more', async () => {
    const blocks = await CarBlocks.load(CAR)
    const counts: number[] = []
    for (const text of [`ipfs://${CID}@${MANIFEST}`, `ipfs://${CID}`]) {
      const gateway = await startFakeGateway(blocks, {})
      const service = createBlockService({ sources: [{ type: 'gateway', url: gateway.url }], log: silentLog })
      opened.push(gateway, service)
      await resolveImage(parseReference(text), { blocks: service, platform: 'linux/amd64' })
      counts.push(gateway.requests.length)
    }

    expect(counts[0]).toBeLessThanOrEqual(counts[1] ?? 0)
    expect(counts[1]).toBeLessThanOrEqual(7)
  })

  test('a guess that fails is not noticed', async () => {
    const v0 = await CarBlocks.load(join(import.meta.dirname, '..', 'fixtures', 'cars', 'layout-gzip-unixfs-v0-2015.car'))
    const gateway = await startFakeGateway(v0, {})
    const service = createBlockService({ sources: [{ type: 'gateway', url: gateway.url }], log: silentLog })
    opened.push(gateway, service)
    const digest = 'sha256:b90eb51f7ae9ab92bebb74f7a0ed1495776e6db650c7050cdb8759d96861758e'
    const plan = await resolveImage(parseReference(`ipfs://${v0.root.toString()}@${digest}`), { blocks: service, platform: 'linux/amd64' })

    expect(plan.manifest.digest).toBe(digest)
  })
})
