// A 4 GiB file is read in flat memory.
import { expect, test } from '@jest/globals'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { gatewayOf } from './block-services.ts'
import { BigFile, LEAF_BYTES } from './big-file.ts'

const LEAVES = 4096

test('4 GiB streamed, with reads beside it, in at most 300 MB', async () => {
  const file = new BigFile(LEAVES)
  const gateway = await gatewayOf(file)
  const reader = join(import.meta.dirname, 'read-big-file.ts')
  const child = spawn(process.execPath, [reader, gateway.url, file.root.toString()], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  for await (const piece of child.stdout) output += String(piece)
  const report = JSON.parse(output) as { bytes: number, wrong: number, reads: number, requests: number, maxRssKiB: number }

  expect(report).toMatchObject({ bytes: LEAVES * LEAF_BYTES, wrong: 0 })
  expect(report.reads).toBeGreaterThan(0)
  expect(report.maxRssKiB * 1024).toBeLessThan(300e6)
  expect(report.requests).toBeLessThan(LEAVES / 2 + report.reads) // leaves that memory holds cut ranges in two
  process.stderr.write(`read 4 GiB in ${report.requests} requests with ${Math.round(report.maxRssKiB / 1024)} MiB at most\n`)
}, 180_000)
