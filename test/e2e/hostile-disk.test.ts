// The disk belongs to somebody else: while processes read through a page cache that is dropped again and again, cached bytes
// are flipped, cut, swapped and replaced by older valid copies, and records and verdicts with them. Every unit of at most
// 64 KiB that comes back from the disk is hashed; the worker counts them. What it caught once it keeps in memory, so that it
// is killed now and then, to believe the disk again. HOSTILE_DISK_UNITS asks for more units.
import { afterAll, beforeAll, expect } from '@jest/globals'
import { closeSync, copyFileSync, existsSync, ftruncateSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { execute, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, Scene, shelf } from './harness.ts'
import { run } from './run.ts'
import { kill } from './traces.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'

const MIB = 1 << 20
const UNITS = Number(process.env['HOSTILE_DISK_UNITS'] ?? 4000)
const CAUGHT = 20 // chunks found wrong, at least: otherwise nothing was shown
const FILES = 16
const AT_ONCE = 6 // readers of each file
const PAUSE_MS = 100 // between two tamperings
const folder = shelf()
let image: ProgramImage
let gateway: GatedGateway
let scene: Scene
let all: string[]
let reference: string

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(FILES, MIB)])
  all = [...image.hashes.keys()]
  const published = await publish(image.layout, join(folder, 'image.car'))
  reference = published.reference
  gateway = await GatedGateway.over(published.car)
  scene = await Scene.start({ sources: [gateway.url] })
}, PREPARE_MS)
afterAll(async () => {
  await scene.end()
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

const layersOf = (): string[] => readdirSync(join(scene.root, 'layers')).map((name) => join(scene.root, 'layers', name))
  .filter((path) => existsSync(join(path, 'data')))

/** Changes bytes of the file in place. */
function rewrite (path: string, change: (file: number, size: number) => void): void {
  if (!existsSync(path)) return
  const file = openSync(path, 'r+')
  try {
    change(file, statSync(path).size)
  } finally {
    closeSync(file)
  }
}

let turn = 0
const somewhere = (size: number): number => turn * 7919 * 4099 % Math.max(1, size)

/** What a host may do to the cache of a layer; `old` holds its data of an earlier moment. */
const TAMPERINGS: Readonly<Record<string, (layer: string, old: string) => void>> = {
  flip: (layer) => {
    rewrite(join(layer, 'data'), (file, size) => {
      const byte = Buffer.alloc(1)
      const at = somewhere(size)
      readSync(file, byte, 0, 1, at)
      writeSync(file, Buffer.from([(byte[0] ?? 0) ^ 1 << turn % 8]), 0, 1, at)
    })
  },
  truncate: (layer) => {
    rewrite(join(layer, 'data'), (file, size) => {
      ftruncateSync(file, size - somewhere(size >> 4))
      ftruncateSync(file, size)
    })
  },
  swap: (layer) => {
    rewrite(join(layer, 'data'), (file, size) => {
      const [a, b] = [Buffer.alloc(65_536), Buffer.alloc(65_536)]
      const [from, to] = [somewhere(size - 65_536), somewhere(size) >> 1]
      readSync(file, a, 0, a.length, from)
      readSync(file, b, 0, b.length, to)
      writeSync(file, b, 0, b.length, from)
      writeSync(file, a, 0, a.length, to)
    })
  },
  replay: (layer, old) => { // an older state of the same cache: valid then, and full of holes
    rewrite(join(layer, 'data'), (file, size) => {
      const piece = Buffer.alloc(4 * 65_536)
      const at = somewhere(size)
      const from = openSync(old, 'r')
      const length = readSync(from, piece, 0, piece.length, at)
      closeSync(from)
      writeSync(file, piece, 0, length, at)
    })
  },
  marks: (layer) => { rewrite(join(layer, 'present'), (file, size) => { writeSync(file, Buffer.from([turn % 2]), 0, 1, somewhere(size)) }) },
  records: (layer) => {
    for (const name of ['record', 'verdict']) rewrite(join(layer, name), (file, size) => { writeSync(file, Buffer.from([turn % 251]), 0, 1, somewhere(size)) })
  }
}

run(`of ${UNITS} units hashed again from a disk that is tampered with, none is served wrong, and each is repaired`, async () => {
  const { name, layers } = await scene.pull(reference)
  const counts = Object.fromEntries(Object.keys(TAMPERINGS).map((name) => [name, 0]))
  await scene.withMounted(layers.at(-1)?.chainId ?? '', async (directory) => {
    const paths = all.map((path) => `${directory}${path}`)
    const old = new Map(layersOf().map((layer) => [layer, `${folder}/old-${layersOf().indexOf(layer)}`]))
    for (const [layer, copy] of old) copyFileSync(join(layer, 'data'), copy)
    const sum = { units: 0, violations: 0, wrong: 0, reads: 0, kills: 0 }
    let { worker } = await scene.status()
    let counted = worker
    const reading = new AbortController()
    const tampering = (async () => {
      while (!reading.signal.aborted) {
        const [kind = '', tamper = () => {}] = Object.entries(TAMPERINGS)[turn++ % Object.keys(TAMPERINGS).length] ?? []
        for (const [layer, copy] of old) tamper(layer, copy)
        counts[kind] = (counts[kind] ?? 0) + old.size
        await sleep(PAUSE_MS)
      }
    })()
    try {
      while (sum.units < UNITS || sum.violations < CAUGHT) {
        const { stdout, stderr } = await execute(join(directory, 'bin/e2e'), ['fresh', ...Array.from({ length: AT_ONCE }, () => paths).flat()])
        const lines = (stdout + stderr).replaceAll(directory, '').trim().split('\n')
        sum.wrong += AT_ONCE * all.length - lines.filter((line) => image.hashes.get(line.slice(65)) === line.slice(0, 64)).length
        sum.reads += AT_ONCE * all.length
        worker = (await scene.status()).worker
        sum.units += worker.leafHashesChecked - counted.leafHashesChecked
        sum.violations += worker.violations - counted.violations
        counted = { ...worker, leafHashesChecked: 0, violations: 0 }
        sum.kills++
        kill(worker.pid)
      }
    } finally {
      reading.abort()
      await tampering
    }
    const { bytesServedUnverified } = await scene.status()
    process.stdout.write(`hostile disk: ${sum.units} units hashed again from disk in ${sum.reads} file reads, ` +
      `${sum.violations} chunks found wrong and repaired, ` +
      `${sum.wrong} files served wrong or failed; worker killed ${sum.kills} times; tampered ${JSON.stringify(counts)}\n`)
    expect({ wrong: sum.wrong, bytesServedUnverified }).toEqual({ wrong: 0, bytesServedUnverified: 0 })
  })
  // What it did to the records costs a new opening at most.
  await scene.daemon.end()
  await scene.serve()
  await until('it can be pulled again', async () => (await scene.tryPull(reference)).code === 0) // containerd dials a restarted plugin when it likes
  expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...all))).toEqual(image.expected(all))
}, 60_000 + UNITS * 20)
