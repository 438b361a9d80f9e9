import { expect, test } from '@jest/globals'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

test('what tables of 60,000 entries took is given back, and three take no more than one', async () => {
  // As scripts/ipfs-snapshotter, and gc for what is not the threads'.
  const env = { ...process.env, MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '4194304', MALLOC_TRIM_THRESHOLD_: '4194304' }
  const args = ['--max-semi-space-size=16', '--expose-gc', join(import.meta.dirname, 'large-table.ts'), '60000', '3']
  const { stdout } = await promisify(execFile)(process.execPath, args, { env })
  const { warmMiB, peakMiB, restMiB } = JSON.parse(stdout) as { warmMiB: number, peakMiB: number, restMiB: number }
  expect(peakMiB).toBeLessThan(640)
  expect(restMiB - warmMiB).toBeLessThan((peakMiB - warmMiB) / 2)
}, 120_000)
