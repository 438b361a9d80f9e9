// SIGKILL of the worker under a running container, and of Node: reads that wait go on, reads that hit go on, and nothing
// that was fetched is fetched again.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const FILES = 16
const BYTES = 1 << 20 // as a leaf: each file needs leaves that no other needs
const WAITING_MIN = 8
const KILLS = 4

const folder = shelf()
let image: ProgramImage
let published: Published

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(FILES, BYTES)])
  published = await publish(image.layout, join(folder, 'image.car'))
}, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

describe.each(['erofs', 'erofs-loop', 'fuse'] as const)('with the driver %s', (driver) => {
  let gateway: GatedGateway
  let scene: Scene
  let leaves: string[]

  beforeEach(async () => {
    gateway = await GatedGateway.over(published.car)
    leaves = published.layers.flatMap(({ cid }) => gateway.leavesOf(cid))
    scene = await Scene.start({ sources: [gateway.url], driver, timeout: '60s', deadline: '60s' })
  }, PREPARE_MS)
  afterEach(async () => {
    await gateway.close()
    await scene.end()
  }, PREPARE_MS)

  run('two workers killed while a container waits for reads cost no read, no byte and no second fetch', async () => {
    const { name } = await scene.pull(published.reference)
    const some = [...image.hashes.keys()].slice(0, 3)
    expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...some))).toEqual(image.expected(some))
    const before = gateway.deliveries(leaves)
    expect(before).toBeGreaterThan(0)

    gateway.hold()
    const all = [...image.hashes.keys()]
    const container = scene.start(name, '/bin/e2e', 'sha', ...all)
    let status = await scene.status()
    await until('reads wait', async () => { status = await scene.status(); return status.worker.waitingReads >= WAITING_MIN })
    expect(gateway.waiting).toBeGreaterThan(0)
    const unanswered = status.worker.waitingReads
    process.stderr.write(`${driver}: ${unanswered} unanswered reads when the worker was killed\n`)
    const first = status.worker
    process.kill(first.pid, 'SIGKILL')
    await until('a second worker', async () => { status = await scene.status(); return status.worker.pid !== first.pid })
    process.kill(status.worker.pid, 'SIGKILL') // during recovery
    const second = status.worker.pid
    await until('a third worker has all reads again', async () => {
      status = await scene.status()
      return status.worker.pid !== second && status.worker.waitingReads >= unanswered
    })
    expect(status.worker.restarts).toBe(first.restarts + 2)
    gateway.release()

    expect(await container.ended).toBe(0)
    expect(hashLines(container.lines())).toEqual(image.expected(all))
    expect(gateway.repeated(leaves)).toEqual([])
    expect(gateway.deliveries(leaves)).toBeGreaterThan(before)
    expect(await scene.status()).toMatchObject({ bytesServedUnverified: 0, worker: { violations: 0 } })
  }, 90_000)

  run('workers killed while bytes flow into them cost no read and no second fetch', async () => {
    const { name } = await scene.pull(published.reference)
    const all = [...image.hashes.keys()]
    const { restarts } = (await scene.status()).worker
    gateway.hold()
    const container = scene.start(name, '/bin/e2e', 'sha', ...all)
    await until('requests wait', () => gateway.waiting > 0)
    gateway.release()
    for (let kills = 0; kills < KILLS; kills++) {
      const { worker } = await scene.status()
      process.kill(worker.pid, 'SIGKILL')
      await until('the next worker', async () => (await scene.status()).worker.pid !== worker.pid)
    }
    expect(await container.ended).toBe(0)
    expect(hashLines(container.lines())).toEqual(image.expected(all))
    expect(gateway.repeated(leaves)).toEqual([])
    expect((await scene.status()).worker.restarts).toBe(restarts + KILLS)
  }, 90_000)
})
