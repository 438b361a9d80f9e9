// The package as deploy APIs use it: packed, installed into an empty folder, imported from JavaScript, checked from TypeScript. Every
// failure has one code; nothing is printed, no connection and no process stays.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { randomBytes } from 'node:crypto'
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { ERROR_CODES } from '../../src/base/errors.ts'
import type { ImageOptions } from '../../src/library/index.ts'
import { execute } from '../e2e/command.ts'
import { CarBlocks, type FakeGateway, type Knobs, startFakeGateway } from '../fakes/gateway.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { smallTar } from '../fakes/small-tar.ts'
import { makeImage, putImage, sha256 } from '../fakes/test-image.ts'
import { isOnPath } from '../peers/tools.ts'
import { InstalledPackage } from './installed-package.ts'

const CARS = join(import.meta.dirname, '..', 'fixtures', 'cars')
const IMAGE = join(CARS, 'layout-estargz-unixfs-v1-2025.car')
const CID = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'
const MANIFEST = 'sha256:a1e7297cf3ab29974a9d29aad74fa8337684b6a6e208db728e170e3c96e0ea9c'
const LAYER_CID = 'bafkreif6nu3mijbgvlajzmdxgy3ptskc4eev4tvkenacburfew4yhahge4'
const PINNED = `ipfs://${CID}@${MANIFEST}`
const ARCHIVE = join(CARS, 'file-oci-archive.car')
const ARCHIVE_CID = 'bafkreicyglwjcxqtmftxhoic5b5jxjlcncx3zvzvvp7oektvdtm5cbf3d4'
const platform = 'linux/amd64'

interface Call {
  readonly call: 'parseReference' | 'resolveImage' | 'verifyImage'
  readonly reference: unknown
  readonly options?: Omit<ImageOptions, 'signal'>
  /** Milliseconds. */
  readonly abortAfter?: number
}

interface Answer {
  readonly facts?: Readonly<Record<string, unknown>>
  readonly progress?: readonly string[]
  readonly code?: string
  readonly line?: string
  readonly isOurs?: boolean
}

let user: InstalledPackage
const gateways: FakeGateway[] = []

beforeAll(() => {
  user = InstalledPackage.make()
  cpSync(join(import.meta.dirname, 'ask.mjs'), join(user.folder, 'ask.mjs'))
}, 120_000)
afterAll(() => { user.remove() })
afterEach(async () => { await Promise.all(gateways.splice(0).map(async (gateway) => { await gateway.close() })) })

async function gatewayOver (car: string | CarBlocks, knobs: Partial<Knobs> = {}): Promise<FakeGateway> {
  const gateway = await startFakeGateway(typeof car === 'string' ? await CarBlocks.load(car) : car, knobs)
  gateways.push(gateway)
  return gateway
}

/** Answers in the order of the calls. What every user may expect is checked here. */
async function ask (calls: readonly Call[]): Promise<Answer[]> {
  const { code, stdout, stderr } = await user.node('ask.mjs', JSON.stringify(calls))
  expect([code, stderr]).toEqual([0, ''])
  const answers = stdout.trim().split('\n').map((line) => JSON.parse(line) as Answer)
  expect(answers.pop()).toEqual([])
  expect(answers).toHaveLength(calls.length)
  expect(gateways.map((gateway) => gateway.active())).toEqual(gateways.map(() => 0))
  return answers
}

test('every spelling of a reference is one image', async () => {
  const spelled: Array<[text: string, reference: string, gateway: string | null]> = [
    [`ipfs://${CID}`, `ipfs://${CID}`, null],
    [PINNED, PINNED, null],
    [`https://gw.example/ipfs/${CID}@${MANIFEST}`, PINNED, 'https://gw.example'],
    [`https://${CID}.ipfs.gw.example/`, `ipfs://${CID}`, 'https://gw.example'],
    [`ipfs:0/${CID}:latest`, `ipfs://${CID}`, null],
    [`localhost:5050/ipfs/${CID}`, `ipfs://${CID}`, null]
  ]
  const answers = await ask(spelled.map(([reference]) => ({ call: 'parseReference', reference })))

  expect(answers.map(({ facts }) => facts)).toEqual(spelled.map(([text, reference, gateway]) =>
    ({ reference, cid: CID, digest: text.includes('@') ? MANIFEST : null, gateway })))
})

