// Measures the gateway engine alone, without containers: how much of a line one stream fills, what a background stream costs
// a foreground read on the same line, and what a gateway that went silent costs. `sh scripts/with-node bench/gateway-engine.ts`.
import { systemClock } from '../src/base/clock.ts'
import { silentLog } from '../src/base/log.ts'
import { createBlockService } from '../src/ipfs/block-service.ts'
import type { BlockService, UnixfsFile } from '../src/ipfs/blocks.ts'
import { type FakeGateway, startFakeGateway } from '../test/fakes/gateway.ts'
import { BigFile, LEAF_BYTES } from '../test/ipfs/big-file.ts'
import { startPacingProxy } from './pacing-proxy.ts'

const LEAVES = 128 // all different, and four times what the engine keeps in memory
const READS = 30
const THINK_MS = 20 // between two reads of one program
const LINKS = [[20, 10], [80, 10], [20, 100], [80, 100], [0, 10_000]] as const

const file = new BigFile(LEAVES)
const say = (text: string): void => { process.stdout.write(`${text}\n`) }
const pause = async (ms: number): Promise<void> => { await new Promise((resolve) => { setTimeout(resolve, ms) }) }
const at = (sorted: readonly number[], share: number): number => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0)

async function onLine (rttMs: number, megabytes: number, work: (blocks: BlockService, open: UnixfsFile, bytes: () => number) => Promise<void>): Promise<void> {
  const gateway = await startFakeGateway(file)
  const proxy = await startPacingProxy({ target: gateway.url, rttMs, bytesPerSecond: megabytes * 1e6 })
  const blocks = createBlockService({ sources: [{ type: 'gateway', url: proxy.url }], log: silentLog })
  try {
    await work(blocks, await blocks.openFile(file.root), proxy.bytes)
  } finally {
    await blocks.close()
    await proxy.close()
    await gateway.close()
  }
}

async function stream (rttMs: number, megabytes: number): Promise<void> {
  await onLine(rttMs, megabytes, async (_blocks, open, lineBytes) => {
    const length = Math.min(LEAVES, megabytes * 4) * LEAF_BYTES
    const [began, before] = [systemClock.monotonicMs(), lineBytes()]
    let first = 0
    for await (const piece of open.stream(0, length)) first ||= piece.byteLength > 0 ? systemClock.monotonicMs() - began : 0
    const ms = systemClock.monotonicMs() - began
    say(`stream      ${rttMs} ms ${megabytes} MB/s: ${(length / ms / 1e3).toFixed(1)} MB/s, first leaf after ${Math.round(first)} ms, ` +
      `${((lineBytes() - before) / length).toFixed(3)} bytes on the line per byte read`)
  })
}

/** Leaves in an order without neighbours, from the file's second half; the background streams the first. */
async function readsOf (open: UnixfsFile): Promise<number[]> {
  const times: number[] = []
  for (let read = 0; read < READS; read++) {
    await pause(THINK_MS)
    const began = systemClock.monotonicMs()
    await open.read((LEAVES / 2 + (read * 37) % (LEAVES / 2)) * LEAF_BYTES + 1_000, 4_096)
    times.push(systemClock.monotonicMs() - began)
  }
  return times.sort((a, b) => a - b)
}

async function mixed (rttMs: number, megabytes: number, background: boolean): Promise<void> {
  await onLine(rttMs, megabytes, async (_blocks, open) => {
    const stop = new AbortController()
    let behind = 0
    const load = async (): Promise<void> => {
      const waits = { priority: 'background' as const, signal: stop.signal }
      for await (const piece of open.stream(0, LEAVES / 2 * LEAF_BYTES, waits)) behind += piece.byteLength
    }
    const loading = background ? load().catch(() => {}) : Promise.resolve()
    await pause(background ? 500 : 0)
    const before = behind
    const times = await readsOf(open)
    stop.abort(new Error('measured'))
    await loading
    say(`foreground  ${rttMs} ms ${megabytes} MB/s, ${background ? 'with background ' : 'alone           '}: ` +
      `p50 ${at(times, 0.5)} ms, p95 ${at(times, 0.95)} ms, max ${at(times, 1)} ms; background meanwhile ${((behind - before) / 1e6).toFixed(1)} MB`)
  })
}

async function silentGateway (): Promise<void> {
  const gateways: FakeGateway[] = [await startFakeGateway(file, { delayMs: 20 }), await startFakeGateway(file, { delayMs: 20 })]
  const blocks = createBlockService({ sources: gateways.map(({ url }) => ({ type: 'gateway', url })), log: silentLog })
  const open = await blocks.openFile(file.root)
  const usual = await readsOf(open)
  const [first] = gateways
  if (first !== undefined) first.knobs.hang = true
  const times: number[] = []
  for (let read = 0; read < READS; read++) {
    const began = systemClock.monotonicMs()
    await open.read(read * 2 * LEAF_BYTES, 10)
    times.push(systemClock.monotonicMs() - began)
  }
  const asked = gateways.map(({ requests }) => requests.length)
  const median = at(usual, 0.5)
  say(`silence     the first of two gateways goes silent: a read took ${median} ms, then ${times.slice(0, 3).map(Math.round).join(', ')} … ` +
    `median ${at(times.toSorted((a, b) => a - b), 0.5)} ms, ${Math.round(times.reduce((sum, ms) => sum + ms - median, 0))} ms added in all over ${READS} reads; ` +
    `requests ${asked.join(' + ')}`)
  await blocks.close()
  for (const { close } of gateways) await close()
}

say(`one file of ${LEAVES} MiB in leaves of 1 MiB`)
for (const [rttMs, megabytes] of LINKS) await stream(rttMs, megabytes)
for (const [rttMs, megabytes] of LINKS.slice(0, 4)) {
  await mixed(rttMs, megabytes, false)
  await mixed(rttMs, megabytes, true)
}
await silentGateway()
