// Wrong input at every stage, through the whole product: one plain line that says what is wrong, nothing left behind, and
// the same daemon pulls a good image after it.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CarReader } from '@ipld/car'
import type { CID } from 'multiformats/cid'
import { MANIFEST_BYTES_MAX } from '../../src/base/limits.ts'
import type { Knobs } from '../fakes/gateway.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { blobsOf, entryOf, makeIndex, putImage, putLayout } from '../fakes/test-image.ts'
import { block } from '../suites/dags.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { goodImage, putWithLayer, servedFrom } from './altered-image.ts'
import { COMMAND, command, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { Scene } from './harness.ts'
import { run } from './run.ts'

const ARCHIVE_CAR = join(import.meta.dirname, '..', 'fixtures', 'cars', 'file-oci-archive.car')
const TWO_GIB = 2 ** 31
const memory = new MemoryBlocks()
let gateway: GatedGateway
let scene: Scene
let normal: Knobs
let images = 0

beforeAll(async () => {
  await preparePrograms()
  gateway = await GatedGateway.start(servedFrom(memory))
  normal = { ...gateway.gateway.knobs }
  scene = await Scene.start({ sources: [gateway.url], timeout: '500ms', registry: '127.0.0.1:0', ipfsApi: '127.0.0.1:0' })
}, PREPARE_MS)
afterAll(async () => {
  await scene.end()
  await gateway.close()
}, PREPARE_MS)

/** Another image each time: what one test fetched must not help the next. */
async function freshImage (): Promise<CID> {
  return putImage(memory, await goodImage(`image ${++images}`))
}

/** The last line on stderr of a pull that fails and leaves nothing. */
async function refusal (reference: string, ...more: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await scene.tryPull(reference, ...more)
  const plain = stderr.trim().split('\n').filter((line) => !line.startsWith('{'))
  expect({ code, stdout, lines: plain.length }).toEqual({ code: 1, stdout: '', lines: 1 })
  expect(scene.layerMounts()).toEqual([])
  expect(await scene.snapshots()).toEqual([])
  for (const what of ['images', 'content', 'leases']) expect((await scene.containerd.ctr(what, 'ls', '-q')).trim()).toBe('')
  expect(scene.temporaryFiles()).toEqual([])
  expect(unrecordedLayers()).toEqual([])
  return plain[0] ?? ''
}

/** Layers in the cache that nothing vouches for. */
function unrecordedLayers (): string[] {
  const layers = join(scene.root, 'layers')
  return readdirSync(layers).filter((name) => !readdirSync(join(layers, name)).includes('record'))
}

afterEach(async () => {
  Object.assign(gateway.gateway.knobs, normal, { missing: new Set(), headers: {} })
  const { name } = await scene.pull(`ipfs://${(await freshImage()).toString()}`)
  expect(scene.layerMounts()).toHaveLength(1)
  await scene.removeImage(name)
  await scene.noLayerMounts()
}, 60_000)

const faults: ReadonlyArray<readonly [string, Partial<Knobs>, RegExp]> = [
  ['truncates what it sends', { formats: 'car', cutAt: { bytes: 150, clean: true } }, /^CAR_TRUNCATED: /],
  ['breaks the connection', { formats: 'car', cutAt: { bytes: 150, clean: false } }, /^CAR_TRUNCATED: /],
  ['answers other bytes', { lie: true }, /^BLOCK_HASH_MISMATCH: /],
  ['flips one bit', { corruptAt: 20 }, /^BLOCK_HASH_MISMATCH: /],
  ['never stops sending', { formats: 'raw', endless: true }, /^BLOCK_TOO_LARGE: .*limit 2097152/],
  ['never stops sending CARs', { formats: 'car', endless: true, lie: true }, /^(BLOCK_HASH_MISMATCH|CAR_INVALID): /],
  ['announces 2 GiB', { formats: 'raw', huge: TWO_GIB }, /^BLOCK_TOO_LARGE: .*2147483648/],
  ['announces a CAR of 2 GiB', { formats: 'car', huge: TWO_GIB }, /^CAR_INVALID: .*2147483648/],
  ['redirects in circles', { redirect: ({ path }) => path }, /^ROOT_UNREACHABLE: .*more than 3 redirects/],
  ['redirects to a file', { redirect: () => 'file:///etc/passwd' }, /^ROOT_UNREACHABLE: /],
  ['asks for rest', { status: () => ({ status: 429, headers: { 'retry-after': '60' } }) }, /^GATEWAY_RATE_LIMITED: .*429/],
  ['refuses the content', { status: () => ({ status: 451 }) }, /^GATEWAY_REFUSED: .*451/],
  ['fails', { status: () => ({ status: 502 }) }, /^ROOT_UNREACHABLE: .*502/],
  ['answers every request with a web page', { status: () => ({ status: 200, headers: { 'content-type': 'text/html' } }) },
    /^ROOT_UNREACHABLE: |^GATEWAY_REFUSED: /]
]
run.each(faults)('a gateway that %s', async (_name, knobs, line) => {
  const cid = await freshImage()
  // A gateway of its own, since some faults are remembered: a wish for rest, a format that it did not know.
  const bad = await GatedGateway.start(servedFrom(memory), knobs)
  try {
    expect(await refusal(`ipfs://${cid.toString()}`, '--gateway', bad.url)).toMatch(line)
  } finally {
    await bad.close()
  }
}, 60_000)

run.each([
  ['hangs', { hang: true }, /^GATEWAY_TIMEOUT: block \S+ .*\(127\.0\.0\.1:\d+: no answer for 500 ms/],
  ['goes silent in the middle of a block', { stallAt: 10 }, /^GATEWAY_TIMEOUT: .*no data for 500 ms/]
])('a gateway that %s', async (_name, knobs, line) => {
  const cid = await freshImage()
  Object.assign(gateway.gateway.knobs, knobs)
  expect(await refusal(`ipfs://${cid.toString()}`)).toMatch(line)
}, 60_000)

run('an unpinned CID: every gateway is named with its answer', async () => {
  const { cid } = block('nobody has this')
  expect(await refusal(`ipfs://${cid.toString()}`)).toMatch(new RegExp(`^ROOT_NOT_FOUND: block ${cid.toString()} .*${gateway.gateway.host}: 404.*not pinned`))
}, 60_000)

run('a gateway that is not there', async () => {
  const line = await refusal(`ipfs://${(await freshImage()).toString()}`, '--gateway', 'http://127.0.0.1:9')

  expect(line).toMatch(/^ROOT_UNREACHABLE: .*127\.0\.0\.1:9: ECONNREFUSED/)
}, 60_000)

run('a layer that disappears, after the image was resolved', async () => {
  const image = await goodImage(`image ${++images}`)
  const cid = putImage(memory, image)
  gateway.gateway.knobs.missing.add(memory.putFile(image.layers[0]?.bytes ?? '').toString())
  expect(await refusal(`ipfs://${cid.toString()}`)).toMatch(/^ROOT_NOT_FOUND: /)
}, 60_000)

run('a layer whose bytes are another blob of the same size', async () => {
  const image = await goodImage(`image ${++images}`)
  const bytes = Buffer.from(image.layers[0]?.bytes ?? '')
  bytes[9] = (bytes[9] ?? 0) ^ 0xff // the OS byte of the gzip header: it inflates to the same tar
  expect(await refusal(`ipfs://${putWithLayer(memory, image, bytes).toString()}`)).toMatch(new RegExp(`^DIGEST_MISMATCH: .*${image.layers[0]?.digest ?? ''}`))
}, 60_000)

run('a layer of another size than the manifest says', async () => {
  const image = await goodImage(`image ${++images}`)
  const longer = Buffer.concat([image.layers[0]?.bytes ?? Buffer.alloc(0), Buffer.alloc(7)])
  expect(await refusal(`ipfs://${putWithLayer(memory, image, longer).toString()}`)).toMatch(/^DIGEST_MISMATCH: .*the manifest says/)
}, 60_000)

run('a layer whose tar is not what the config promises', async () => {
  const image = await goodImage(`image ${++images}`, { config: { rootfs: { type: 'layers', diff_ids: [`sha256:${'7'.repeat(64)}`] } } })
  expect(await refusal(`ipfs://${putImage(memory, image).toString()}`)).toMatch(/^DIFFID_MISMATCH: /)
}, 60_000)

run('a manifest over the limit', async () => {
  const image = await goodImage(`image ${++images}`, { manifest: { annotations: { padding: 'x'.repeat(MANIFEST_BYTES_MAX) } } })
  expect(await refusal(`ipfs://${putImage(memory, image).toString()}`)).toMatch(new RegExp(`^LIMIT_EXCEEDED: .*${MANIFEST_BYTES_MAX}`))
}, 60_000)

run('an index without the platform', async () => {
  const image = await goodImage(`image ${++images}`, { architecture: 'riscv64' })
  const cid = putLayout(memory, { blobs: blobsOf(image), index: makeIndex([entryOf(image)]) })
  expect(await refusal(`ipfs://${cid.toString()}`)).toMatch(/^PLATFORM_MISSING: .*riscv64/)
}, 60_000)

async function archiveCid (): Promise<CID> {
  const reader = await CarReader.fromBytes(await readFile(ARCHIVE_CAR))
  for await (const { cid, bytes } of reader.blocks()) memory.blocks.set(Buffer.from(cid.multihash.bytes).toString('hex'), { cid, bytes })
  return (await reader.getRoots())[0] as CID
}

run('a CID that is an OCI archive file', async () => {
  expect(await refusal(`ipfs://${(await archiveCid()).toString()}`)).toMatch(/^NOT_OCI: .* is an OCI archive, one file of \d+ bytes; publish it/)
}, 60_000)

run('a CID that is a web page, or a directory of anything', async () => {
  const page = memory.putFile('<!doctype html><title>hello</title>')
  expect(await refusal(`ipfs://${page.toString()}`)).toMatch(/^NOT_OCI: .*html/i)
  expect(await refusal(`ipfs://${memory.putDirectory({ 'index.html': page }).toString()}`)).toMatch(/^NOT_OCI: .*index\.html/)
}, 60_000)

run('another image than the digest in the reference names', async () => {
  const wanted = `sha256:${'1'.repeat(64)}`
  expect(await refusal(`ipfs://${(await freshImage()).toString()}@${wanted}`)).toMatch(new RegExp(`^(DIGEST_MISMATCH|NOT_OCI|PLATFORM_MISSING): .*${wanted}`))
}, 60_000)

const NO_IMAGES = ['', 'docker.io/library/busybox', 'ipfs://bafkqaaa/etc', 'ipns://example.org', 'ipfs://QmNotACid']
run.each(NO_IMAGES)('a reference that names no image: %j', async (reference) => {
  expect(await refusal(reference)).toMatch(/^(REF_INVALID|REF_MUTABLE|CID_UNSUPPORTED): /)
}, 60_000)

const V0 = 'QmNWUN9Hk8gMEeRUaBuznW1xv1SXGeSKqZSdesSpmiKm9L'
const IPNS_KEY = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'
const WANTED = `sha256:${'1'.repeat(64)}`
interface CannotWork {
  readonly what: string
  readonly typed: string
  readonly facade: string
  readonly shim?: readonly [query: string, status: number]
  readonly line: RegExp
}
const DAG_CBOR = 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
const latest = (name: string): string => `${name}/manifests/latest`
const CANNOT_WORK: readonly CannotWork[] = [
  { what: 'an archive', typed: 'ipfs://ARCHIVE', facade: latest('ipfs/ARCHIVE'), line: /NOT_OCI: .* is an OCI archive, one file of \d+ bytes; publish it/ },
  { what: 'an IPNS name', typed: `ipfs:0/ipns/${IPNS_KEY}`, facade: latest(`ipns/${IPNS_KEY}`), shim: [`/ipns/${IPNS_KEY}`, 410], line: /REF_MUTABLE: / },
  { what: 'an IPNS key as a CID', typed: `ipfs://${IPNS_KEY}`, facade: latest(`ipfs/${IPNS_KEY}`), line: /REF_MUTABLE: .* is an IPNS key/ },
  {
    what: 'another digest',
    typed: `ipfs://GOOD@${WANTED}`,
    facade: `ipfs/GOOD/manifests/${WANTED}`,
    line: new RegExp(`(DIGEST_MISMATCH|NOT_OCI|PLATFORM_MISSING|NOT_FOUND): .*${WANTED}`)
  },
  { what: 'a CIDv0 in a name', typed: `ipfs:0/${V0}`, facade: latest(`ipfs/${V0}`), line: /REF_INVALID: .*needs a lower-case CIDv1; write ipfs:0\/bafy/ },
  {
    what: 'a CIDv0 in lower case',
    typed: `ipfs:0/${V0.toLowerCase()}`,
    facade: latest(`ipfs/${V0.toLowerCase()}`),
    line: /REF_INVALID: .*a CIDv0 loses its meaning in lower case/
  },
  { what: 'a CIDv0 as a tag', typed: `ipfs:0/i:${V0}`, facade: `i/manifests/${V0}`, line: /REF_INVALID: .*a tag names no image; write ipfs:\/\/Qm/ },
  { what: 'a CID of another codec', typed: `ipfs://${DAG_CBOR}`, facade: latest(`ipfs/${DAG_CBOR}`), shim: [DAG_CBOR, 400], line: /CID_UNSUPPORTED: .*0x71/ }
]
run.each(CANNOT_WORK)('$what is called by its name to whoever asks: pull, inspect, the façade, the shim', async ({ typed, facade, shim, line }) => {
  const [archive, good] = [(await archiveCid()).toString(), (await freshImage()).toString()]
  const spelled = (text: string): string => text.replace('ARCHIVE', archive).replace('GOOD', good)
  expect(await refusal(spelled(typed))).toMatch(line)
  const inspected = await command(['inspect', spelled(typed), '--config', scene.config])
  expect([inspected.code, inspected.stdout, inspected.stderr]).toEqual([1, '', expect.stringMatching(line)])

  const urlOf = (what: string): string => new RegExp(`"url":"(http:[^"]+)"[^}]*"msg":"${what}"`).exec(scene.log)?.[1] ?? ''
  const answer = await fetch(`${urlOf('serving images as a registry')}/v2/${spelled(facade)}`)
  expect([answer.ok, await answer.json()]).toEqual([false, { errors: [{ code: expect.any(String), message: expect.stringMatching(line) }] }])
  if (shim !== undefined) {
    const said = await fetch(`${urlOf('serving the RPC of Kubo')}/api/v0/cat?arg=${shim[0]}`, { method: 'POST' })
    expect([said.status, await said.json()]).toEqual([shim[1], expect.objectContaining({ Message: expect.stringMatching(line) })])
  }
}, 60_000)

run('a user who gives up', async () => {
  const cid = await freshImage()
  gateway.hold()
  const pulling = spawn(COMMAND, ['pull', `ipfs://${cid.toString()}`, '--config', scene.config], { stdio: 'ignore' })
  const ended = new Promise((resolve) => pulling.once('close', resolve))
  await until('the pull waits', () => gateway.waiting > 0)
  pulling.kill('SIGINT')
  await ended
  await until('its request is given up', () => gateway.waiting === 0)
  gateway.release()
  expect(await refusal('ipfs://bafkqaaa')).toMatch(/^NOT_OCI: /)
}, 60_000)
