// Publishing needs no memory for the size of an image: the whole command in a process of its own, its peak as the kernel
// counts it. PUBLISH_MEMORY_GIB=4 runs it on a layer of that many GiB.
import { spawn } from 'node:child_process'
import { createReadStream, createWriteStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { expect, test } from '@jest/globals'
import type { Published } from '../../src/publish/publish.ts'
import { writeBigImage } from './big-image.ts'
import { inFolder, namesIn } from './published.ts'

const GiB = 2 ** 30
const LAYER_BYTES = Number(process.env['PUBLISH_MEMORY_GIB'] ?? 1) * GiB
const RSS_MAX = 300e6

test(`publishes a layer of ${LAYER_BYTES / GiB} GiB and uploads it within ${RSS_MAX / 1e6} MB`, async () => inFolder(async (folder) => {
  const source = join(folder, 'image.tar')
  await writeBigImage(source, LAYER_BYTES)
  const target = await startDrain()
  const { published, peak } = await run(source, join(folder, 'image.car'), '--to', target.url).finally(target.close)

  expect(target.bytes()).toBeGreaterThan((await stat(join(folder, 'image.car'))).size)
  expect(published.layers.map(({ lazy }) => lazy)).toEqual([true])
  expect(peak).toBeLessThan(RSS_MAX)
  expect(await namesIn(folder)).toEqual(['image.car', 'image.tar'])
}), 1_200_000)

test(`expands a gzipped archive within ${RSS_MAX / 1e6} MB and leaves nothing of it`, async () => inFolder(async (folder) => {
  await writeBigImage(join(folder, 'image.tar'), GiB / 8)
  const source = join(folder, 'image.tar.gz')
  await pipeline(createReadStream(join(folder, 'image.tar')), createGzip({ level: 1 }), createWriteStream(source))
  const plain = await run(join(folder, 'image.tar'), join(folder, 'a.car'))
  const zipped = await run(source, join(folder, 'b.car'))

  expect(zipped.published.cid).toBe(plain.published.cid)
  expect(zipped.peak).toBeLessThan(RSS_MAX)
  expect(await namesIn(folder)).toEqual(['a.car', 'b.car', 'image.tar', 'image.tar.gz'])
}), 300_000)

/** An RPC that keeps nothing of what it is sent. */
async function startDrain (): Promise<{ readonly url: string, readonly bytes: () => number, readonly close: () => void }> {
  let bytes = 0
  const server = createServer((request, response) => {
    const arg = new URL(request.url ?? '/', 'http://rpc').searchParams.get('arg')
    request.on('data', (piece: Buffer) => { bytes += piece.byteLength })
    request.once('end', () => { response.end(arg === null ? '' : JSON.stringify({ Pins: [arg] })) })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bytes: () => bytes, close: () => { server.close().closeAllConnections() } }
}

/** The command's result and its peak resident memory in bytes (VmHWM, proc(5)). */
async function run (source: string, car: string, ...more: readonly string[]): Promise<{ published: Published, peak: number }> {
  const command = join(import.meta.dirname, '../../scripts/ipfs-snapshotter')
  const child = spawn(command, ['publish', source, '--car', car, '--json', ...more], { stdio: ['ignore', 'pipe', 'ignore'] })
  let peak = 0
  const watch = setInterval(() => {
    void readFile(`/proc/${child.pid ?? 0}/status`, 'utf8').then((status) => {
      peak = Math.max(peak, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024)
    }, () => {})
  }, 50)
  const parts: Buffer[] = []
  for await (const piece of child.stdout) parts.push(piece as Buffer)
  clearInterval(watch)
  return { published: JSON.parse(Buffer.concat(parts).toString()) as Published, peak }
}
