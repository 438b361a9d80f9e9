// A process of its own, so that its memory can be measured: a thread indexes a table of many entries and builds its image, several
// times over, and rests. Prints one JSON line. Arguments: entries, rounds.
import { readFileSync } from 'node:fs'
import { silentLog } from '../../src/base/log.ts'
import { LayerThreads } from '../../src/erofs/layer-threads.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { verifyDigest } from '../../src/verify/verified-bytes.ts'
import { peakMemoryKiB } from '../suites/peak-memory.ts'

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`
const GIVEN_BACK_MS = 60_000 // V8 holds the pages of a thread that ended for a while
const [entries = 0, rounds = 0] = process.argv.slice(2).map(Number)

function table (): Uint8Array {
  const lines = Array.from({ length: entries }, (_, at) => {
    const [name, size] = [`data/${Math.floor(at / 500)}/${at}`, 100 + at % 900]
    return JSON.stringify({ name, type: 'reg', mode: 0o644, modtime: '2026-01-02T03:04:05Z', size, offset: 512 + at * 700, digest: DIGEST, chunkDigest: DIGEST })
  })
  return Buffer.from(`{"version":1,"entries":[\n${lines.join(',\n')}\n]}`)
}

const rssMiB = (): number => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024

const threads = new LayerThreads()
await threads.warm(silentLog)
const json = table()
const tocDigest = digestOf(json)
const warmMiB = rssMiB()
for (let round = 0; round < rounds; round++) {
  const index = await threads.index({ json: verifyDigest(tocDigest, json, 'TOC'), tocOffset: 512 + entries * 700, tocDigest })
  await threads.image(index, [], { form: 'two-devices', uuid: new Uint8Array(16) })
  await threads.rest()
}
const until = performance.now() + GIVEN_BACK_MS
const peakMiB = peakMemoryKiB() / 1024
while (rssMiB() > warmMiB + (peakMiB - warmMiB) / 2 && performance.now() < until) {
  globalThis.gc?.()
  await new Promise((resolve) => setTimeout(resolve, 250))
}
process.stdout.write(JSON.stringify({ warmMiB, peakMiB, restMiB: rssMiB() }))
await threads.close()
