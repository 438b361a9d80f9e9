// One bit is wrong: in a chunk that the publisher made, in its TOC, in what a gateway sends after the pull, in the cache on
// the disk. A read gives the right bytes or EIO, never others.
import { afterAll, beforeAll, beforeEach, expect } from '@jest/globals'
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { CID } from 'multiformats/cid'
import { openEstargz } from '../../src/layer/estargz.ts'
import { parseDigest } from '../../src/verify/digest.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { rangeReader } from '../layer/fixtures.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { withAlteredBlob, servedFrom } from './altered-image.ts'
import { execute, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'
import { filesBelow } from './traces.ts'

const BYTES = 1 << 20
const folder = shelf()
const DEADLINE = '5s'
const TOC_DIGEST = 'containerd.io/snapshot/stargz/toc.digest'
let image: ProgramImage
let published: Published
let layer: Published['layers'][number]
let memory: MemoryBlocks
let gateway: GatedGateway
let scene: Scene
let all: string[]

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(3, BYTES)])
  all = [...image.hashes.keys()]
  published = await publish(image.layout, join(folder, 'image.car'))
  layer = published.layers.at(-1) as Published['layers'][number]
  memory = await MemoryBlocks.fromCar(published.car)
  gateway = await GatedGateway.start(servedFrom(memory))
  scene = await Scene.start({ sources: [gateway.url], deadline: DEADLINE, onViolation: 'eio' })
}, PREPARE_MS)
beforeEach(() => { gateway.gateway.knobs.lie = false })
afterAll(async () => {
  await scene.end()
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

/** Pulls with an empty cache, and cleans up after. */
async function pulled (reference: string, use: (name: string, chainId: string) => Promise<void>): Promise<void> {
  const { name, layers } = await scene.pull(reference)
  try {
    await use(name, layers.at(-1)?.chainId ?? '')
  } finally {
    await scene.removeImage(name)
    await scene.noLayerMounts()
    await scene.daemon.end()
    rmSync(join(scene.root, 'layers'), { recursive: true })
    await scene.serve()
  }
}

/** The root of the image with a layer whose bytes `change` made, and whose digest stayed. */
async function altered (change: (blob: Buffer) => Buffer): Promise<string> {
  return `ipfs://${(await withAlteredBlob(memory, CID.parse(published.cid), layer.digest, change)).toString()}`
}

/** Every file once; what fails says so. */
async function readAll (name: string): Promise<{ readonly good: string[], readonly wrong: string[], readonly failed: string[] }> {
  const { stdout } = await scene.tryRun('default', name, '/bin/e2e', 'sha', ...all)
  const hashes = hashLines(stdout)
  return {
    good: all.filter((path) => hashes[path] === image.hashes.get(path)),
    wrong: all.filter((path) => path in hashes && hashes[path] !== image.hashes.get(path)),
    failed: all.filter((path) => stdout.includes(`${path}: Input/output error`))
  }
}

/** The member that holds the middle chunk of the layer. */
async function middleMember (blob: Buffer): Promise<{ readonly offset: number, readonly length: number }> {
  const manifest = JSON.parse(Buffer.from(await memory.readAll(await path('blobs', 'sha256', published.manifestDigest.slice(7)), BYTES)).toString()) as
    { layers: Array<{ digest: string, annotations: Record<string, string> }> }
  const annotations = manifest.layers.find(({ digest }) => digest === layer.digest)?.annotations ?? {}
  const { chunks } = await openEstargz(rangeReader(blob), blob.byteLength, parseDigest(annotations[TOC_DIGEST] ?? ''))
  const { offset = 0, length = 0 } = chunks[Math.floor(chunks.length / 2)] ?? {}
  return { offset, length }
}

async function path (...names: string[]): Promise<CID> {
  return await memory.resolvePath(CID.parse(published.cid), names) as CID
}

async function layerBlob (): Promise<Buffer> {
  const file = await memory.openFile(await path('blobs', 'sha256', layer.digest.slice(7)))
  return Buffer.from(await file.read(0, file.size))
}

function flip (bytes: Buffer, at: number): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[at] = (flipped[at] ?? 0) ^ 1
  return flipped
}

run('a bit flipped in a published chunk is EIO in one file; the other files are whole', async () => {
  const { offset, length } = await middleMember(await layerBlob())
  await pulled(await altered((blob) => flip(blob, offset + Math.floor(length / 2))), async (name) => {
    const { good, wrong, failed } = await readAll(name)
    expect({ wrong, failed: failed.length, good: good.length }).toEqual({ wrong: [], failed: 1, good: all.length - 1 })
  })
}, 90_000)

run('a chunk that inflates well to other bytes is EIO all the same', async () => {
  const { offset, length } = await middleMember(await layerBlob())
  const reference = await altered((blob) => {
    const content = gunzipSync(blob.subarray(offset, offset + length))
    const member = gzipSync(flip(content, content.byteLength - 1), { level: 6 })
    expect(member.byteLength).toBe(length) // random bytes are stored, not deflated
    return Buffer.concat([blob.subarray(0, offset), member, blob.subarray(offset + length)])
  })
  await pulled(reference, async (name) => {
    const { good, wrong, failed } = await readAll(name)
    expect({ wrong, failed: failed.length, good: good.length }).toEqual({ wrong: [], failed: 1, good: all.length - 1 })
    expect(await scene.status()).toMatchObject({ bytesServedUnverified: 0 })
  })
}, 90_000)

run('a bit flipped anywhere in TOC or footer refuses the pull and leaves nothing', async () => {
  const size = (await layerBlob()).byteLength
  for (const fromEnd of [30, 700]) {
    const { code, stderr } = await scene.tryPull(await altered((blob) => flip(blob, size - fromEnd)))
    expect(code).toBe(1)
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^(TOC_INVALID|LAYER_INVALID|DIGEST_MISMATCH): /)
    expect(await scene.snapshots()).toEqual([])
    expect(scene.layerMounts()).toEqual([])
    expect(scene.temporaryFiles()).toEqual([])
  }
}, 90_000)