test('an image is resolved through the gateway that its reference names, or through those of the caller, to what inspect --json prints', async () => {
  const gateway = await gatewayOver(IMAGE)
  const port = gateway.host.split(':')[1] ?? ''
  const [named, subdomain, given] = await ask([
    { call: 'resolveImage', reference: `${gateway.url}/ipfs/${CID}`, options: { platform } },
    { call: 'resolveImage', reference: `http://${CID}.ipfs.localhost:${port}/`, options: { platform } },
    { call: 'resolveImage', reference: `ipfs:0/${CID}:latest`, options: { platform, sources: [gateway.url] } }
  ])
  const printed = await user.command('inspect', `ipfs://${CID}`, '--gateway', gateway.url, '--platform', platform, '--json')

  expect(named?.facts).toMatchObject({ reference: PINNED, cid: CID, manifestDigest: MANIFEST, platform, size: 518776 + 1848 })
  expect([subdomain?.facts, given?.facts]).toEqual([named?.facts, named?.facts])
  expect(printed).toEqual({ code: 0, stdout: `${JSON.stringify(named?.facts)}\n`, stderr: '' })
})

test('an image is proven, lazy or plain, and progress is told', async () => {
  const memory = new MemoryBlocks()
  const layers = [await smallTar({ 'large.bin': randomBytes(4 << 20).toString('hex') })] // is hashed in a thread
  const image = makeImage({ layers: layers.map((tar) => gzipSync(tar, { level: 1 })), config: { rootfs: { type: 'layers', diff_ids: layers.map(sha256) } } })
  const plain = new CarBlocks()
  const root = putImage(memory, image)
  for (const { cid, bytes } of memory.blocks.values()) plain.put(cid, bytes)
  const [lazy, eager] = await ask([
    { call: 'verifyImage', reference: PINNED, options: { platform, sources: [(await gatewayOver(IMAGE)).url] } },
    { call: 'verifyImage', reference: `ipfs://${root.toString()}`, options: { platform, sources: [(await gatewayOver(plain)).url] } }
  ])

  expect(lazy?.facts).toMatchObject({ reference: PINNED, verified: true, files: 7, chunks: 156, bytesHashed: 522749, tarBytesHashed: 5120000 })
  expect(eager?.facts).toMatchObject({ verified: true, tarBytesHashed: layers[0]?.byteLength, layers: [{ digest: image.layers[0]?.digest, lazy: false }] })
  expect(eager?.progress?.join(' ')).toMatch(/^resolved begin(?: advance){2,} end(?: others)+$/)
}, 120_000)

test('the status page comes with it', async () => {
  user.write('page.mjs', "import { statusPageRoutes } from './node_modules/ipfs-snapshotter/dist/http/status-page.js'\n" +
    "const { body } = await (await statusPageRoutes({}))['/']()\nprocess.stdout.write(body.slice(0, 15))\n")
  expect(await user.node('page.mjs')).toEqual({ code: 0, stdout: '<!doctype html>', stderr: '' })
})

