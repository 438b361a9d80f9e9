// Child process of the memory test: streams a big file while small random reads go on, and prints what it cost.
// usage: node read-big-file.ts GATEWAY_URL CID
import { silentLog } from '../../src/base/log.ts'
import { createBlockService } from '../../src/ipfs/block-service.ts'
import { parseCid } from '../../src/verify/cid.ts'
import { DISTINCT, LEAF_BYTES } from './big-file.ts'
import { peakMemoryKiB } from '../suites/peak-memory.ts'

const [url = '', cid = ''] = process.argv.slice(2)
const service = createBlockService({ sources: [{ type: 'gateway', url, timeoutMs: 60_000 }], log: silentLog })
const file = await service.openFile(parseCid(cid))

let bytes = 0
let wrong = 0
let reads = 0
let streaming = true

async function readHereAndThere (): Promise<void> {
  for (let turn = 1; streaming; turn++) {
    const leaf = turn * 7_919 % Math.floor(file.size / LEAF_BYTES)
    const piece = await file.read(leaf * LEAF_BYTES, 64 * 1024)
    if (Buffer.from(piece).readUInt32LE(0) !== leaf % DISTINCT) wrong++
    reads++
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const aside = readHereAndThere()
for await (const piece of file.stream(0, file.size)) {
  if (Buffer.from(piece.buffer, piece.byteOffset, 4).readUInt32LE(0) !== bytes / LEAF_BYTES % DISTINCT) wrong++
  bytes += piece.byteLength
}
streaming = false
await aside
await service.close()
process.stdout.write(JSON.stringify({ bytes, wrong, reads, requests: service.sources()[0]?.requests, maxRssKiB: peakMemoryKiB() }))
