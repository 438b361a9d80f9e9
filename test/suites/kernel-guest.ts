// Runs inside a guest with a kernel of its own (scripts/kernel-guest): which driver the self-test chooses there, whether what
// it mounts equals the truth, alone and stacked, and what killed workers cost. Prints one line of JSON for the test outside.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { resolveImplied } from '../../src/layer/implied.ts'
import type { DriverName } from '../../src/mount/driver.ts'
import { chooseDriver } from '../../src/mount/self-test.ts'
import { SelfTestFiles } from '../../src/mount/self-test-files.ts'
import { DataPlaneFixture } from './data-plane-fixture.ts'
import { DriverScene, inMemory } from './driver-scene.ts'
import { openFixture } from './fixture-layers.ts'
import { compareTrees, readTruth, type Tree } from './tree-compare.ts'
import { dumpTree } from './tree-dump.ts'

export interface GuestReport {
  readonly kernel: string
  readonly chosen: string
  /** Why other drivers were not. */
  readonly rejected: readonly string[]
  readonly differences: Readonly<Record<string, readonly string[]>>
  readonly entries: number
  readonly kills: number
  /** Unanswered when the worker was killed, summed over the kills. */
  readonly readsInFlight: number
  readonly readsFailed: number
  readonly filesRead: number
  readonly filesWrong: number
  /** Chunks that differ from each other: of equal ones the first is asked for, and others while it is under way. */
  readonly contents: number
  readonly chunksAsked: number
  readonly chunksAskedAgain: number
}

const KILLS = 5
const READERS = 4
const TRUTH = resolve(import.meta.dirname, '../fixtures/truth')
const run = promisify(execFile)

async function choice (): Promise<Pick<GuestReport, 'chosen' | 'rejected'>> {
  const scene = await DriverScene.start()
  const { plane, native, state } = scene.fixture
  const files = new SelfTestFiles(plane)
  plane.onFetch(async (name, runs) => { await files.answer(name, runs) })
  const parts = { state, native, dataPlane: plane, files, log: silentLog }
  const rejected: string[] = []
  try {
    await chooseDriver('erofs', scene.drivers, parts).catch((error: unknown) => { rejected.push(messageOf(error)) })
    return { chosen: (await chooseDriver('auto', scene.drivers, parts)).name, rejected }
  } finally {
    await scene[Symbol.asyncDispose]()
  }
}

function asContainerdShows (truth: Tree): Tree {
  return new Map([...truth].map(([path, entry]) => [path, entry.mtimeNs < 0n ? { ...entry, mtimeNs: 0n } : entry]))
}

async function trees (scene: DriverScene, driver: DriverName): Promise<Pick<GuestReport, 'differences' | 'entries'>> {
  const [base, over] = await openFixture('umoci-gzip.oci.tar')
  if (base === undefined || over === undefined) throw new Error('no layers')
  const below = await scene.mount(driver, inMemory({ ...base, index: resolveImplied(base.index, []) }))
  const above = await scene.mount(driver, inMemory({ ...over, index: resolveImplied(over.index, [base.index]) }))
  const merged = await dumpTree(await scene.overlay([above, below]), { sameDirentNumbers: false })
  const alone = await dumpTree(below)
  const options = { ignoreMtimeOf: ['/'], mtimeInMilliseconds: driver === 'fuse' }
  return {
    differences: {
      [`${driver}, the base`]: compareTrees(alone, asContainerdShows(await readTruth(join(TRUTH, 'layer0.json'))), options),
      [`${driver}, both in an overlay`]: compareTrees(merged, await readTruth(join(TRUTH, 'merged.json')), options)
    },
    entries: alone.size + merged.size
  }
}

/** Workers are killed while several processes wait for bytes of a cold mount, alone on its data plane: what another layer has is not waited for. */
async function kills (driver: DriverName) {
  const [base] = await openFixture('estargz-64k.oci.tar')
  if (base === undefined) throw new Error('no layer')
  const truth = await readTruth(join(TRUTH, 'layer0.json'))
  const paths = [...truth].filter(([, { type, size }]) => type === 'file' && (size ?? 0) > 0).map(([path]) => path)
  const contents = new Set(base.index.chunks.map(({ digest }) => Buffer.from(digest).toString('hex'))).size
  const report = { kills: 0, readsInFlight: 0, readsFailed: 0, filesRead: 0, filesWrong: 0, contents: 0, chunksAsked: 0, chunksAskedAgain: 0 }
  for (; report.kills < KILLS; report.kills++) {
    await using scene = await DriverScene.start()
    const { fixture } = scene
    const held = Promise.withResolvers<undefined>()
    scene.pace = async () => { await held.promise }
    const target = await scene.mount(driver, inMemory(base))
    const reading = Promise.allSettled(Array.from({ length: READERS }, async (_, reader) =>
      await run('sha256sum', paths.filter((_path, at) => at % READERS === reader).map((path) => join(target, Buffer.from(path, 'latin1').toString('utf8'))))))
    await waiting(fixture, READERS)
    report.readsInFlight += await fixture.waitingReads()
    await fixture.killWorker()
    await waiting(fixture, 1) // asked again by its successor, without a word of the readers
    held.resolve(undefined)
    for (const outcome of await reading) {
      if (outcome.status === 'rejected') report.readsFailed++
      else report.filesWrong += wrongIn(outcome.value.stdout, target, truth)
    }
    report.filesRead += paths.length
    report.contents += contents
    report.chunksAsked += scene.asked.size
    report.chunksAskedAgain += scene.askedAgain
    process.stderr.write(readFileSync(join(fixture.state, 'native.log'), 'utf8'))
  }
  return report
}

async function waiting (fixture: DataPlaneFixture, reads: number): Promise<void> {
  while (await fixture.waitingReads() < reads) await sleep(20)
}

/** sha256sum escapes odd names: a backslash before the line. */
function wrongIn (lines: string, target: string, truth: Tree): number {
  return lines.trimEnd().split('\n').filter((line) => {
    const [hash = '', name = ''] = line.replace(/^\\/, '').split('  ')
    const path = name.slice(target.length).replace(/\\n/g, '\n').replace(/\\\\/g, '\\')
    return truth.get(Buffer.from(path).toString('latin1'))?.sha256 !== hash
  }).length
}

const { chosen, rejected } = await choice()
await using scene = await DriverScene.start()
const driver = chosen as DriverName
const shown = await trees(scene, driver)
const fuse = driver === 'fuse' ? shown : await trees(scene, 'fuse')
const killed = await kills(driver)
const report: GuestReport = {
  kernel: release(), chosen, rejected, ...killed, differences: { ...shown.differences, ...fuse.differences }, entries: shown.entries + fuse.entries
}
process.stdout.write(`guest-report ${JSON.stringify(report)}\n`)
