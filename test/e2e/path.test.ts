// The whole path without a registry: publish, import and pin at a service that has a store of its own, and a node that knows the service's
// gateway and the reference. Then everything that can be wrong with a reference or a gateway, each with its line.
import { afterAll, beforeAll, expect } from '@jest/globals'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { messageOf } from '../../src/base/errors.ts'
import { rpcEndpoint } from '../../src/pinning/endpoint.ts'
import { KuboClient } from '../../src/pinning/kubo-client.ts'
import { pushCar } from '../../src/pinning/push.ts'
import { type Kept, type PinningMock, startPinningMock } from '../fakes/pinning-service.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { Relay } from '../fakes/relay.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { servedFrom } from './altered-image.ts'
import { command, commandJson } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const TOKEN = 'right'
const FAILS_WITHIN_MS = 20_000 // a command that waits longer is killed, and has no exit code
const UNPINNED = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'
const OTHER_DIGEST = `sha256:${'1'.repeat(64)}`
const folder = shelf()
const scenes: Scene[] = []
const memory = new MemoryBlocks()
let image: ProgramImage
let published: Published & { readonly pins: ReadonlyArray<{ readonly status: string }> }
let publisher: Scene
let service: Scene
let mock: PinningMock
let relay: Relay
let node: Scene
let broken: GatedGateway
let config = ''