describe('a failure has one code', () => {
  const table = async (rows: ReadonlyArray<readonly [code: string, call: Call, says?: RegExp]>): Promise<void> => {
    const answers = await ask(rows.map(([, call]) => call))

    expect(answers.map(({ code }) => code)).toEqual(rows.map(([code]) => code))
    expect(answers.filter(({ isOurs }) => isOurs !== true)).toEqual([])
    for (const [at, [code, , says = /./]] of rows.entries()) {
      expect(answers[at]?.line).toMatch(new RegExp(`^${code}: [^\n]+$`))
      expect(answers[at]?.line).toMatch(says)
    }
  }
  const resolve = (reference: unknown, options: Call['options'] = {}, more: Partial<Call> = {}): Call =>
    ({ call: 'resolveImage', reference, options: { platform, ...options }, ...more })

  test('when the reference is none', async () => {
    await table([
      ['REF_INVALID', { call: 'parseReference', reference: 'alpine:latest' }],
      ['REF_INVALID', resolve('alpine')],
      ['REF_INVALID', resolve(null), /text, not null/],
      ['REF_INVALID', resolve(`ipfs://${CID}@sha256:abc`)],
      ['REF_MUTABLE', resolve('ipns://docs.ipfs.tech')],
      ['REF_MUTABLE', { call: 'parseReference', reference: 'https://gw.example/ipns/docs.ipfs.tech' }],
      ['CID_UNSUPPORTED', resolve('ipfs://bafyreibvjvcv745gig4mvqs4hctx4zfkono4rjejm2ta6gtyzkqxfjeily')]
    ])
  })

  test('when the sources have it not, fall silent, refuse, or lie', async () => {
    const from = async (knobs: Partial<Knobs>, more: Call['options'] = {}): Promise<Call> =>
      resolve(`ipfs://${CID}`, { sources: [(await gatewayOver(IMAGE, knobs)).url], gatewayTimeoutMs: 300, ...more })
    const empty = await gatewayOver(ARCHIVE)
    await table([
      ['ROOT_NOT_FOUND', resolve(`${empty.url}/ipfs/${CID}`), /404/],
      ['GATEWAY_TIMEOUT', await from({ hang: true })],
      ['GATEWAY_TIMEOUT', await from({ hang: true }, { gatewayTimeoutMs: 60_000, resolveTimeoutMs: 300 }), /within 300 ms/],
      ['ROOT_UNREACHABLE', await from({ status: () => ({ status: 200, headers: { 'content-type': 'text/html' } }) }), /text\/html/],
      ['GATEWAY_RATE_LIMITED', await from({ status: () => ({ status: 429, headers: { 'retry-after': '3600' } }) })],
      ['BLOCK_HASH_MISMATCH', await from({ lie: true })],
      ['ROOT_UNREACHABLE', resolve(`ipfs://${CID}`, { sources: ['http://127.0.0.1:1'] })],
      ['CANCELLED', { ...await from({ hang: true }, { gatewayTimeoutMs: 60_000 }), abortAfter: 200 }],
      ['CANCELLED', { ...await from({ hang: ({ cid }) => cid === LAYER_CID }, { gatewayTimeoutMs: 60_000 }), call: 'verifyImage', abortAfter: 3_000 }]
    ])
  })

  test('when the image is not what was asked for', async () => {
    const sources = [(await gatewayOver(IMAGE)).url, (await gatewayOver(ARCHIVE)).url]
    await table([
      ['NOT_OCI', resolve(`ipfs://${ARCHIVE_CID}`, { sources }), /OCI archive/],
      ['DIGEST_MISMATCH', resolve(`ipfs://${CID}@sha256:${'0'.repeat(64)}`, { sources })],
      ['PLATFORM_MISSING', resolve(PINNED, { sources, platform: 'linux/s390x' }), /linux\/amd64/],
      ['LIMIT_EXCEEDED', resolve(PINNED, { sources, maxImageBytes: 520_623 }), /520624 bytes, limit 520623/],
      ['LIMIT_EXCEEDED', { ...resolve(PINNED, { sources, maxImageBytes: 520_623 }), call: 'verifyImage' }]
    ])
  })

  test('when the caller chose badly, and no gateway was asked then', async () => {
    const gateway = await gatewayOver(IMAGE)
    await table([
      ['CONFIG_INVALID', resolve(PINNED), /no source/],
      ['CONFIG_INVALID', resolve(`${gateway.url}/ipfs/${CID}`, { ignoreNamedGateway: true }), /no source/],
      ['CONFIG_INVALID', resolve(PINNED, { sources: ['ftp://gw.example'] })],
      ['INVALID_ARGUMENT', resolve(PINNED, { sources: [gateway.url], platform: 'linux' })],
      ['INVALID_ARGUMENT', resolve(PINNED, { sources: [gateway.url], resolveTimeoutMs: 0 })],
      ['INVALID_ARGUMENT', resolve(PINNED, { sources: gateway.url as unknown as string[] })]
    ])
    expect(gateway.requests).toEqual([])
  })
})

