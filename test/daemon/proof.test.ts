// The proof of lazily opened layers, and who may hold a chain ID: over real layers in blocks in memory.
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { LayerOpener, type OpenedLayer } from '../../src/cache/layer-opener.ts'
import { layerKey, LayerStore } from '../../src/cache/layer-store.ts'
import { Seal } from '../../src/cache/seal.ts'
import { ImageBook } from '../../src/daemon/image-book.ts'
import { LayerProofs } from '../../src/daemon/proof.ts'
import { ChainClaims } from '../../src/daemon/proof-claims.ts'
import { ProofPace } from '../../src/daemon/proof-pace.ts'
import type { ImagePlan, PlannedLayer } from '../../src/image/plan.ts'
import type { LayerMounts, Mounted } from '../../src/mount/layer-mounts.ts'
import { ANNOTATION_TOC_DIGEST } from '../../src/oci/annotations.ts'
import { OCI_LAYER_GZIP } from '../../src/oci/media-types.ts'
import type { Digest } from '../../src/verify/digest.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { estargz } from '../layer/estargz-writer.ts'

let root: string
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'proof-')) })
afterAll(async () => { await rm(root, { recursive: true, maxRetries: 10 }) }) // a record may still be on its way to the disk

interface Node {
  readonly proofs: LayerProofs
  readonly opener: LayerOpener
  readonly claims: ChainClaims
  readonly book: ImageBook
  readonly lies: string[]
  readonly mounted: Map<string, Mounted>
}

/** One life of a daemon's judgement on the folder `name`. */
async function node (name: string, { used = true } = {}): Promise<Node> {
  const store = new LayerStore({ root: join(root, name), seal: await Seal.at(join(root, `${name}.key`)), log: silentLog })
  await store.open()
  const opener = new LayerOpener({ store, log: silentLog })
  const book = new ImageBook({ opener, log: silentLog })
  const proofs = new LayerProofs({ store, pace: new ProofPace({ afterMs: 0, bytesPerSecond: 1e9 }), log: silentLog, isUsed: () => used })
  const mounted = new Map<string, Mounted>()
  const lies: string[] = []
  proofs.onLie(async ({ record }) => { lies.push(record.digest); book.drop(({ key }) => key === layerKey(record)) })
  const mounts = { all: () => mounted } as unknown as LayerMounts
  const claims = new ChainClaims({ book, proofs, opener, mounts, targetsOf: () => [...mounted.keys()], log: silentLog, waitMs: 200 })
  return { proofs, opener, claims, book, lies, mounted }
}

/** An eStargz layer with a file of `content`; `claim` replaces its diffID. */
function layerOf (blocks: MemoryBlocks, content: string, claim?: Digest): PlannedLayer {
  const { blob, tocDigest, digest, diffId, size } = estargz([{ name: 'file', data: content.repeat(20_000) }], { chunkBytes: 4096 })
  const claimed = claim ?? diffId
  return {
    digest,
    diffId: claimed,
    chainId: claimed,
    mediaType: OCI_LAYER_GZIP,
    size,
    annotations: { [ANNOTATION_TOC_DIGEST]: tocDigest },
    cid: blocks.putFile(blob, 256)
  }
}

const planOf = (layer: PlannedLayer): ImagePlan => ({ manifest: { digest: layer.digest }, layers: [layer] }) as unknown as ImagePlan
const never = new AbortController().signal

/** The first leaf that only the file's contents are in. */
function takeAway (blocks: MemoryBlocks): () => void {
  const [key = '', block] = [...blocks.blocks][0] ?? []
  blocks.blocks.delete(key)
  return () => { if (block !== undefined) blocks.blocks.set(key, block) }
}

test('a layer that is what it says is proven once, also for the next life', async () => {
  const blocks = new MemoryBlocks()
  const first = await node('true')
  const opened = await first.opener.open(layerOf(blocks, 'true'), blocks)
  expect(await first.proofs.judge(opened)).toBe(false)
  await first.proofs.prove(opened, blocks)
  expect(await first.proofs.judge(opened)).toBe(true)
  await opened.saved

  const next = await node('true')
  const asked = blocks.asked.length
  await next.proofs.prove(await next.opener.reopen(opened.key) as OpenedLayer, blocks)
  expect(next.proofs.isProven(opened.key)).toBe(true)
  expect(blocks.asked.length).toBe(asked)
})

