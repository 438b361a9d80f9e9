// `nerdctl push ipfs://image` on a machine without Kubo: a second machine that knows only the first one's gateway runs the CID
// that it prints. And Kubo's own command stores by our RPC what it would store in a Kubo, under the same CIDs.
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Outcome, execute } from '../e2e/command.ts'
import { PLUGIN, publish, type Published, Scene, shelf, whyNot } from '../e2e/harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { Kubo } from './kubo.ts'
import { isOnPath, testWith } from './tools.ts'

const withNerdctl = testWith('peers/nerdctl-push', 'nerdctl', 'container')
const withKubo = testWith('peers/nerdctl-push', 'ipfs', 'container')
const PREPARE_MS = 180_000
/** A new Kubo has it. */
const EMPTY_FOLDER = 'QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn'
const NAME = 'example.com/pushed:latest'

describe('what is pushed', () => {
  const folder = shelf()
  const scenes: Scene[] = []
  let image: ProgramImage
  let archive = ''

  beforeAll(() => {
    if (whyNot !== null || !(isOnPath('nerdctl') || isOnPath('ipfs'))) return
    mkdirSync(folder, { recursive: true })
    image = programImage(join(folder, 'image'), [randomFiles(4, 1 << 20), { '/etc/upper': 'from the upper layer\n' }])
    archive = join(folder, 'image.tar')
    execFileSync('tar', ['-C', image.layout, '-cf', archive, '.'])
  }, PREPARE_MS)
  afterAll(() => { rmSync(folder, { recursive: true, force: true }) })
  afterEach(async () => { for (const scene of scenes.splice(0)) await scene.end() }, PREPARE_MS)

  async function started (sources: readonly string[] = []): Promise<Scene> {
    const scene = new Scene()
    scenes.push(scene)
    scene.configure({ sources, ipfsApi: '127.0.0.1:0', gateway: '127.0.0.1:0' })
    await scene.serve()
    return scene
  }
  const gatewayOf = (scene: Scene): string => /"url":"([^"]+)","msg":"serving the blocks of this node/.exec(scene.log)?.[1] ?? ''
  async function nerdctl (scene: Scene, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await execute('env', [`IPFS_PATH=${join(scene.state, 'ipfs')}`, 'nerdctl', '--address', scene.containerd.address,
      '--data-root', join(scene.folder, 'nerdctl'), '--cni-netconfpath', join(scene.folder, 'cni'), '--snapshotter', PLUGIN, ...args])
    if (code !== 0) throw new Error(`nerdctl ${args.join(' ')}: exit ${code}\n${stderr}`)
    return stdout
  }

  const pushes = containerdVersions().flatMap((binaries) => ['', '--estargz'].map((flag) => [binaries.version, flag, binaries] as const))
  const what = 'runs by the printed CID here and on a machine that knows only our gateway (containerd %s, push %s)'
  withNerdctl.each(pushes)(what, async (_version, flag, binaries) => {
    const first = await started()
    await first.startContainerd({ binaries })
    await first.containerd.ctr('image', 'import', '--no-unpack', '--index-name', NAME, archive)
    const cid = (await nerdctl(first, 'push', ...flag === '' ? [] : [flag], `ipfs://${NAME}`)).trim()
    expect(cid).toMatch(/^bafkrei[a-z2-7]{52}$/)

    const paths = [...image.hashes.keys()]
    const second = await started([gatewayOf(first)])
    await second.startContainerd({ binaries })
    for (const scene of [second, first]) {
      expect(hashLines(await nerdctl(scene, 'run', '--rm', '--net', 'none', `ipfs://${cid}`, '/bin/e2e', 'sha', ...paths))).toEqual(image.expected(paths))
    }
    const { name } = await second.pull(`ipfs://${cid}`)
    expect(hashLines(await second.run(name, '/bin/e2e', 'sha', ...paths))).toEqual(image.expected(paths))
  }, PREPARE_MS)

  withKubo('has the CIDs that a Kubo gives it', async () => {
    const kubo = await Kubo.create(join(folder, 'kubo'))
    await kubo.ipfs('config', '--json', 'Import', '{}') // Kubo's own defaults, which clients like nerdctl leave as they are
    await kubo.ipfs('pin', 'rm', EMPTY_FOLDER)
    const published: Published = await publish(image.layout, join(folder, 'image.car'))
    const scene = await started()
    const api = readFileSync(join(scene.state, 'ipfs', 'api'), 'utf8')
    const there = async (...args: readonly string[]): Promise<Outcome> =>
      await execute('env', [`IPFS_PATH=${join(scene.folder, 'none')}`, 'ipfs', '--api', api, ...args])
    const said = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await there(...args)
      if (code !== 0) throw new Error(`ipfs ${args.join(' ')}: exit ${code}\n${stderr}`)
      return stdout.trim()
    }
    const big = join(folder, 'big')
    writeFileSync(big, Buffer.alloc(50_000_001, 'not all alike: ').map((byte, at) => byte ^ (at >> 18)))
    const layout = ['-Q', '-r', '--cid-version=1', image.layout]
    for (const args of [[big], ['--cid-version=1', big], ['-w', '--cid-version=1', '--chunker=size-1000000', big], ['-r', image.layout], layout]) {
      expect(await said('add', ...args)).toBe(await kubo.ipfs('add', ...args))
    }
    expect(await there('add', '--chunker=rabin', big)).toMatchObject({ code: 1, stderr: expect.stringContaining('UNSUPPORTED') })
    expect(await said('dag', 'import', '--stats', published.car)).toBe(await kubo.ipfs('dag', 'import', '--stats', published.car))
    const pins = async (run: (...args: readonly string[]) => Promise<string>, ...args: readonly string[]): Promise<string[]> =>
      (await run('pin', 'ls', ...args)).trim().split('\n').sort()
    const inKubo = async (...args: readonly string[]): Promise<string> => await kubo.ipfs(...args)
    expect(await pins(said, '--type=recursive')).toEqual(await pins(inKubo, '--type=recursive'))
    expect(await pins(said)).toEqual(await pins(inKubo))
    expect(await said('cat', `/ipfs/${published.cid}/oci-layout`)).toContain('imageLayoutVersion')

    await said('pin', 'rm', published.cid)
    expect(await pins(said, '--type=recursive')).not.toContain(`${published.cid} recursive`)
    const block = await said('block', 'put', join(image.layout, 'oci-layout'))
    expect(block).toBe(await kubo.ipfs('block', 'put', join(image.layout, 'oci-layout')))
    expect(await said('pin', 'add', block)).toContain('pinned')
  }, PREPARE_MS)
})
