// Unmodified nerdctl on a machine without Kubo: it finds our shim by the file `api`, and runs images by CID, lazily, whatever
// shape their root has and whether or not their documents name CIDs.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { containerdVersions } from '../suites/containerd.ts'
import { GatedGateway } from '../e2e/gated-gateway.ts'
import { execute, type Outcome } from '../e2e/command.ts'
import { PLUGIN, publish, type Published, Scene, shelf, whyNot } from '../e2e/harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { isOnPath, testWith } from './tools.ts'

const withNerdctl = testWith('peers/nerdctl-shim', 'nerdctl', 'container')
const withKubo = testWith('peers/nerdctl-shim', 'nerdctl', 'ipfs', 'container')
const PREPARE_MS = 180_000
const FILES = 8
const NOBODY_HAS = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

interface PublishedTwice extends Published { readonly nerdctlCid: string }

describe('the shim', () => {
  const folder = shelf()
  const published = {} as Record<'estargz' | 'keep', PublishedTwice>
  let image: ProgramImage
  let gateway: GatedGateway
  let scene: Scene
  const isRunnable = whyNot === null && isOnPath('nerdctl')

  beforeAll(async () => {
    if (!isRunnable) return
    mkdirSync(folder, { recursive: true })
    image = programImage(join(folder, 'image'), [randomFiles(FILES, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
    for (const format of ['estargz', 'keep'] as const) {
      published[format] = await publish(image.layout, join(folder, `${format}.car`), format) as PublishedTwice
    }
    gateway = await GatedGateway.over(published.estargz.car, published.keep.car)
  }, PREPARE_MS)
  afterAll(async () => {
    await (gateway as GatedGateway | undefined)?.close()
    rmSync(folder, { recursive: true, force: true })
  })
  afterEach(async () => { await (scene as Scene | undefined)?.end() }, PREPARE_MS)

  const apiFile = (): string => join(scene.state, 'ipfs', 'api')
  async function nerdctl (...args: readonly string[]): Promise<Outcome> {
    return await execute('env', [`IPFS_PATH=${join(scene.state, 'ipfs')}`, 'nerdctl', '--address', scene.containerd.address,
      '--data-root', join(scene.folder, 'nerdctl'), '--cni-netconfpath', join(scene.folder, 'cni'), '--snapshotter', PLUGIN, ...args])
  }
  async function run (cid: string, ...paths: readonly string[]): Promise<Record<string, string>> {
    const { code, stdout, stderr } = await nerdctl('run', '--rm', '--net', 'none', `ipfs://${cid}`, '/bin/e2e', 'sha', ...paths)
    if (code !== 0) throw new Error(`nerdctl: exit ${code}\n${stderr}`)
    return hashLines(stdout)
  }

  for (const binaries of containerdVersions()) {
    describe(`containerd ${binaries.version}`, () => {
      beforeEach(async () => {
        if (!isRunnable) return
        scene = new Scene()
        scene.configure({ sources: [gateway.url], ipfsApi: '127.0.0.1:0' })
        await scene.serve()
        await scene.startContainerd({ binaries })
      }, PREPARE_MS)

      withNerdctl.each([
        ['a layout directory of eStargz layers', 'estargz', 'cid', true], ['the JSON descriptor of it', 'estargz', 'nerdctlCid', true],
        ['a layout directory of untouched layers, without urls', 'keep', 'cid', false]
      ] as const)('runs %s', async (_what, format, root, isLazy) => {
        const cid = published[format][root]
        const leaves = published[format].layers.flatMap((layer) => gateway.leavesOf(layer.cid))
        const before = gateway.deliveries(leaves)
        const [first = '', ...others] = image.hashes.keys()
        expect(await run(cid, first)).toEqual(image.expected([first]))
        if (isLazy) expect(gateway.deliveries(leaves) - before).toBeLessThan(leaves.length / 2)
        const stored = await scene.containerd.ctr('content', 'ls', '-q')
        for (const { digest } of published[format].layers) expect(stored).not.toContain(digest)
        expect(await run(cid, ...others)).toEqual(image.expected(others))
      }, PREPARE_MS)

      withNerdctl('pulls again after the image was removed and collected', async () => {
        const paths = [...image.hashes.keys()].slice(0, 1)
        for (let times = 0; times < 2; times++) {
          expect(await run(published.keep.cid, ...paths)).toEqual(image.expected(paths))
          expect(await nerdctl('rmi', '--force', published.keep.cid)).toMatchObject({ code: 0 })
          await scene.containerd.collectGarbage()
          expect(await scene.snapshots()).toEqual([])
        }
      }, PREPARE_MS)

      withKubo('answers the command of Kubo itself', async () => {
        const ipfs = async (...args: readonly string[]): Promise<Outcome> =>
          await execute('env', [`IPFS_PATH=${join(scene.folder, 'none')}`, 'ipfs', '--api', readFileSync(apiFile(), 'utf8'), ...args])
        const layout = JSON.parse((await ipfs('cat', `${published.keep.cid}/oci-layout`)).stdout) as object
        expect(layout).toEqual({ imageLayoutVersion: '1.0.0' })
        const digest = published.keep.manifestDigest.replace('sha256:', '')
        expect(JSON.parse((await ipfs('cat', published.keep.cid)).stdout)).toMatchObject({ size: expect.any(Number), urls: [expect.stringMatching(/^ipfs:/)] })
        expect((await ipfs('cat', `${published.keep.cid}/blobs/sha256/${digest}`)).stdout).toContain('schemaVersion')
        expect((await ipfs('files', 'stat', '--size', `/ipfs/${published.keep.cid}/oci-layout`)).stdout.trim()).toBe('30')
        expect((await ipfs('block', 'stat', published.estargz.nerdctlCid)).stdout).toContain(published.estargz.nerdctlCid)
        expect((await ipfs('version', '--all')).code).toBe(0)
        expect((await ipfs('id')).stdout).toContain('ipfs-snapshotter')
        expect(await ipfs('pin', 'add', published.keep.cid)).toMatchObject({ code: 1, stderr: expect.stringContaining('nothing is fetched for a pin') })
      }, PREPARE_MS)

      withNerdctl('says a status for a root that nobody has, and the log says why', async () => {
        const { code, stderr } = await nerdctl('run', '--rm', '--net', 'none', `ipfs://${NOBODY_HAS}`)
        expect(code).not.toBe(0)
        expect(stderr).toMatch(/404/)
        expect(scene.log).toMatch(/ROOT_NOT_FOUND: [^"]*bafkreihdwdcefgh4/)
        expect(readFileSync(apiFile(), 'utf8')).toMatch(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+$/)
        await scene.daemon.end()
        expect(existsSync(apiFile())).toBe(false)
      }, PREPARE_MS)
    })
  }
})