test('a claimed diffID is a lie: told once, before anybody hears of it, and for ever', async () => {
  const blocks = new MemoryBlocks()
  const { proofs, opener, lies } = await node('lie')
  const opened = await opener.open(layerOf(blocks, 'lie', layerOf(new MemoryBlocks(), 'true').diffId), blocks)
  const asked = Promise.allSettled([proofs.prove(opened, blocks), proofs.prove(opened, blocks)])
  expect(await asked).toMatchObject([1, 2].map(() => ({ status: 'rejected', reason: { code: 'DIFFID_MISMATCH' } })))
  expect(lies).toEqual([opened.record.digest])

  const next = await node('lie')
  await expect(next.proofs.judge(opened)).rejects.toMatchObject({ code: 'DIFFID_MISMATCH' })
})

test('sources that fail prove nothing, neither way', async () => {
  const blocks = new MemoryBlocks()
  const { proofs, opener, lies } = await node('source')
  const opened = await opener.open(layerOf(blocks, 'source'), blocks)
  const back = takeAway(blocks)
  await expect(proofs.prove(opened, blocks)).rejects.toMatchObject({ code: 'ROOT_NOT_FOUND' })
  expect([await proofs.judge(opened), lies]).toEqual([false, []])
  back()
  await proofs.prove(opened, blocks)
  expect(await proofs.judge(opened)).toBe(true)
})

test('what nobody uses is not read in the background', async () => {
  const blocks = new MemoryBlocks()
  const { proofs, opener } = await node('unused', { used: false })
  const opened = await opener.open(layerOf(blocks, 'unused'), blocks)
  const asked = blocks.asked.length
  proofs.inBackground(opened, blocks)
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect([blocks.asked.length, proofs.isProven(opened.key)]).toEqual([asked, false])
})

test('a plain layer was proven when it was opened', async () => {
  const blocks = new MemoryBlocks()
  const { proofs, opener } = await node('plain')
  const opened = await opener.open({ ...layerOf(blocks, 'plain'), annotations: {} }, blocks)
  expect(await proofs.judge(opened)).toBe(true)
})

test('two claims of one chain ID at once: the lie goes, the truth stays, whoever comes first', async () => {
  for (const order of [[0, 1], [1, 0]]) {
    const blocks = new MemoryBlocks()
    const { claims, book, proofs } = await node(`claims-${order.join('')}`)
    const good = layerOf(blocks, 'good')
    const both = [good, layerOf(blocks, 'evil', good.diffId)]
    await Promise.all(order.map(async (at) => { await claims.book(planOf(both[at] as PlannedLayer), blocks, never).catch(() => {}) }))
    // Nobody was mounted yet: the last word is the proof's.
    const held = await book.find(good.chainId)?.opening.opened()
    expect(held?.record.digest).toBe(good.digest)
    expect(await proofs.judge(held as OpenedLayer)).toBe(order[0] === 0)
  }
})

test('a holder that cannot be proven and is not mounted makes way for a newcomer that was', async () => {
  const [theirs, mine] = [new MemoryBlocks(), new MemoryBlocks()]
  const { claims, book, proofs } = await node('displaced')
  const good = layerOf(mine, 'good')
  const held = await claims.book(planOf(layerOf(theirs, 'evil', good.diffId)), theirs, never)
  await held.opened
  takeAway(theirs)
  await claims.book(planOf(good), mine, never)
  const opened = await book.find(good.chainId)?.opening.opened()
  expect(opened?.record.digest).toBe(good.digest)
  expect(await proofs.judge(opened as OpenedLayer)).toBe(true)
})

test('a mounted holder that cannot be proven in time is left alone, and the newcomer is told to come again', async () => {
  const [theirs, mine] = [new MemoryBlocks(), new MemoryBlocks()]
  const { claims, opener, mounted } = await node('mounted')
  const good = layerOf(mine, 'good')
  const evil = await opener.open(layerOf(theirs, 'evil', good.diffId), theirs)
  mounted.set('/target', { layer: evil, lowers: [], blocks: theirs } as unknown as Mounted)
  theirs.hangs = true
  await expect(claims.book(planOf(good), mine, never)).rejects.toMatchObject({
    code: 'UNAVAILABLE', message: expect.stringContaining(`is held by layer ${evil.record.digest}, which could not be proven yet`)
  })
})
