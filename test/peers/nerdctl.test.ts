// Unmodified nerdctl as a peer: it runs what our pull made, finds an image under its CID, reads the JSON descriptor that
// publish prints, through Kubo, and pushes what inspect, verify and pull read.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandJson, execute, type Outcome, until } from '../e2e/command.ts'
import { PLUGIN, publish, type Published, Scene, shelf, startGateway, whyNot } from '../e2e/harness.ts'
import type { Service } from '../e2e/command.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { Kubo } from './kubo.ts'
import { isOnPath, testWith } from './tools.ts'

const withNerdctl = testWith('peers/nerdctl', 'nerdctl', 'container')
const withKubo = testWith('peers/nerdctl', 'nerdctl', 'ipfs', 'container')
const FILES = 3
const FILE_BYTES = 1_300_000
const PATHS = Array.from({ length: FILES }, (_, at) => `/data/${at}`)
const READ_ALL = ['/bin/e2e', 'sha', ...PATHS]
const PREPARE_MS = 180_000
const OVERLAY = 'overlayfs'

interface Inspected { readonly manifestDigest: string, readonly layers: ReadonlyArray<{ readonly digest: string, readonly lazy: boolean }> }
interface PublishedTwice extends Published {
  readonly nerdctlCid: string
  readonly layers: ReadonlyArray<Published['layers'][number] & { readonly diffId: string }>
}

