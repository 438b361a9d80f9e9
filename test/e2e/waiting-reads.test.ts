// A read that waits for the network belongs to whoever serves next: neither an orderly end of `serve` nor one that fails
// to start may end it with an error.
import { afterAll, afterEach, beforeAll, beforeEach, expect } from '@jest/globals'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { command, execute, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, type Pulled, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene
let pulled: Pulled

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(2, 1 << 20)])
  published = await publish(image.layout, join(folder, 'image.car'))
}, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

beforeEach(async () => {
  gateway = await GatedGateway.over(published.car)
  scene = await Scene.start({ sources: [gateway.url], deadline: '60s' })
  pulled = await scene.pull(published.reference)
}, PREPARE_MS)
afterEach(async () => {
  await gateway.close()
  await scene.end()
}, PREPARE_MS)

/** Reads files that are not there yet, does `meanwhile`, and serves again; the reads must have waited and end well. */
async function expectPatience (meanwhile: () => Promise<void>): Promise<void> {
  await scene.withMounted(pulled.layers.at(-1)?.chainId ?? '', async (directory) => {
    const paths = [...image.hashes.keys()].filter((path) => !path.startsWith('/bin'))
    await execute(join(directory, 'bin/e2e'), ['sha']) // the program itself is there
    gateway.hold()
    let ended = false
    const waiting = execute(join(directory, 'bin/e2e'), ['sha', ...paths.map((path) => `${directory}${path}`)]).finally(() => { ended = true })
    await until('reads wait', async () => (await scene.status()).worker.waitingReads > 0)
    await meanwhile()
    await sleep(500)
    expect(ended).toBe(false)

    gateway.release()
    await scene.serve()
    const { stdout, stderr } = await waiting
    expect(hashLines((stdout + stderr).replaceAll(directory, ''))).toEqual(image.expected(paths))
  })
}

run('reads go on waiting when serve ends by SIGTERM, again and again', async () => {
  await expectPatience(async () => {
    for (const last of [false, false, true]) { // the kernel tries once more when its readahead failed
      await until('serve asks for what they want', () => gateway.waiting > 0)
      await scene.daemon.end('SIGTERM')
      if (!last) await scene.serve()
    }
  })
}, 60_000)

run('reads go on waiting when the next serve cannot start', async () => {
  const database = join(scene.root, 'ipfs.sqlite')
  await expectPatience(async () => {
    await scene.daemon.end('SIGKILL')
    for (const part of ['', '-wal']) renameSync(`${database}${part}`, `${database}.aside${part}`)
    writeFileSync(database, 'this is no database, and long enough to be looked at'.repeat(100))
    for (let tries = 0; tries < 3; tries++) {
      expect((await command(['serve', '--config', scene.config], 20_000)).stderr).toMatch(/^STATE_INVALID: /m)
    }
    for (const part of ['', '-wal']) renameSync(`${database}.aside${part}`, `${database}${part}`)
  })
}, 60_000)
