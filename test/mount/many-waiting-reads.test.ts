// Reads that wait for a dead network are background requests of the FUSE connection, often one a page, and hold their places: with
// few places they would stop reads of what is cached, and the self-test of the very `serve` that must answer them.
import { expect, test } from '@jest/globals'
import { execFile, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLog } from '../../src/base/log.ts'
import { chooseDriver } from '../../src/mount/self-test.ts'
import { SelfTestFiles } from '../../src/mount/self-test-files.ts'
import { dataPlaneSkipReason, sha256Of } from '../suites/data-plane-fixture.ts'
import { described, DriverScene } from '../suites/driver-scene.ts'
import { layerFrom } from '../suites/layer-from-tree.ts'

const run = dataPlaneSkipReason === null ? test : test.skip
const PATIENCE_MS = 15_000 // below the reads' own deadline
const FILES = 80
const FILE_BYTES = 64 << 10
/** More than the limit that was too small, and fewer than there are. */
const [TOO_FEW, WAITING] = [512, 1000]

interface Waits {
  /** Reads a file whose chunks are cached and whose pages are not; its hash. */
  readonly cached: () => Promise<string>
  /** That background requests of the FUSE connection may take. */
  readonly places: () => number
  /** Resolves when nobody waits any more; each reader's hash is right. */
  readonly release: () => Promise<void>
}

/** Readers of files that nobody supplies until they are released. */
async function waiting (scene: DriverScene, limit: number | null): Promise<Waits> {
  const contents = Array.from({ length: FILES }, () => randomBytes(FILE_BYTES))
  const known = randomBytes(5_000)
  const mount = async (entries: Record<string, Buffer>): Promise<string> => await scene.mount('erofs', described(layerFrom({
    kind: 'directory', entries: Object.fromEntries(Object.entries(entries).map(([name, content]) => [name, { kind: 'file' as const, content }]))
  })))
  const [there, away] = [await mount({ known }), await mount(Object.fromEntries(contents.map((content, at) => [`f${at}`, content])))]
  expect(await hashOf(join(there, 'known'))).toBe(sha256Of(known))
  const connection = join('/sys/fs/fuse/connections', String(minorOf(join(scene.fixture.state, 'data'))))
  if (!existsSync(connection)) execFileSync('mount', ['-t', 'fusectl', 'fusectl', '/sys/fs/fuse/connections']) // systemd does it elsewhere
  const places = (): number => Number(readFileSync(join(connection, 'max_background'), 'utf8'))
  if (limit !== null) writeFileSync(join(connection, 'max_background'), String(limit))
  const gate = Promise.withResolvers<undefined>()
  scene.pace = async () => { await gate.promise }
  const readers = contents.map(async (_, at) => await hashOf(join(away, `f${at}`)))
  const waits = (): number => Number(readFileSync(join(connection, 'waiting'), 'utf8'))
  for (const end = performance.now() + PATIENCE_MS; waits() < (limit ?? WAITING); await sleep(20)) {
    if (performance.now() > end) throw new Error(`${waits()} requests wait instead of ${limit ?? WAITING}`)
  }
  return {
    cached: async () => {
      writeFileSync('/proc/sys/vm/drop_caches', '1')
      return await hashOf(join(there, 'known'))
    },
    places,
    release: async () => {
      scene.pace = async () => {}
      gate.resolve(undefined)
      expect(await Promise.all(readers)).toEqual(contents.map(sha256Of))
    }
  }
}

function minorOf (path: string): number {
  const { dev } = statSync(path)
  return (dev & 0xff) | ((dev >>> 12) & 0xfff00)
}

async function hashOf (path: string): Promise<string> {
  return await new Promise((resolve) => {
    execFile('sha256sum', [path], (error, stdout) => { resolve(error === null ? stdout.slice(0, 64) : error.message) })
  })
}

run('a thousand reads that wait stop neither cached reads nor a self-test', async () => {
  await using scene = await DriverScene.start()
  const waits = await waiting(scene, null)
  expect(await waits.cached()).toMatch(/^[0-9a-f]{64}$/)
  const { state, native, plane } = scene.fixture
  const files = new SelfTestFiles(plane)
  scene.others = async (name, runs) => { await files.answer(name, runs) }
  const chosen = await chooseDriver('erofs', scene.drivers, { state, dataPlane: plane, native, files, log: silentLog })
  expect(chosen.name).toBe('erofs')
  expect(waits.places()).toBeGreaterThan(TOO_FEW)
  await waits.release()
}, 120_000)

run('with fewer places than waiting reads a cached one waits, too: the limit is what lets it pass', async () => {
  await using scene = await DriverScene.start()
  const waits = await waiting(scene, TOO_FEW)
  let ended = false
  const cached = waits.cached().finally(() => { ended = true })
  await sleep(1000)
  expect(ended).toBe(false)
  await waits.release()
  expect(await cached).toMatch(/^[0-9a-f]{64}$/)
}, 120_000)
