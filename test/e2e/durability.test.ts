// Power may fail at any moment: root and state are copied, or cut off, while snapshots are made and removed, images pulled and
// removed, files read, chunks evicted and layers proven; a node that starts from what is left must keep every promise that was
// answered, believe nothing half written and leave nothing lying about. DURABILITY_MOMENTS asks for more moments of each kind.
import { afterAll, beforeAll, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { SnapshotInfo } from '../../src/snapshots/snapshot.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { snapshotsClient } from '../suites/snapshots-client.ts'
import { until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { PLUGIN, publish, Scene, shelf } from './harness.ts'
import { LossyDisk } from './lossy-disk.ts'
import { type LoadImage, NodeLoad, type Promised, socketOf } from './node-load.ts'
import { programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'
import { LEDGER_PLUGIN, type SnapshotLedger } from './snapshot-ledger.ts'
import { kill, lives } from './traces.ts'

const MOMENTS = Number(process.env['DURABILITY_MOMENTS'] ?? 2)
const MOMENT_MS = 60_000 // for one of them, at most
const MIB = 1 << 20
const FILES = 6
const REF = 'containerd.io/snapshot.ref'
const folder = shelf()
const program = join(folder, 'a', 'layer-base', 'bin', 'e2e')

let images: LoadImage[]
let gateway: GatedGateway

beforeAll(async () => {
  await preparePrograms()
  const published = await Promise.all(['a', 'b', 'c'].map(async (letter) => {
    const files = Object.fromEntries(Object.entries(randomFiles(FILES, MIB)).map(([path, bytes]) => [`/${letter}/${basename(path)}`, bytes]))
    const { layout, hashes } = programImage(join(folder, letter), [files])
    const { reference, car } = await publish(layout, join(folder, `${letter}.car`), letter === 'c' ? 'keep' : 'estargz')
    return { letter, reference, hashes, car }
  }))
  images = published
  gateway = await GatedGateway.over(...published.map(({ car }) => car))
}, PREPARE_MS)
afterAll(async () => {
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
})

const settings = (): Parameters<Scene['configure']>[0] => ({ sources: [gateway.url], maxSize: '10MiB', proveAfter: '200ms' })

/** Everything that a node that just started does not keep, or keeps and should not. */
async function examine (scene: Scene, load: NodeLoad, promised: Promised): ReturnType<SnapshotLedger['compare']> {
  const { problems, found } = await load.ledger.compare(socketOf(scene), promised.ledger)
  const listed = await names(scene, PLUGIN)
  for (const [image, { layers }] of promised.held) {
    for (const { chainId } of layers) if (!listed.lazy.includes(chainId)) problems.push(`image ${image.letter}: layer ${chainId} is gone`)
    const { right } = await load.readFresh(load.filesOf(scene).filter((path) => path.includes(`/${image.letter}/`)))
    for (const path of image.hashes.keys()) if (!right.includes(path)) problems.push(`${path} is not what it was`)
  }
  const { wrong } = await load.readFresh(load.filesOf(scene))
  problems.push(...wrong.map((path) => `${path} has wrong bytes`))
  const { bytesServedUnverified } = await scene.status()
  if (bytesServedUnverified !== 0) problems.push(`${bytesServedUnverified} unverified bytes`)
  let left: string[] = []
  await until('nothing is left over', async () => {
    left = await orphans(scene)
    return left.length === 0
  }, 10_000).catch(() => { problems.push(...left) })
  return { problems, found }
}

async function names (scene: Scene, plugin: string): Promise<{ readonly count: number, readonly lazy: string[] }> {
  const client = snapshotsClient(socketOf(scene), plugin)
  try {
    const infos: SnapshotInfo[] = []
    for await (const info of client.list([])) infos.push(info)
    return { count: infos.length, lazy: infos.flatMap(({ labels }) => labels['containerd.io/snapshot/ipfs.lazy'] === undefined ? [] : [labels[REF] ?? '']) }
  } finally {
    await client.close()
  }
}

/** Directories, layers, mounts and files that nothing speaks for. */
async function orphans (scene: Scene): Promise<string[]> {
  const left = scene.temporaryFiles()
  for (const plugin of [PLUGIN, LEDGER_PLUGIN]) {
    const directories = readdirSync(join(scene.root, 'snapshots', plugin))
    const { count, lazy } = await names(scene, plugin)
    if (directories.length !== count) left.push(`${plugin}: ${count} snapshots, but directories ${directories.join(' ')}`)
    const mounts = scene.layerMounts().filter((point) => point.includes(`/snapshots/${plugin}/`))
    if (mounts.length !== lazy.length) left.push(`${plugin}: ${lazy.length} lazy layers, but mounts ${mounts.join(' ')}`)
  }
  const layers = join(scene.root, 'layers')
  left.push(...readdirSync(layers).filter((key) => !existsSync(join(layers, key, 'record'))).map((key) => `layer ${key} without a record`))
  return left
}

async function nativePids (scene: Scene): Promise<number[]> {
  return [Number(readFileSync(join(scene.state, 'guardian.pid'), 'utf8')), (await scene.status()).worker.pid]
}

run('a node that starts from a copy made at any moment keeps what was promised, and only that', async () => {
  const scene = await Scene.start(settings())
  const load = new NodeLoad(scene, images, program)
  const problems: string[] = []
  let violations = 0
  try {
    load.start()
    for (let moment = 0; moment < MOMENTS; moment++) {
      await load.busy()
      const twin = new Scene()
      const promised = await copied(scene, twin, load)
      try {
        twin.configure(settings())
        await twin.serve()
        problems.push(...(await examine(twin, load, promised)).problems)
        violations += (await twin.status()).worker.violations
      } finally {
        await twin.end()
      }
    }
    await load.end()
  } finally {
    load.stopSoon()
    await scene.end()
  }
  process.stdout.write(`durability: ${MOMENTS} copies under ${load.ledger.calls} calls, ${load.pulls} pulls, ${load.reads} files read: ` +
    `${problems.length} findings; ${violations} chunks found torn and fetched again\n`)
  expect(problems).toEqual([])
}, PREPARE_MS + MOMENTS * MOMENT_MS)

/** Copies root and state as they are at one moment: files are not copied all at once, so that who writes them pauses. */
async function copied (scene: Scene, twin: Scene, load: NodeLoad): Promise<Promised> {
  const pids = [scene.daemon.pid, ...await nativePids(scene)]
  const bare = join(twin.folder, 'bare')
  mkdirSync(bare)
  execFileSync('mount', ['-n', '--bind', scene.folder, bare]) // without the mounts on it: nobody would answer a stat of them
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  try {
    await until('everybody pauses', () => pids.every(isStopped))
    const promised = load.promises()
    for (const part of ['root', 'state']) execFileSync('cp', ['-a', join(bare, part), twin.folder], { timeout: 20_000 })
    return promised
  } finally {
    execFileSync('umount', ['-n', bare])
    for (const pid of pids) process.kill(pid, 'SIGCONT')
  }
}

function isStopped (pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => /^State:\s+[tT]/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8')))
}

run('a node whose disk lost power at any moment keeps what was promised, and only that', async () => {
  const scene = new Scene('disk')
  mkdirSync(join(scene.folder, 'disk'))
  const disk = new LossyDisk(join(scene.folder, 'disk'), join(folder, 'disk.img'), '192M')
  const load = new NodeLoad(scene, images, program)
  const problems: string[] = []
  let violations = 0
  try {
    scene.configure(settings())
    await scene.serve()
    await scene.startContainerd()
    for (let moment = 0; moment < MOMENTS; moment++) {
      load.start()
      const pids = await nativePids(scene)
      await load.busy()
      const promised = load.promises()
      disk.cut()
      load.stopSoon()
      for (const pid of [scene.daemon.pid, ...pids]) kill(pid)
      await until('serve, guardian and worker are gone', () => ![scene.daemon.pid, ...pids].some(lives))
      await load.end()
      await disk.powerOn()
      await scene.serve()
      const { problems: found, found: there } = await examine(scene, load, promised)
      problems.push(...found.map((problem) => `moment ${moment}: ${problem}`))
      load.ledger.adopt(there)
      violations += (await scene.status()).worker.violations
    }
  } catch (error) {
    problems.push(String(error))
    await disk.powerOn() // otherwise all that is heard of is that the dead disk cannot be cleared up
  } finally {
    load.stopSoon()
    await scene.end()
  }
  process.stdout.write(`durability: ${MOMENTS} power cuts under ${load.ledger.calls} calls, ${load.pulls} pulls, ${load.reads} files read: ` +
    `${problems.length} findings; ${violations} chunks found torn and fetched again\n`)
  expect(problems).toEqual([])
}, PREPARE_MS + MOMENTS * MOMENT_MS)
