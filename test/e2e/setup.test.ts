// `setup containerd` against the default configuration of every containerd here: containerd starts with what it wrote, its plugins are
// well, and `ctr image pull ipfs:0/CID` works. ctr needs --hosts-dir always: no transfer service up to 2.4 uses its `config_path`.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { parse } from 'smol-toml'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { command } from './command.ts'
import { PLUGIN, publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
const versions = containerdVersions()
let image: ProgramImage
let published: Published
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [{ '/etc/upper': 'from the upper layer\n' }])
  published = await publish(image.layout, join(folder, 'image.car'))
}, PREPARE_MS)
afterEach(async () => { await scene.end() })
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

async function freePort (): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const address = server.address()
  await new Promise((resolve) => { server.close(resolve) })
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** The configuration that this containerd prints, with every place moved below `place`. */
function defaultConfig (binary: string, place: string): string {
  return execFileSync(binary, ['config', 'default'], { encoding: 'utf8' })
    .replaceAll('/run/containerd/containerd.sock', `${place}/containerd.sock`)
    .replaceAll(/(["'])\/var\/lib\/containerd\1/g, `"${place}/root"`)
    .replaceAll(/(["'])\/run\/containerd\1/g, `"${place}/state"`)
    .replaceAll(/(["'])\/opt\/containerd\1/g, `"${place}/opt"`)
    .replaceAll('/var/run/nri/nri.sock', `${place}/nri.sock`)
    .replaceAll('/etc/containerd/conf.d', `${place}/conf.d`)
}

for (const binaries of versions.length > 0 ? versions : [{ version: 'none', directory: '' }]) {
  const isModern = Number(binaries.version.split('.')[0]) >= 2
  run(`a default configuration is set up once, and images come by their CID (containerd ${binaries.version})`, async () => {
    const node = new Scene()
    scene = node
    node.configure({ sources: [await node.gateway(published.car)], registry: `127.0.0.1:${await freePort()}` })
    await node.serve()
    await node.startContainerd({ binaries })
    await node.containerd.halt()
    const place = join(node.folder, 'c')
    const file = join(place, 'config.toml')
    const hosts = join(node.folder, 'certs.d')
    const before = defaultConfig(join(binaries.directory, 'containerd'), place)
    writeFileSync(file, before, { mode: 0o640 })
    const mode = statSync(file).mode
    const setup = ['setup', 'containerd', '--config', node.config, '--containerd-config', file, '--hosts-dir', hosts,
      '--containerd', join(binaries.directory, 'containerd'), '--cri']

    expect((await command(setup)).stdout).toContain('nothing was changed')
    expect([readFileSync(file, 'utf8'), readdirSync(node.folder).includes('certs.d')]).toEqual([before, false])
    expect(await command([...setup, '--write'])).toMatchObject({ code: 0, stdout: expect.stringContaining('restart containerd') })
    const after = readFileSync(file, 'utf8')
    expect([readFileSync(`${file}.bak-1`, 'utf8'), statSync(file).mode]).toEqual([before, mode])
    expect((await command([...setup, '--write'])).stdout.match(/nothing to do/g)).toHaveLength(2)
    expect([readFileSync(file, 'utf8'), readdirSync(place).filter((name) => name.startsWith('config.toml.'))]).toEqual([after, ['config.toml.bak-1']])

    await node.containerd.start()
    const plugins = (await node.containerd.ctr('plugins', 'ls')).split('\n').map((line) => line.split(/\s+/))
    const wanted = [['io.containerd.snapshotter.v1', PLUGIN], ['io.containerd.grpc.v1', 'cri'], ...isModern ? [['io.containerd.transfer.v1', 'local']] : []]
    for (const [type, id] of wanted) expect(plugins.find((row) => row[0] === type && row[1] === id)).toContain('ok')
    const name = `ipfs:0/${published.cid}:latest`
    await node.containerd.ctr('images', 'pull', '--hosts-dir', hosts, '--snapshotter', PLUGIN, name)
    if (isModern) expect(node.layerMounts().length).toBeGreaterThan(0)
    expect(hashLines(await node.run(name, '/bin/e2e', 'sha', '/etc/upper'))).toEqual(image.expected(['/etc/upper']))
  }, PREPARE_MS)

  run(`CRI uses us when the file is short and old, too (containerd ${binaries.version})`, async () => {
    const node = new Scene()
    scene = node
    node.configure({ sources: [] })
    const file = join(node.folder, 'containerd.toml')
    writeFileSync(file, 'version = 2\n')
    const containerd = join(binaries.directory, 'containerd')
    const setup = ['setup', 'containerd', '--config', node.config, '--containerd-config', file, '--hosts-dir', join(node.folder, 'certs.d'),
      '--containerd', containerd, '--cri', '--write']
    expect(await command(setup)).toMatchObject({ code: 0 })
    const { plugins } = parse(execFileSync(containerd, ['--config', file, 'config', 'dump'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
    const keys = isModern ? ['io.containerd.cri.v1.images', 'snapshotter'] : ['io.containerd.grpc.v1.cri', 'containerd', 'snapshotter']
    expect(plugins).toHaveProperty(keys, PLUGIN)
  })

  run(`its content is not hidden from it (containerd ${binaries.version})`, async () => {
    const node = new Scene()
    scene = node
    node.configure({ sources: [await node.gateway(published.car)] })
    const root = join(node.folder, 'root')
    const file = join(node.folder, 'containerd.toml')
    const blobs = join(root, 'io.containerd.content.v1.content', 'blobs', 'sha256')
    execFileSync('mkdir', ['-p', blobs])
    writeFileSync(join(blobs, 'ab'), 'x')
    writeFileSync(file, `version = 2\nroot = "${root}"\n`)
    const setup = ['setup', 'containerd', '--config', node.config, '--containerd-config', file, '--hosts-dir', join(node.folder, 'certs.d'),
      '--containerd', join(binaries.directory, 'containerd'), '--content', '--write']
    const refused = await command(setup)
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^FAILED_PRECONDITION: .*1 blobs.*--force\n$/) })
    expect(readFileSync(file, 'utf8')).toBe(`version = 2\nroot = "${root}"\n`)
    expect(await command([...setup, '--force'])).toMatchObject({ code: 0, stdout: expect.stringContaining('[registry] address') })
    expect(readFileSync(file, 'utf8')).toContain('[proxy_plugins.ipfs-content]')
  })
}
