// `inspect` and `verify` as people call them: in a process of their own, offline from a CAR file or through a gateway on
// loopback that behaves well or badly. stdout carries only the result; a failure is one line on stderr.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CarIndexer } from '@ipld/car'
import { CID } from 'multiformats/cid'
import { CarBlocks, type FakeGateway, type Knobs, startFakeGateway } from '../fakes/gateway.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const CARS = join(ROOT, 'test', 'fixtures', 'cars')
const ESTARGZ = join(CARS, 'layout-estargz-unixfs-v1-2025.car')
const ESTARGZ_CID = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'
const ESTARGZ_MANIFEST = 'sha256:a1e7297cf3ab29974a9d29aad74fa8337684b6a6e208db728e170e3c96e0ea9c'
const GZIP = join(CARS, 'layout-gzip-inline.car')
const GZIP_CID = 'bafybeiauut6llh7tafut5ouixk46zw6pulob35jix2lwy6rytvxxaj7fli'
const AMD64 = ['--platform', 'linux/amd64']

interface Outcome { readonly code: number, readonly stdout: string, readonly stderr: string }

let scratch = ''
const gateways: FakeGateway[] = []

beforeAll(async () => { scratch = await mkdtemp(join(tmpdir(), 'image-commands-')) })
afterAll(async () => { await rm(scratch, { recursive: true, force: true }) })
afterEach(async () => { await Promise.all(gateways.splice(0).map(async (gateway) => { await gateway.close() })) })

