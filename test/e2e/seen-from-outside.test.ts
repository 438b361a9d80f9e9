// What an operator sees of a node at work: metrics, health, what waits and on what, one id from a call to the requests sent
// for it; and a `serve` that is refused its places says so in one line and changes nothing.
import { afterAll, beforeAll, expect } from '@jest/globals'
import { spawn } from 'node:child_process'
import { appendFileSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { COMMAND, command, commandJson, execute, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, type Pulled, Scene, shelf } from './harness.ts'
import { type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene
let pulled: Pulled
let url: string

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

async function fetchText (path: string): Promise<{ readonly status: number, readonly text: string }> {
  const response = await fetch(`${url}${path}`)
  return { status: response.status, text: await response.text() }
}

async function metric (line: string): Promise<number> {
  const { text } = await fetchText('/metrics')
  return Number(text.split('\n').find((one) => one.startsWith(`ipfs_snapshotter_${line} `))?.split(' ')[1])
}

interface Line { readonly call?: string, readonly msg: string, readonly method?: string, readonly source?: string, readonly path?: string }

function lines (): Line[] {
  return scene.log.split('\n').filter((text) => text.startsWith('{')).map((text) => JSON.parse(text) as Line)
}

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(2, 1 << 20)])
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
  scene = new Scene()
  scene.configure({ sources: [gateway.url], deadline: '60s' })
  url = `http://127.0.0.1:${await freePort()}`
  appendFileSync(scene.config, `[http]\naddress = "${new URL(url).host}"\n`)
  await scene.serve()
  await scene.startContainerd()
  pulled = await scene.pull(published.reference)
}, PREPARE_MS)
afterAll(async () => {
  await scene.end()
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

run('the id of a pull stands in the lines of its layers and of the gateway requests for it, and a Prepare has its own', () => {
  const ids = [...new Set(lines().flatMap(({ call }) => call?.startsWith('pull-') === true ? [call] : []))]
  expect(ids).toHaveLength(1)
  const said = lines().filter(({ call }) => call === ids[0])
  expect(said.map(({ msg }) => msg)).toContain('layer opened')
  expect(said.filter(({ msg }) => msg === 'gateway request')).toContainEqual(expect.objectContaining({
    source: new URL(gateway.url).host, path: expect.stringContaining('/ipfs/'), status: 200, ms: expect.any(Number), bytes: expect.any(Number)
  }))
  const prepare = lines().find(({ msg, method }) => msg === 'call' && method === 'Prepare')
  expect(prepare?.call).toMatch(/^prepare-[0-9a-f]{8}$/)
})

run('says of a read that waits which file it wants and since when, and counts it', async () => {
  await scene.withMounted(pulled.layers.at(-1)?.chainId ?? '', async (directory) => {
    const [path = ''] = [...image.hashes.keys()].filter((name) => !name.startsWith('/bin'))
    gateway.hold()
    const reading = execute('sha256sum', [`${directory}${path}`])
    await until('the read waits', async () => (await scene.status()).worker.waitingReads > 0)
    const { debug } = await commandJson<{ debug: { waiting: object[], calls: object[], sources: Array<{ name: string, active: object[] }> } }>(
      'status', '--debug', '--config', scene.config)
    const layer = expect.stringMatching(/^sha256:/)
    expect(debug.waiting).toContainEqual(expect.objectContaining({ kind: 'read', paths: [path], layer, ms: expect.any(Number) }))
    expect(debug.calls).toContainEqual(expect.objectContaining({ id: expect.stringMatching(/^read-/) }))
    expect(debug.sources.map(({ name }) => name)).toEqual([new URL(gateway.url).host])
    expect(debug.sources[0]?.active).toContainEqual(expect.objectContaining({ what: expect.stringContaining('block'), purpose: 'foreground' }))
    const text = (await command(['status', '--debug', '--config', scene.config])).stdout
    expect(text).toMatch(new RegExp(`^waiting read of "${path}" in sha256:[0-9a-f]{64}, \\d+\\.\\d s$`, 'm'))
    expect(await metric('reads_waiting')).toBeGreaterThan(0)
    gateway.release()
    expect((await reading).code).toBe(0)
    expect(await metric('read_duration_seconds_count{kind="fetched"}')).toBeGreaterThan(0)
  })
}, 60_000)

run('metrics name what was fetched from whom, and what was never served unverified', async () => {
  const source = `source="${new URL(gateway.url).host}"`
  expect(await fetchText('/readyz')).toEqual({ status: 200, text: 'ok\n' })
  expect(await fetchText('/healthz')).toEqual({ status: 200, text: 'ok\n' })
  expect(await metric(`source_bytes_total{${source},purpose="foreground"}`)).toBeGreaterThan(1 << 20)
  expect(await metric('bytes_served_unverified_total')).toBe(0)
  expect(await metric('bytes_served_total')).toBeGreaterThan(1 << 20)
  expect(await metric('cache_bytes')).toBeGreaterThan(0)
  expect((await fetchText('/metrics')).text).toMatch(/grpc_call_duration_seconds_count\{method="Prepare",code="OK"\} [1-9]/)
})

/** A `serve` with folders of its own, which must not be made. */
async function refused (more: string): Promise<string> {
  const place = join(folder, 'other')
  const config = join(folder, 'other.toml')
  writeFileSync(config, `root = "${place}/root"\nstate = "${place}/state"\n${more}`)
  const before = readdirSync(folder, { recursive: true })
  const { code, stderr } = await command(['serve', '--config', config])
  expect({ code, lines: stderr.trim().split('\n').filter((line) => !line.startsWith('{')).length }).toEqual({ code: 1, lines: 1 })
  expect(readdirSync(folder, { recursive: true })).toEqual(before)
  return stderr.trim().split('\n').at(-1) ?? ''
}

run('refuses a socket and a port that another program has, and shared folders, before it changes anything', async () => {
  const socket = join(scene.state, 'snapshotter.sock')
  expect(await refused(`[grpc]\naddress = "${socket}"\n`)).toBe(`ENVIRONMENT: ${socket} is served by another process; stop it or choose another [grpc] address`)
  const { host } = new URL(url)
  expect(await refused(`[http]\naddress = "${host}"\n`)).toBe(`ENVIRONMENT: cannot listen on ${host} ([http] address): it is served by another process`)
  const before = readdirSync(folder)
  writeFileSync(join(folder, 'shared.toml'), `root = "${scene.root}"\nstate = "${folder}/new-state"\n`)
  const { code, stderr } = await command(['serve', '--config', join(folder, 'shared.toml')])
  expect(code).toBe(1)
  expect(stderr).toMatch(/^FAILED_PRECONDITION: .*\/root is in use by another daemon \(pid \d+\); stop it or choose other folders\n$/)
  expect(readdirSync(folder)).toEqual([...before, 'shared.toml'].sort())
}, 60_000)

run('SIGTERM while it starts ends it, and the next one starts', async () => {
  await scene.daemon.end('SIGTERM')
  const child = spawn(COMMAND, ['serve', '--config', scene.config], { stdio: 'ignore' })
  await until('it has its folders', () => existsSync(join(scene.state, 'control.sock')) || child.exitCode !== null)
  child.kill('SIGTERM')
  const [code, signal] = await once(child, 'close') as [number | null, string | null]
  expect([0, 'SIGTERM']).toContain(code ?? signal)
  await scene.serve()
  expect(await scene.pull(published.reference)).toMatchObject({ manifestDigest: published.manifestDigest })
}, 60_000)