run('a gateway that begins to lie after the pull makes reads wait and then fail; one that comes to its senses ends well', async () => {
  await pulled(published.reference, async (name) => {
    gateway.gateway.knobs.lie = true
    const { good, wrong, failed } = await readAll(name)
    expect(wrong).toEqual([])
    expect(failed.length).toBeGreaterThanOrEqual(2) // one lies in the leaves that the TOC came in
    expect([...good, ...failed].sort()).toEqual([...all].sort())

    const reading = readAll(name)
    await until('reads wait', async () => (await scene.status()).worker.waitingReads > 0)
    gateway.gateway.knobs.lie = false
    expect(await reading).toEqual({ good: all, wrong: [], failed: [] })
  })
}, 90_000)

run('a bit flipped in the cache is noticed, counted and fetched again', async () => {
  await pulled(published.reference, async (name, chainId) => {
    await scene.withMounted(chainId, async (directory) => {
      expect((await readAll(name)).good).toEqual(all)
      const data = filesBelow(join(scene.root, 'layers')).filter((file) => file.endsWith('/data') && statSync(file).size >= 3 * BYTES)
      expect(data).toHaveLength(1)
      const at = 1.5 * BYTES
      const byte = readFileSync(data[0] ?? '')[at] ?? 0
      const file = openSync(data[0] ?? '', 'r+')
      writeSync(file, Buffer.from([byte ^ 1]), 0, 1, at)
      closeSync(file)

      const { stdout, stderr } = await execute(join(directory, 'bin/e2e'), ['fresh', ...all.map((path) => `${directory}${path}`)])
      expect(hashLines((stdout + stderr).replaceAll(directory, ''))).toEqual(image.expected(all))
      const { worker, bytesServedUnverified } = await scene.status()
      expect({ noticed: worker.violations > 0, bytesServedUnverified }).toEqual({ noticed: true, bytesServedUnverified: 0 })
    })
  })
}, 90_000)
