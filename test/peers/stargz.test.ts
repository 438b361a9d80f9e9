// What we publish, without us: Kubo imports the CAR, stock nerdctl pulls the JSON descriptor's CID, and stargz-snapshotter,
// built from its own module, runs it lazily from Kubo's RPC.
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { mountsBelow } from '../suites/bind-layers.ts'
import { containerdVersions, PrivateContainerd } from '../suites/containerd.ts'
import { wipe } from '../suites/mounts.ts'
import { execute, until } from '../e2e/command.ts'
import { publish, type Published, shelf, whyNot } from '../e2e/harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { Kubo } from './kubo.ts'
import { isOnPath, testWith } from './tools.ts'

const withStargz = testWith('peers/stargz', 'nerdctl', 'ipfs', 'go', 'container')
const SOURCES = resolve(import.meta.dirname, '../../bench/stargz')
const PREPARE_MS = 600_000
const FILES = 3
const PATHS = Array.from({ length: FILES }, (_, at) => `/data/${at}`)
const isRunnable = whyNot === null && ['nerdctl', 'ipfs', 'go'].every(isOnPath)

describe('stargz-snapshotter with Kubo', () => {
  const folder = shelf()
  let image: ProgramImage
  let published: Published & { readonly nerdctlCid: string }
  let kubo: Kubo
  let peer: ChildProcess | null = null
  let containerd: PrivateContainerd | null = null

  beforeAll(async () => {
    if (!isRunnable) return
    mkdirSync(folder)
    const built = await execute('go', ['build', '-C', SOURCES, '-o', join(folder, 'stargz-peer'), '.'], PREPARE_MS)
    if (built.code !== 0) throw new Error(`bench/stargz: ${built.stderr}`)
    image = programImage(join(folder, 'image'), [randomFiles(FILES, 1_300_000)])
    published = await publish(image.layout, join(folder, 'image.car')) as typeof published
    kubo = await Kubo.create(join(folder, 'kubo'))
    await kubo.start('--offline')
    await kubo.import(published.car)
  }, PREPARE_MS)
  afterEach(async () => {
    await containerd?.stop()
    if (peer !== null && peer.exitCode === null) {
      peer.kill('SIGTERM')
      await once(peer, 'exit')
    }
  })
  afterAll(async () => {
    await (kubo as Kubo | undefined)?.end()
    wipe(folder)
    rmSync(folder, { recursive: true, force: true })
  })

  withStargz('runs our second root lazily, and reads what was published', async () => {
    const socket = join(folder, 'stargz.sock')
    peer = spawn(join(folder, 'stargz-peer'), ['serve', socket, join(folder, 'stargz'), '--ipfs'], {
      stdio: 'ignore', env: { ...process.env, IPFS_PATH: kubo.path }
    })
    await until('stargz-snapshotter serves', () => existsSync(socket) || peer?.exitCode !== null)
    const binaries = containerdVersions().at(-1)
    if (binaries === undefined) throw new Error('no containerd')
    containerd = await PrivateContainerd.start({ folder: join(folder, 'c'), binaries, snapshotters: { stargz: socket } })
    const nerdctl = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await execute('env', [`IPFS_PATH=${kubo.path}`, 'nerdctl', '--address', containerd?.address ?? '',
        '--data-root', join(folder, 'nerdctl'), '--cni-netconfpath', join(folder, 'cni'), '--snapshotter', 'stargz', ...args])
      if (code !== 0) throw new Error(`nerdctl ${args.join(' ')}: exit ${code}\n${stderr}`)
      return stdout
    }
    await nerdctl('pull', '--quiet', `ipfs://${published.nerdctlCid}`)
    expect(mountsBelow(join(folder, 'stargz'))).toHaveLength(published.layers.length)
    const stored = await containerd.ctr('content', 'ls', '-q')
    for (const { digest } of published.layers) expect(stored).not.toContain(digest)
    const printed = await nerdctl('run', '--rm', '--net', 'none', `ipfs://${published.nerdctlCid}`, '/bin/e2e', 'sha', ...PATHS)
    expect(hashLines(printed)).toEqual(image.expected(PATHS))
  }, PREPARE_MS)
})
