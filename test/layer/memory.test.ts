import { expect, test } from '@jest/globals'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const FILE_BYTES = 320 * 1024 * 1024

test('a layer of 320 MiB is indexed in less memory than its own size, and than 300 MB', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, 'big-layer.ts'), String(FILE_BYTES)])
  const { stored, chunks, maxRssMiB } = JSON.parse(stdout) as { stored: number, chunks: number, maxRssMiB: number }

  expect(stored).toBe(FILE_BYTES)
  expect(chunks).toBe(FILE_BYTES / (256 * 1024))
  expect(maxRssMiB).toBeLessThan(286)
}, 120_000)