describe('nerdctl', () => {
  const folder = shelf()
  const services: Service[] = []
  let image: ProgramImage
  let published: PublishedTwice
  let gateway = ''
  let scene: Scene

  beforeAll(async () => {
    if (whyNot !== null || !isOnPath('nerdctl')) return
    image = programImage(join(folder, 'image'), [randomFiles(FILES, FILE_BYTES)])
    published = await publish(image.layout, join(folder, 'estargz.car')) as PublishedTwice
    gateway = await startGateway(folder, [published.car], (service) => { services.push(service) })
  }, PREPARE_MS)
  afterAll(async () => {
    for (const service of services) await service.end()
    rmSync(folder, { recursive: true, force: true })
  })

  beforeEach(async () => { if (isOnPath('nerdctl') && whyNot === null) scene = await Scene.start({ sources: [gateway] }) }, PREPARE_MS)
  afterEach(async () => { await (scene as Scene | undefined)?.end() }, PREPARE_MS)

  async function tryNerdctl (snapshotter: string, ...args: readonly string[]): Promise<Outcome> {
    return await execute('nerdctl', ['--address', scene.containerd.address, '--data-root', join(scene.folder, 'nerdctl'),
      '--cni-netconfpath', join(scene.folder, 'cni'), '--snapshotter', snapshotter, ...args])
  }
  async function nerdctl (snapshotter: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await tryNerdctl(snapshotter, ...args)
    if (code !== 0) throw new Error(`nerdctl ${args.join(' ')}: exit ${code}\n${stderr}`)
    return stdout
  }
  /** Hashes that a container printed. */
  async function run (snapshotter: string, name: string): Promise<Record<string, string>> {
    return hashLines(await nerdctl(snapshotter, 'run', '--rm', '--net', 'none', name, ...READ_ALL))
  }
  const storedBlobs = async (): Promise<string[]> => (await scene.containerd.ctr('content', 'ls', '-q')).trim().split('\n').filter((line) => line !== '')
  const layerDigests = (): string[] => published.layers.map(({ digest }) => digest)

  withNerdctl('runs, lists, inspects and removes an image that pull made, while its layers are not in the content store', async () => {
    const name = `ipfs:0/${published.cid}:latest`
    await scene.pull(published.reference, '--name', name)
    await scene.containerd.collectGarbage()

    expect(await run(PLUGIN, name)).toEqual(image.expected(PATHS))
    expect(await storedBlobs()).not.toEqual(expect.arrayContaining([layerDigests()[0]]))
    expect(await nerdctl(PLUGIN, 'images', '--no-trunc')).toContain(`ipfs:0/${published.cid}`)
    expect(JSON.parse(await nerdctl(PLUGIN, 'image', 'inspect', name))).toMatchObject([{
      RepoTags: [name], RootFS: { Layers: published.layers.map(({ diffId }) => diffId) }
    }])
    await nerdctl(PLUGIN, 'history', name)

    await nerdctl(PLUGIN, 'rmi', name)
    await scene.containerd.collectGarbage()
    expect([await storedBlobs(), await scene.snapshots()]).toEqual([[], []])
    await scene.noLayerMounts()
  })

  withNerdctl('runs the default name, starts in the background, executes and commits', async () => {
    const { name } = await scene.pull(published.reference)
    expect(await run(PLUGIN, name)).toEqual(image.expected(PATHS))

    const id = (await nerdctl(PLUGIN, 'run', '--detach', '--interactive', '--tty', '--net', 'none', name, '/bin/e2e', 'hold', ...PATHS)).trim()
    expect(hashLines(await nerdctl(PLUGIN, 'exec', id, ...READ_ALL))).toEqual(image.expected(PATHS))
    await nerdctl(PLUGIN, 'commit', id, 'committed')
    await nerdctl(PLUGIN, 'rm', '--force', id)
    expect(await run(PLUGIN, 'committed')).toEqual(image.expected(PATHS))
  })

  withNerdctl('finds ipfs://CID locally once pull named the image by its CID', async () => {
    await scene.pull(published.reference, '--name', published.cid)
    expect(await run(PLUGIN, `ipfs://${published.cid}`)).toEqual(image.expected(PATHS))
    expect(await storedBlobs()).toHaveLength(3)
    await nerdctl(PLUGIN, 'rmi', published.cid)
  })

  describe('with Kubo', () => {
    let kubo: Kubo
    let url = ''

    beforeAll(async () => {
      if (whyNot !== null || !isOnPath('nerdctl') || !isOnPath('ipfs')) return
      kubo = await Kubo.create(join(folder, 'kubo'))
      url = await kubo.start('--offline')
      await kubo.import(published.car)
    }, PREPARE_MS)
    afterAll(async () => { await (kubo as Kubo | undefined)?.end() })

    const pull = async (snapshotter: string): Promise<string> =>
      await nerdctl(snapshotter, 'pull', '--quiet', '--ipfs-address', kubo.api, `ipfs://${published.nerdctlCid}`)

    withKubo('pulls our second root whole, without us, and runs it on overlayfs', async () => {
      await pull(OVERLAY)
      expect(await storedBlobs()).toEqual(expect.arrayContaining([published.manifestDigest, ...layerDigests()]))
      expect(await run(OVERLAY, `ipfs://${published.nerdctlCid}`)).toEqual(image.expected(PATHS))
    })

    withKubo('pulls our second root of several platforms, an index, for its own', async () => {
      const layout = join(scene.folder, 'many')
      const here = process.arch === 'arm64' ? 'arm64' : 'amd64'
      const entries = [here, 'riscv64'].flatMap((architecture) => {
        const { layout: one } = programImage(join(scene.folder, architecture), [{ '/etc/of': architecture }], { architecture })
        cpSync(one, layout, { recursive: true })
        return (JSON.parse(readFileSync(join(one, 'index.json'), 'utf8')) as { manifests: object[] }).manifests
      })
      writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: entries }))
      const many = await publish(layout, join(scene.folder, 'many.car'), 'estargz', '--all-platforms') as PublishedTwice
      await kubo.import(many.car)

      const said = await nerdctl(OVERLAY, 'run', '--rm', '--net', 'none', '--ipfs-address', kubo.api, `ipfs://${many.nerdctlCid}`, '/bin/e2e', 'sha', '/etc/of')
      expect(hashLines(said)).toEqual({ '/etc/of': digestOf(Buffer.from(here)).slice('sha256:'.length) })
    })

    withKubo('pulls it lazily through our snapshotter when we know the image', async () => {
      const { name } = await scene.pull(published.reference)
      await scene.removeImage(name)
      await pull(PLUGIN)
      expect(await storedBlobs()).toHaveLength(2)
      expect(await run(PLUGIN, `ipfs://${published.nerdctlCid}`)).toEqual(image.expected(PATHS))
      expect((await scene.status()).layers.map(({ digest }) => digest).sort()).toEqual(layerDigests().sort())
    })

    withKubo('pulls it into ordinary snapshots of ours when we do not', async () => {
      await pull(PLUGIN)
      expect(await run(PLUGIN, `ipfs://${published.nerdctlCid}`)).toEqual(image.expected(PATHS))
      expect([(await scene.status()).layers, scene.layerMounts()]).toEqual([[], []])
    })

    withKubo.each([
      ['an image of ours as it is', 'ours', [], true], ['an image of ours, asked for eStargz', 'ours', ['--estargz'], true],
      ['a plain image as it is', 'plain', [], false], ['a plain image, converted to its own eStargz', 'plain', ['--estargz'], true]
    ] as const)('pushes %s, and inspect, verify and pull read that', async (_what, source, flags, lazy) => {
      if (source === 'plain') {
        const archive = join(scene.folder, 'plain.tar')
        await execute('tar', ['-C', image.layout, '-cf', archive, '.'])
        await scene.containerd.ctr('images', 'import', '--snapshotter', OVERLAY, '--index-name', 'docker.io/library/pushed:latest', archive)
      } else {
        await pull(OVERLAY)
        // `nerdctl tag` needs the transfer service, which containerd 1.6 lacks.
        await scene.containerd.ctr('images', 'tag', published.nerdctlCid, 'docker.io/library/pushed:latest')
      }
      const printed = await nerdctl(OVERLAY, 'push', '--ipfs-address', kubo.api, ...flags, 'ipfs://pushed')

      const reference = `ipfs://${printed.trim().split('\n').at(-1) ?? ''}`
      const inspected = await commandJson<Inspected>('inspect', reference, '--gateway', url)
      expect(inspected.layers.map((layer) => layer.lazy)).toEqual(published.layers.map(() => lazy))
      expect(await commandJson<Inspected>('verify', reference, '--gateway', url)).toMatchObject({ manifestDigest: inspected.manifestDigest })
      const { name } = await scene.pull(reference, '--gateway', url)
      expect(hashLines(await scene.run(name, ...READ_ALL))).toEqual(image.expected(PATHS))
    })
  })

  withNerdctl('and what is removed while a container uses it goes when that ends', async () => {
    const { name } = await scene.pull(published.reference)
    const id = (await nerdctl(PLUGIN, 'run', '--detach', '--interactive', '--tty', '--net', 'none', name, '/bin/e2e', 'hold', ...PATHS)).trim()
    await scene.removeImage(name)
    await scene.containerd.collectGarbage()
    expect(hashLines(await nerdctl(PLUGIN, 'exec', id, ...READ_ALL))).toEqual(image.expected(PATHS))
    await nerdctl(PLUGIN, 'rm', '--force', id)
    await scene.containerd.collectGarbage()
    await until('nothing is left', async () => (await scene.snapshots()).length === 0)
    await scene.noLayerMounts()
  })
})