describe('the examples of docs/PLATFORMS.md', () => {
  const guide = readFileSync(join(import.meta.dirname, '../../docs/PLATFORMS.md'), 'utf8')
  const example = (language: string, gateway: string): string =>
    (new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(guide)?.[1] ?? '').replace('https://gateway.example', gateway)
  const texts = [`https://elsewhere.example/ipfs/${CID}`, `ipfs://${ARCHIVE_CID}`, '--help', `ipfs://${CID}@sha256:${'0'.repeat(64)}`]
  const accepted = { image: PINNED, manifestDigest: MANIFEST, size: 520624 }

  test('work in JavaScript, and for every code the guide has words', async () => {
    user.write('deploy.mjs', `${example('js', (await gatewayOver(IMAGE)).url)}
      for (const text of JSON.parse(process.argv[2])) process.stdout.write(JSON.stringify(await acceptImage(text)) + '\\n')`)
    const { code, stdout, stderr } = await user.node('deploy.mjs', JSON.stringify(texts))

    expect([code, stderr]).toEqual([0, ''])
    expect(stdout.trim().split('\n').map((line) => JSON.parse(line) as unknown)).toEqual([
      { status: 200, ...accepted }, { status: 422, code: 'ROOT_NOT_FOUND' }, { status: 422, code: 'REF_INVALID' }, { status: 422, code: 'DIGEST_MISMATCH' }
    ])
    const [, words = ''] = guide.split('## The codes')
    const named = [...words.matchAll(/`([A-Z_]+)(\*?)`/g)].map(([, name = '', all]) => all === '*' ? name : `${name}$`)
    const ofOthers = /^(PIN_|POLICY|UNSUPPORTED|ENVIRONMENT|MOUNT|DATA_PLANE|STATE|CONTAINERD|NOT_FOUND|ALREADY|FAILED|OUT_OF|RESOURCE|UNAVAILABLE)/
    expect(ERROR_CODES.filter((code) => !ofOthers.test(code) && !named.some((name) => new RegExp(`^${name}`).test(code)))).toEqual([])
  })

  const withPython = isOnPath('python3') ? test : test.skip
  withPython('work in Python', async () => {
    user.write('deploy.py', `import sys\n${example('python', (await gatewayOver(IMAGE)).url)}
PROGRAM = ${JSON.stringify(join(user.folder, 'node_modules/ipfs-snapshotter/scripts/ipfs-snapshotter'))}
print(json.dumps([accept_image(text) for text in json.loads(sys.argv[1])]))`)
    const { code, stdout, stderr } = await execute('python3', [join(user.folder, 'deploy.py'), JSON.stringify(texts)])

    expect([code, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toEqual([accepted, { code: 'ROOT_NOT_FOUND' }, { code: 'REF_INVALID' }, { code: 'DIGEST_MISMATCH' }])
  })
})

test('a TypeScript user sees the types, closed codes among them', async () => {
  user.write('user.ts', `
    import { type ErrorCode, type ImageFacts, isSnapshotterError, parseReference, resolveImage, verifyImage } from 'ipfs-snapshotter'
    const stop = new AbortController()
    const facts: ImageFacts = await resolveImage(parseReference('x').reference, {
      sources: ['https://gw.example', { type: 'gateway', url: 'https://other.example', token: 'secret' }], signal: stop.signal, maxImageBytes: 1
    })
    export const sizes: number[] = [facts.size, ...facts.layers.map(({ size }) => size)]
    export const proven: true = (await verifyImage('x', { onProgress: (event) => { if (event.event === 'advance') sizes.push(event.bytes) } })).verified
    export function statusOf (error: unknown): number {
      const user: ErrorCode[] = ['REF_INVALID', 'NOT_OCI']
      return isSnapshotterError(error) && user.includes(error.code) ? 400 : 502
    }
    // @ts-expect-error -- no such code
    export const unknown: ErrorCode = 'NO_SUCH_CODE'
    // @ts-expect-error -- no such option
    await resolveImage('x', { gateway: 'https://gw.example' })
  `)

  expect(await user.typeErrors('user.ts')).toBe('')
}, 120_000)
