import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeApiFile } from '../../src/daemon/api-file.ts'

const ADDRESS = '/ip4/127.0.0.1/tcp/5001'
let folder: string

beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'api-')) })
afterEach(() => { rmSync(folder, { recursive: true, force: true }) })

test('the file names the address until it is removed, also in the place of a stale one', async () => {
  const file = join(folder, 'ipfs', 'api')
  await writeApiFile(join(folder, 'ipfs'), '/ip4/127.0.0.1/tcp/1')
  const remove = await writeApiFile(join(folder, 'ipfs'), ADDRESS)
  expect(readFileSync(file, 'utf8')).toBe(ADDRESS)
  await remove()
  expect(existsSync(file)).toBe(false)
})

test('what another wrote meanwhile stays', async () => {
  const remove = await writeApiFile(folder, ADDRESS)
  writeFileSync(join(folder, 'api'), '/ip4/127.0.0.1/tcp/2')
  await remove()
  expect(readFileSync(join(folder, 'api'), 'utf8')).toBe('/ip4/127.0.0.1/tcp/2')
})

test('the repository of a Kubo is left alone', async () => {
  writeFileSync(join(folder, 'datastore_spec'), '{}')
  await expect(writeApiFile(folder, ADDRESS)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  expect(existsSync(join(folder, 'api'))).toBe(false)
})
