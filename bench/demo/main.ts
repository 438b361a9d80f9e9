// The main job, end to end, on real parts: build an image, publish it, serve its blocks behind a slow line, pull it by CID,
// run it while most of it is still remote, kill the worker under it, and compare every file. Baseline: stock containerd.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startPacingProxy } from '../pacing-proxy.ts'
import { measureFullPull } from './baseline.ts'
import { buildDemoImage, PROGRAM } from './build-image.ts'
import { Cleanup } from './cleanup.ts'
import { differences, HASH_ALL, hashesOfTree, parseHashes } from './compare.ts'
import { startGateway, startNode } from './node.ts'
import { recordPrefetchList } from './prefetch-list.ts'
import { product } from './product.ts'

const RTT_MS = 20
const BYTES_PER_SECOND = 10e6

interface Published { readonly cid: string, readonly reference: string, readonly manifestDigest: string }
interface Status {
  readonly driver: string
  readonly totals: { readonly readBytes: number }
  readonly worker: { readonly pid: number, readonly restarts: number }
  readonly bytesServedUnverified: number
}

const { values } = parseArgs({ options: { json: { type: 'string' }, keep: { type: 'boolean', default: false } } })
const say = (text: string): void => { process.stdout.write(`${text}\n`) }
const cleanup = new Cleanup()
const folder = await mkdtemp(join(tmpdir(), 'ipfs-snapshotter-demo-'))
cleanup.add(`remove ${folder}`, async () => { await rm(folder, { recursive: true, force: true }) })
process.once('SIGINT', () => { void cleanup.run().then(() => { process.exit(130) }) })

try {
  const image = await buildDemoImage(join(folder, 'image'), say)
  const files = await recordPrefetchList(image.rootfs, PROGRAM, join(folder, 'prefetch.list'))
  say(`a run of the program opens ${files} files; publishing with them first`)
  const published = await product<Published>(['publish', image.layout, '--car', join(folder, 'image.car'), '--prefetch-list', join(folder, 'prefetch.list')])
  say(`published: ${published.reference}`)

  say(`baseline: stock containerd, overlayfs, full pull at ${RTT_MS} ms and ${BYTES_PER_SECOND / 1e6} MB/s`)
  const line = { rttMs: RTT_MS, bytesPerSecond: BYTES_PER_SECOND }
  const fullPullMs = await measureFullPull(join(folder, 'baseline'), image.layout, line, PROGRAM, cleanup)

  const lazy = await runLazily(published)
  const hashes = await compareUnderKill(image.rootfs, lazy)
  const result = {
    lazyMs: lazy.lazyMs,
    fullPullMs,
    warmMs: lazy.warmMs,
    bytesFetched: lazy.bytesFetched,
    bytesTouched: lazy.bytesTouched,
    imageBytes: image.imageBytes,
    requests: lazy.requests,
    filesCompared: hashes.filesCompared,
    failedReads: hashes.failedReads
  }
  report(result)
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(result)}\n`)
  if (hashes.failedReads > 0 || hashes.differing.length > 0) {
    say(`FAILED: ${hashes.failedReads} failed reads, ${hashes.differing.length} files differ: ${hashes.differing.slice(0, 5).join(', ')}`)
    process.exitCode = 1
  }
} finally {
  if (values.keep) say(`kept: ${folder}`)
  else await cleanup.run()
}

async function runLazily (published: Published) {
  const target = await startGateway([join(folder, 'image.car')], join(folder, 'gateway'), cleanup)
  const proxy = await startPacingProxy({ target, rttMs: RTT_MS, bytesPerSecond: BYTES_PER_SECOND })
  cleanup.add('stop the proxy', async () => { await proxy.close() })
  const { config, containerd, pull } = await startNode(join(folder, 'lazy'), proxy.url, cleanup)

  const status = async (): Promise<Status> => await product<Status>(['status', '--config', config])
  const start = async (id: string): Promise<number> => {
    let first = 0
    await containerd.ctr(['run', '--rm', '--snapshotter', 'ipfs', name, id, ...PROGRAM], {
      onStdout: () => { if (first === 0) { first = performance.now(); seen = { bytes: proxy.bytes(), requests: proxy.requests() } } }
    })
    return first
  }
  let seen = { bytes: 0, requests: 0 }
  say(`pulling ${published.reference} through the slow line`)
  proxy.reset()
  const began = performance.now()
  const name = await pull(published.reference)
  const pulledMs = performance.now() - began
  const lazyMs = Math.round(await start('cold') - began)
  const { bytes: bytesFetched, requests } = seen
  const before = await status()
  say(`pulled in ${Math.round(pulledMs)} ms, first line after ${lazyMs} ms (driver ${before.driver})`)
  const again = performance.now()
  const warmMs = Math.round(await start('warm') - again)
  return { lazyMs, warmMs, bytesFetched, requests, bytesTouched: before.totals.readBytes, containerd, status, name }
}

async function compareUnderKill (rootfs: string, lazy: Awaited<ReturnType<typeof runLazily>>) {
  say('reading every file inside the container, killing the worker meanwhile')
  const source = hashesOfTree(rootfs)
  const { worker } = await lazy.status()
  let kills = 0
  let bytes = 0
  const inside = await lazy.containerd.ctr(['run', '--rm', '--snapshotter', 'ipfs', '--cwd', '/', lazy.name, 'hashes', '/bin/sh', '-c', HASH_ALL], {
    mayFail: true,
    onStdout: (text) => {
      bytes += text.length
      if (kills === 0 && bytes > 20_000) { kills++; process.kill(worker.pid, 'SIGKILL') }
    }
  })
  const found = parseHashes(inside.stdout)
  const differing = differences(await source, found)
  const failedReads = inside.stderr.split('\n').filter((line) => line.startsWith('sha256sum:')).length + (inside.code === 0 ? 0 : 1)
  const after = await lazy.status()
  say(`worker ${worker.pid} was killed and replaced ${after.worker.restarts} time(s); ${after.bytesServedUnverified} bytes were served unverified`)
  return { filesCompared: found.size, failedReads, differing }
}

function report (result: { readonly lazyMs: number, readonly fullPullMs: number, readonly warmMs: number, readonly bytesFetched: number,
  readonly bytesTouched: number, readonly imageBytes: number, readonly requests: number, readonly filesCompared: number, readonly failedReads: number }): void {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
  say('')
  say(`first output, from IPFS, lazily    ${result.lazyMs} ms (${(result.lazyMs / result.fullPullMs).toFixed(3)} of the full pull)`)
  say(`first output, full pull            ${result.fullPullMs} ms`)
  say(`first output, second run           ${result.warmMs} ms`)
  say(`fetched until then                 ${megabytes(result.bytesFetched)} in ${result.requests} requests (${(100 * result.bytesFetched / result.imageBytes).toFixed(1)} % of ${megabytes(result.imageBytes)})`)
  say(`file bytes read until then         ${megabytes(result.bytesTouched)}`)
  say(`files compared with the source     ${result.filesCompared}, ${result.failedReads} failed reads`)
}
