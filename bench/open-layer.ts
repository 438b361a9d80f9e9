// Measures what stands between a layer's verified TOC and its mount: index, record, table and EROFS image, on this thread as
// it was and in a warmed thread as it is. `sh scripts/with-node bench/open-layer.ts PUBLISHED [layer] [rounds]`, where
// PUBLISHED is a folder below <cache>/published of the bench. Wall time, and CPU time of the main thread alone.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { silentLog } from '../src/base/log.ts'
import { buildErofs } from '../src/erofs/build-erofs.ts'
import { LayerThreads } from '../src/erofs/layer-threads.ts'
import { createBlockService } from '../src/ipfs/block-service.ts'
import { encodeTable } from '../src/layer/chunk-table.ts'
import { layoutData } from '../src/layer/data-layout.ts'
import { readToc, type Toc } from '../src/layer/estargz.ts'
import { encodeIndex } from '../src/layer/index-codec.ts'
import type { LayerIndex } from '../src/layer/layer-index.ts'
import { layoutOf, placedChunksOf } from '../src/layer/packed-index.ts'
import { placeChunks } from '../src/layer/placed-chunks.ts'
import { indexToc } from '../src/layer/toc-index.ts'
import { parseCid } from '../src/verify/cid.ts'
import { digestOf, parseDigest } from '../src/verify/digest.ts'

const OPTIONS = { form: 'two-devices', uuid: new Uint8Array(16) } as const
const NONE = new Uint8Array(0)
const ZEROS = new Uint8Array(32)

interface PublishedLayer { readonly cid: string, readonly size: number, readonly tocDigest?: string }

const say = (text: string): void => { process.stdout.write(`${text}\n`) }

async function tocOf (folder: string, position: number | null): Promise<Toc> {
  const { layers } = JSON.parse(readFileSync(join(folder, 'published.json'), 'utf8')) as { layers: PublishedLayer[] }
  const largest = layers.reduce((best, { size }, at) => size > (layers[best]?.size ?? 0) ? at : best, 0)
  const layer = layers[position ?? largest]
  if (layer === undefined) throw new Error(`${folder} has ${layers.length} layers`)
  const blocks = createBlockService({ sources: [{ type: 'car', path: join(folder, 'image.car') }], log: silentLog })
  try {
    const file = await blocks.openFile(parseCid(layer.cid))
    // The manifest's annotation is not at hand: the first reading tells the digest, in its refusal.
    const wrong = parseDigest(`sha256:${'0'.repeat(64)}`)
    const got = await readToc(file, file.size, wrong).then(() => '', (error: unknown) => (error as { details: { got: string } }).details.got)
    return await readToc(file, file.size, parseDigest(got))
  } finally {
    await blocks.close()
  }
}

interface Lap { readonly name: string, readonly ms: number, readonly cpu: number }

async function timed<Result> (laps: Lap[], name: string, work: () => Result | Promise<Result>): Promise<Result> {
  const [began, cpu] = [performance.now(), process.threadCpuUsage()]
  const result = await work()
  const used = process.threadCpuUsage(cpu)
  laps.push({ name, ms: performance.now() - began, cpu: (used.user + used.system) / 1000 })
  return result
}

async function here (toc: Toc): Promise<Lap[]> {
  const laps: Lap[] = []
  const index = await timed(laps, 'index', () => indexToc(toc.json, toc.tocOffset, toc.tocDigest))
  const layout = layoutData(index)
  const table = await timed(laps, 'table', () => encodeTable({ layerDigest: ZEROS, dataSize: layout.size, chunks: placeChunks(index, layout), prefix: NONE }))
  const record = await timed(laps, 'record', () => encodeIndex(index))
  const image = await timed(laps, 'image', () => buildErofs(index, layout, OPTIONS))
  sizes = `${index.inodes.length} inodes, TOC ${toc.json.byteLength}, record ${record.byteLength}, table ${table.byteLength}, image ${image.byteLength} bytes`
  return laps
}

async function inThread (threads: LayerThreads, toc: Toc): Promise<Lap[]> {
  const laps: Lap[] = []
  const index: LayerIndex = await timed(laps, 'index, record, table', async () => await threads.index(toc))
  await timed(laps, 'chunks', () => placedChunksOf(index, layoutOf(index)))
  await timed(laps, 'image', async () => await threads.image(index, [], OPTIONS))
  return laps
}

let sizes = ''
const [folder, position, rounds = '5'] = process.argv.slice(2)
if (folder === undefined) throw new Error('which image?')
const toc = await tocOf(folder, position === undefined || position === 'largest' ? null : Number(position))
await timed([], 'sha256', () => digestOf(toc.json))
const show = (laps: readonly Lap[]): string => [...laps, { name: 'all', ms: laps.reduce((sum, { ms }) => sum + ms, 0), cpu: laps.reduce((sum, { cpu }) => sum + cpu, 0) }]
  .map(({ name, ms, cpu }) => `${name} ${ms.toFixed(0)} (${cpu.toFixed(0)})`).join(' · ')
const threads = new LayerThreads()
const warming: Lap[] = []
await timed(warming, 'warming', async () => { await threads.warm(silentLog) })
say(`ms of wall, in brackets ms of CPU of the main thread; ${show(warming)}`)
for (let round = 0; round < Number(rounds); round++) {
  say(`in a thread ${round + 1}: ${show(await inThread(threads, toc))}`)
  say(`here        ${round + 1}: ${show(await here(toc))}`)
}
say(sizes)
await threads.close()
