// The content store: blobs written and read through containerd, with our store in the place of its own and with its own. A stream is
// one Read call; `ctr` and most Go programs make one for each 32 KiB. Each run has a blob of its own; cold: after the page cache was dropped.
import { createHash, randomBytes } from 'node:crypto'
import { open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { credentials, Metadata } from '@grpc/grpc-js'
import { serviceOf } from '../../src/grpc/protocol.ts'
import { Scene } from '../../test/e2e/harness.ts'
import type { BarChart } from '../chart.ts'
import { run } from '../demo/run.ts'
import type { BenchContext, Part, PartResult } from '../part.ts'
import { seededRandom, shuffled, type Spread, spread } from '../statistics.ts'

const BLOB_BYTES = 256 * 2 ** 20
const PIECE_BYTES = 2 ** 20
const GOAL = 0.8
const STORES = ['ours', "containerd's own"] as const
const WORKS = ['write', 'stream, cold', 'stream, warm', 'steps of 32 KiB'] as const

type Store = typeof STORES[number]
type Work = typeof WORKS[number]
interface Row { readonly work: Work, readonly store: Store, readonly megabytesPerSecond: Spread, readonly ofOwn: number }

async function runContent (context: BenchContext): Promise<PartResult> {
  const { cleanup, say, signal } = context
  const samples = new Map<string, number[]>()
  const scenes = new Map<Store, Scene>()
  for (const store of STORES) {
    const scene = new Scene()
    cleanup.add(`end the node with ${store} content`, async () => { await scene.end() })
    scene.configure({})
    await scene.serve()
    await scene.startContainerd({ ownContent: store !== 'ours' })
    scenes.set(store, scene)
  }
  const random = seededRandom(context.seed)
  const file = join(context.scratch, 'blob')
  cleanup.add('remove the blob', async () => { await rm(file, { force: true }) })
  for (let round = 0; round < context.runs; round++) {
    say(`content: run ${round + 1} of ${context.runs}`)
    for (const store of shuffled(STORES, random)) {
      if (signal.aborted) throw new Error('stopped')
      const scene = scenes.get(store)
      if (scene !== undefined) await measure(scene, file, (work, value) => { samples.set(work + store, [...samples.get(work + store) ?? [], value]) })
    }
  }
  return resultOf(samples, scenes.get('ours')?.containerd.version ?? '')
}

async function measure ({ containerd }: Scene, file: string, note: (work: Work, megabytesPerSecond: number) => void): Promise<void> {
  const digest = await writeBlob(file)
  const timed = async (work: Work, does: () => Promise<unknown>): Promise<void> => {
    const began = performance.now()
    await does()
    note(work, BLOB_BYTES / 1000 / (performance.now() - began))
  }
  const ctr = async (words: string): Promise<unknown> => await run('sh', ['-c', `ctr --address "$0" content ${words}`, containerd.address, digest, file])
  await timed('write', async () => await ctr(`ingest --expected-size ${BLOB_BYTES} --expected-digest "$1" "$1" < "$2"`))
  await writeFile('/proc/sys/vm/drop_caches', '3')
  for (const work of ['stream, cold', 'stream, warm'] as const) await timed(work, async () => { await stream(containerd.address, digest) })
  await timed('steps of 32 KiB', async () => await ctr('get "$1" > /dev/null'))
  await containerd.ctr('content', 'rm', digest)
}

type Reading = (request: object, metadata: Metadata) => AsyncIterable<{ readonly data: Uint8Array }>

async function stream (address: string, digest: string): Promise<void> {
  const Constructor = serviceOf('content')
  const client = new Constructor(`unix:${address}`, credentials.createInsecure())
  const metadata = new Metadata()
  metadata.set('containerd-namespace', 'default')
  let bytes = 0
  try {
    const read = (client as unknown as { Read: Reading }).Read({ digest, offset: 0, size: 0 }, metadata)
    for await (const { data } of read) bytes += data.length
  } finally {
    client.close()
  }
  if (bytes !== BLOB_BYTES) throw new Error(`a stream of ${bytes} bytes`)
}

/** @returns its digest; it is on the disk. */
async function writeBlob (path: string): Promise<string> {
  const hash = createHash('sha256')
  await using file = await open(path, 'w')
  for (let at = 0; at < BLOB_BYTES; at += PIECE_BYTES) {
    const piece = randomBytes(PIECE_BYTES)
    hash.update(piece)
    await file.write(piece)
  }
  await file.sync()
  return `sha256:${hash.digest('hex')}`
}

function resultOf (samples: ReadonlyMap<string, readonly number[]>, version: string): PartResult {
  const of = (work: Work, store: Store): Spread => spread(samples.get(work + store) ?? [])
  const rows = WORKS.flatMap((work) => STORES.map((store): Row => {
    const own = of(work, "containerd's own")
    return { work, store, megabytesPerSecond: of(work, store), ofOwn: of(work, store).median / own.median }
  }))
  const chart: BarChart = {
    name: 'content',
    title: `Content store, a blob of ${BLOB_BYTES >> 20} MiB, speed as a multiple of containerd's own store`,
    axis: 'ratio of medians; more is faster',
    groups: WORKS.map((work) => ({ label: work, bars: rows.filter((row) => row.work === work).map(({ store, ofOwn }) => ({ series: store, value: ofOwn })) })),
    mark: { at: GOAL, label: 'goal' }
  }
  return {
    tables: [{
      title: `Content store, a blob of ${BLOB_BYTES >> 20} MiB through containerd ${version} (goal: at least ${GOAL} of its own)`,
      columns: ['work', 'store', 'MB/s', 'p25', 'p75', 'of its own'],
      rows: rows.map(({ work, store, megabytesPerSecond: { median, p25, p75 }, ofOwn }) =>
        [work, store, median.toFixed(0), p25.toFixed(0), p75.toFixed(0), ofOwn.toFixed(2)])
    }],
    charts: [chart],
    data: { containerd: version, blobBytes: BLOB_BYTES, rows }
  }
}

export const part: Part = { name: 'content', run: runContent }