async function run (...args: readonly string[]): Promise<Outcome> {
  const config = join(scratch, 'config.toml')
  await writeFile(config, '')
  return new Promise((resolve) => {
    const env = { ...process.env, IPFS_SNAPSHOTTER_CONFIG: config }
    execFile(join(ROOT, 'scripts', 'ipfs-snapshotter'), args, { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

/** A raw CID has the same 32 bytes as the digest. */
function sha256OfBlock (cid: string): string {
  return `sha256:${Buffer.from(CID.parse(cid).multihash.digest).toString('hex')}`
}

async function gatewayOver (car: string, knobs: Partial<Knobs> = {}): Promise<FakeGateway> {
  const gateway = await startFakeGateway(await CarBlocks.load(car), knobs)
  gateways.push(gateway)
  return gateway
}

describe('inspect', () => {
  test('prints one JSON object and nothing else', async () => {
    const { code, stdout, stderr } = await run('inspect', `ipfs://${ESTARGZ_CID}`, '--car', ESTARGZ, '--json', ...AMD64)

    expect([code, stderr]).toEqual([0, ''])
    expect(stdout.split('\n')).toHaveLength(2)
    expect(JSON.parse(stdout)).toEqual({
      reference: `ipfs://${ESTARGZ_CID}@${ESTARGZ_MANIFEST}`,
      references: {
        nerdctl: `ipfs://${ESTARGZ_CID}`, ctr: `ipfs:0/${ESTARGZ_CID}@${ESTARGZ_MANIFEST}`, cri: `ipfs:0/${ESTARGZ_CID}@${ESTARGZ_MANIFEST}`
      },
      cid: ESTARGZ_CID,
      platform: 'linux/amd64',
      manifestDigest: ESTARGZ_MANIFEST,
      indexDigest: sha256OfBlock('bafkreiczeist7xvgapyopz2tm3rcx33vwuuzc32hx2sko32jetxbd7qu4y'),
      configDigest: 'sha256:1edcafdf9c2c9574148c75e83d670f3d7e730af19c5fd2e936e97f350f13ea61',
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      size: 518776 + 1848,
      layers: [
        {
          digest: 'sha256:be6d36c42426aac09cb0773636f9c942e1095e4eaa234020d22525b98380e627',
          diffId: expect.stringMatching(/^sha256:6574e743/),
          chainId: expect.stringMatching(/^sha256:6574e743/),
          cid: 'bafkreif6nu3mijbgvlajzmdxgy3ptskc4eev4tvkenacburfew4yhahge4',
          mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
          size: 518776,
          lazy: true
        },
        expect.objectContaining({ cid: 'bafkreiccczf6zbxgdsdya6z664sjudix45aqr2tlscqcsizs2gqqfxbdbi', size: 1848, lazy: true })
      ]
    })
  })

  test('prints the same for people', async () => {
    const { code, stdout } = await run('inspect', GZIP_CID, '--car', GZIP, ...AMD64)

    expect(code).toBe(0)
    expect(stdout).toMatch(/^reference {2}ipfs:\/\/\w+@sha256:b90eb51f\w+\nplatform {3}linux\/amd64\nmanifest {3}sha256:b90eb51f/)
    expect(stdout).toMatch(/layers {5}2, 505548 bytes\n/)
    expect(stdout.match(/ whole {2}ipfs:\/\//g)).toHaveLength(2)
  })

  test('uses the gateway that the reference names, and fetches no layer', async () => {
    const gateway = await gatewayOver(ESTARGZ)
    const { code, stdout, stderr } = await run('inspect', `${gateway.url}/ipfs/${ESTARGZ_CID}@${ESTARGZ_MANIFEST}`, '--json', ...AMD64)

    expect([code, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toMatchObject({ manifestDigest: ESTARGZ_MANIFEST })
    expect(gateway.requests.filter(({ path }) => path.includes('bafkreif6nu3mijbgvlajzmdxgy3ptskc4eev4tvkenacburfew4yhahge4'))).toEqual([])
    expect(gateway.requests.length).toBeLessThanOrEqual(7)
  })

  test('takes sources in order: --gateway in place of the configured ones', async () => {
    const [empty, full] = [await gatewayOver(GZIP), await gatewayOver(ESTARGZ)]
    const { code, stdout } = await run('inspect', ESTARGZ_CID, '--gateway', empty.url, '--gateway', full.url, '--json', ...AMD64)

    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ cid: ESTARGZ_CID })
    expect(empty.requests.length).toBeGreaterThan(0)
  })
})

describe('verify', () => {
  test.each([
    ['eStargz', ESTARGZ, ESTARGZ_CID, { blocks: 11, files: 7, directories: 3, chunks: 156, bytesHashed: 522749, tarBytesHashed: 5120000 }],
    ['gzip', GZIP, GZIP_CID, { blocks: 8, files: 6, directories: 3, chunks: 0, bytesHashed: 506895, tarBytesHashed: 5068800 }]
  ])('proves an image of %s layers and counts what it hashed', async (_name, car, cid, counts) => {
    const { code, stdout, stderr } = await run('verify', cid, '--car', car, '--json', ...AMD64)

    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ cid, verified: true, ...counts })
    expect(stderr.trim().split('\n').map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(
      ['begin', 'begin', 'begin', 'end', 'begin', 'end', 'begin', 'end']) // image: resolve, prove; its layers; what else there is
  })

  test('prints the counts for people', async () => {
    const { stdout } = await run('verify', ESTARGZ_CID, '--car', ESTARGZ, ...AMD64)
    expect(stdout).toMatch(
      /\nverified {3}11 blocks, 7 files, 2 layers, 156 chunks\nhashed {5}522749 bytes of files and 5120000 bytes of tar\n$/)
  })

  test.each<[string, Partial<Knobs>]>([
    ['knows both formats', {}], ['knows raw blocks only', { formats: 'raw' }], ['knows CARs only', { formats: 'car' }]
  ])('proves it through a gateway that %s', async (_name, knobs) => {
    const gateway = await gatewayOver(ESTARGZ, knobs)
    const { code, stdout } = await run('verify', ESTARGZ_CID, '--gateway', gateway.url, '--json', ...AMD64)

    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ verified: true, chunks: 156, bytesHashed: 522749 })
  })

  test('does not pass a CAR file with one flipped bit in a layer', async () => {
    const bytes = Uint8Array.from(await readFile(GZIP))
    for await (const { blockOffset, blockLength } of await CarIndexer.fromBytes(bytes)) {
      if (blockLength === 504787) bytes[blockOffset + 400_000] = (bytes[blockOffset + 400_000] ?? 0) ^ 4
    }
    const damaged = join(scratch, 'damaged.car')
    await writeFile(damaged, bytes)
    const { code, stdout, stderr } = await run('verify', GZIP_CID, '--car', damaged, ...AMD64)

    expect([code, stdout]).toEqual([1, ''])
    expect(stderr.trim().split('\n').at(-1)).toMatch(
      /^BLOCK_HASH_MISMATCH: layer sha256:0565\w+ of ipfs:\/\/bafybeiauut\w+: .*bafkreiafmvn2kbel\w+.*damaged\.car/)
  })
})

describe('inspect says in one line on stderr', () => {
  const fails = async (pattern: RegExp, ...args: readonly string[]): Promise<void> => {
    const { code, stdout, stderr } = await run('inspect', ...args, ...AMD64)

    expect(stderr).toMatch(pattern)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect([code, stdout]).toEqual([1, ''])
  }

  test('that the CID is not pinned, with the gateways tried', async () => {
    const [one, two] = [await gatewayOver(GZIP), await gatewayOver(GZIP)]
    await fails(new RegExp(`^ROOT_NOT_FOUND: .*${ESTARGZ_CID}.*${one.host}.*404.*${two.host}.*404.*\n$`),
      ESTARGZ_CID, '--gateway', one.url, '--gateway', two.url)
  })

  test('that the gateway sends other bytes', async () => {
    const gateway = await gatewayOver(ESTARGZ, { lie: true })
    await fails(new RegExp(`^BLOCK_HASH_MISMATCH: .*${gateway.host}`), ESTARGZ_CID, '--gateway', gateway.url)
  })

  test('that the root is an archive', async () => {
    await fails(/^NOT_OCI: ipfs:\/\/\w+ is an OCI archive, one file of 530432 bytes; publish it with `ipfs-snapshotter publish FILE`/,
      'bafkreicyglwjcxqtmftxhoic5b5jxjlcncx3zvzvvp7oektvdtm5cbf3d4', '--car', join(CARS, 'file-oci-archive.car'))
  })

  test('that the reference is none', async () => {
    await fails(/^REF_INVALID: "alpine": not a CID: "alpine"; write ipfs:\/\//, 'alpine', '--car', GZIP)
    await fails(/^REF_MUTABLE: "ipns:\/\/docs\.ipfs\.tech" can point elsewhere/, 'ipns://docs.ipfs.tech', '--car', GZIP)
  })

  test('that the digest is another', async () => {
    await fails(new RegExp(`^DIGEST_MISMATCH: ipfs://${GZIP_CID}: want ${ESTARGZ_MANIFEST}, the root names sha256:b90eb51f`),
      `${GZIP_CID}@${ESTARGZ_MANIFEST}`, '--car', GZIP)
  })

  test('that the digest is another, with --json too', async () => {
    await fails(/^DIGEST_MISMATCH: /, `${GZIP_CID}@${ESTARGZ_MANIFEST}`, '--car', GZIP, '--json')
  })

  test('that the gateway which it names may not be asked', async () => {
    const gateway = await gatewayOver(GZIP)
    await fails(/^CONFIG_INVALID: there is no source/, `${gateway.url}/ipfs/${GZIP_CID}`, '--ignore-named-gateway', '--json')
    expect(gateway.requests).toEqual([])
  })

  test('that there is no source', async () => {
    await fails(/^CONFIG_INVALID: there is no source to fetch from; add --gateway URL, --car FILE or a \[\[source\]\] to the config/,
      GZIP_CID)
  })

  test('that the CAR file is not there', async () => {
    await fails(/^\w+: .*nowhere\.car/, GZIP_CID, '--car', join(scratch, 'nowhere.car'))
  })
})

test.each<string[]>([['inspect'], ['verify'], ['inspect', GZIP_CID, '--json', '--nonsense'], ['verify', GZIP_CID, 'another']])(
  '%s %s %s says how it is called, with exit code 2',
  async (...args) => {
    const { code, stdout, stderr } = await run(...args)

    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(new RegExp(`^error: .*\n[^]*Usage: ipfs-snapshotter ${args[0] ?? ''}`))
  })

test('a platform that the image has not is named beside those it has', async () => {
  const { code, stderr } = await run('inspect', GZIP_CID, '--car', GZIP, '--platform', 'linux/s390x')
  expect([code, stderr]).toEqual([1, `PLATFORM_MISSING: ipfs://${GZIP_CID}: no image for linux/s390x; it has linux/amd64\n`])
})