beforeAll(async () => {
  await preparePrograms()
  mkdirSync(folder, { recursive: true })
  image = programImage(join(folder, 'image'), [randomFiles(4, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
  publisher = await store()
  service = await store()
  mock = await startPinningMock(TOKEN)
  mock.knobs.step = fetchAndPin
  relay = await Relay.over(new URL(gatewayOf(service)).host)
  node = await Scene.start({ sources: [relay.url], timeout: '3s' }) // the good pull needs an answer in that time, also on a busy machine
  scenes.push(node)
  broken = await GatedGateway.start(servedFrom(memory))
  const token = join(folder, 'token')
  writeFileSync(token, TOKEN)
  chmodSync(token, 0o600)
  config = join(folder, 'publisher.toml')
  writeFileSync(config, `[[pinning]]\nname = "alpha"\nendpoint = "${mock.url}"\ntoken_file = "${token}"\n`)
  published = await commandJson('publish', image.layout, '--to', rpcOf(publisher), '--pin', 'alpha', '--config', config)
  await publisher.daemon.end()
}, PREPARE_MS)
afterAll(async () => {
  for (const scene of scenes) await scene.end()
  await relay.close()
  await broken.close()
  await mock.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

/** A daemon with an RPC and a gateway over what it is given. */
async function store (): Promise<Scene> {
  const scene = new Scene()
  scenes.push(scene)
  scene.configure({ ipfsApi: '127.0.0.1:0', gateway: '127.0.0.1:0' })
  await scene.serve()
  return scene
}
const gatewayOf = (scene: Scene): string => /"url":"([^"]+)","msg":"serving the blocks of this node/.exec(scene.log)?.[1] ?? ''
const rpcOf = (scene: Scene): string => /"url":"([^"]+)"[^}]*"msg":"serving the RPC of Kubo/.exec(scene.log)?.[1] ?? ''

/** What a service does with a request: the blocks come from the publisher into its own store, which says whether they are all there. */
async function fetchAndPin (kept: Kept): Promise<void> {
  if (kept.status === 'queued') {
    kept.status = 'pinning'
    return
  }
  const kubo = new KuboClient(rpcEndpoint(rpcOf(service), null))
  try {
    const answer = await fetch(`${gatewayOf(publisher)}/ipfs/${kept.pin.cid}?format=car`)
    if (!answer.ok) throw new Error(`the publisher answers ${answer.status}`)
    const car = join(folder, `${kept.requestid}.car`)
    writeFileSync(car, Buffer.from(await answer.arrayBuffer()))
    await pushCar(kubo, { car, roots: [CID.parse(kept.pin.cid)], report: () => {} })
    kept.status = 'pinned'
  } catch (error) {
    Object.assign(kept, { status: 'failed', info: { status_details: messageOf(error) } })
  } finally {
    await kubo.close()
  }
}

run('an image that is published and pinned runs on a node that knows a gateway and its reference, when the publisher is gone', async () => {
  expect(published.pins.map(({ status }) => status)).toEqual(['pinned', 'pinned'])
  const { name, manifestDigest } = await node.pull(published.reference)
  expect(manifestDigest).toBe(published.manifestDigest)
  const paths = [...image.hashes.keys()]
  expect(hashLines(await node.run(name, '/bin/e2e', 'sha', ...paths))).toEqual(image.expected(paths))
  expect((await node.status()).bytesServedUnverified).toBe(0)
}, PREPARE_MS)

run('a service whose publisher is gone fails, and the reference is not told', async () => {
  const fresh = ['--car', join(folder, 'again.car'), '--chunker', 'size-1048576']
  const { code, stdout, stderr } = await command(['publish', image.layout, ...fresh, '--pin', 'alpha', '--config', config])
  expect([code, stdout, stderr.trim().split('\n').at(-1)])
    .toEqual([1, '', expect.stringMatching(/^PIN_FAILED: pinning service alpha: baf\w+ failed \("fetch failed"\); the same command asks again$/)])
}, PREPARE_MS)

/** The line of a pull that fails in time. */
async function refusal (reference: string, ...more: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await command(['pull', reference, '--config', node.config, ...more], FAILS_WITHIN_MS)
  const plain = stderr.trim().split('\n').filter((line) => !line.startsWith('{'))
  expect({ code, stdout, lines: plain.length }).toEqual({ code: 1, stdout: '', lines: 1 })
  return plain[0] ?? ''
}

run('a digest in the reference that the image does not have', async () => {
  const { cid, manifestDigest } = published
  expect(await refusal(`ipfs://${cid}@${OTHER_DIGEST}`)).toBe(`DIGEST_MISMATCH: ipfs://${cid}: want ${OTHER_DIGEST}, the root names ${manifestDigest}`)
}, PREPARE_MS)

run('a CID that nobody pinned', async () => {
  expect(await refusal(`ipfs://${UNPINNED}`)).toMatch(line('ROOT_NOT_FOUND', relay.url, '404 2 times', 'not pinned or not provided'))
}, 60_000)

run('a gateway that answers a web page', async () => {
  broken.gateway.knobs.status = () => ({ status: 200, headers: { 'content-type': 'text/html' } })
  const pages = `text/html instead of application/vnd.ipld.car 2 times, \\d+ ms; ${new URL(broken.url).host}: text/html instead of application/vnd.ipld.raw`
  expect(await refusal(`ipfs://${UNPINNED}`, '--gateway', broken.url))
    .toMatch(line('ROOT_UNREACHABLE', broken.url, pages, 'the sources are out of reach, or it is not pinned'))
}, 60_000)

run('a CID of something that is no image', async () => {
  broken.gateway.knobs.status = null
  const page = memory.putFile('<!doctype html><title>hello</title>')
  const directory = memory.putDirectory({ 'index.html': page }).toString()
  expect(await refusal(`ipfs://${directory}`, '--gateway', broken.url)).toBe(`NOT_OCI: ipfs://${directory} is a directory with "index.html", ` +
    `not an OCI image layout; if the layout is inside it, use its own CID: ipfs://${page.toString()}`)
}, 60_000)

run('a gateway that falls silent', async () => {
  relay.silence()
  expect(await refusal(`ipfs://${UNPINNED}`))
    .toMatch(line('GATEWAY_TIMEOUT', relay.url, 'no answer for 3000 ms', 'raise the timeout, add a source, or it is not pinned'))
}, 60_000)

function line (code: string, url: string, said: string, hint: string): RegExp {
  return new RegExp(`^${code}: block ${UNPINNED} could not be fetched \\(${new URL(url).host}: ${said}, \\d+ ms\\); ${hint}$`)
}
