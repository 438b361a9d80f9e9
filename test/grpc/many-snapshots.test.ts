// Ten thousand snapshots in a server whose heap is smaller than their labels: made, listed, walked and removed, and nothing
// of them is left.
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type SnapshotsClient, snapshotsClient } from '../suites/snapshots-client.ts'

const COUNT = 10_000
const HEAP_MB = 64
const LABELS = { one: 'x'.repeat(4_000), other: 'y'.repeat(4_000) }
const PARENTS = 50
const AT_ONCE = 32

let folder: string
let server: ChildProcess
let client: SnapshotsClient
beforeEach(async () => {
  folder = mkdtempSync(join(inMemory(), 'many-'))
  const script = join(import.meta.dirname, '../suites/snapshot-server.ts')
  // V8 shrinks its young generation with the heap; then collecting it is all that the server does.
  const heap = [`--max-old-space-size=${HEAP_MB}`, '--max-semi-space-size=16']
  server = spawn(process.execPath, [...heap, script, join(folder, 'root'), join(folder, 's'), '{}'], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(server.stdout as NonNullable<typeof server.stdout>, 'data')
  client = snapshotsClient(join(folder, 's'), 'ipfs')
})
afterEach(async () => {
  await client.close()
  if (server.exitCode === null && server.signalCode === null) {
    server.kill()
    await once(server, 'exit')
  }
  rmSync(folder, { recursive: true })
})

/** No disk is waited for: what is looked at is memory. */
function inMemory (): string {
  try {
    accessSync('/dev/shm', constants.W_OK)
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}

async function each (work: (at: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (next < COUNT) await work(next++) }))
}

test('the labels of all take more than the heap has', () => {
  expect(COUNT * JSON.stringify(LABELS).length).toBeGreaterThan(HEAP_MB * (1 << 20))
})

test('ten thousand snapshots are made, listed, walked and removed', async () => {
  for (let at = 0; at < PARENTS; at++) {
    await client.prepare(`extract-${at}`, at === 0 ? '' : `layer-${at - 1}`, {})
    await client.commit(`layer-${at}`, `extract-${at}`, {})
  }
  await each(async (at) => await client.prepare(`key-${at}`, `layer-${at % PARENTS}`, LABELS))

  const listed = new Set<string>()
  for await (const { name, labels } of client.list(['kind==active'])) {
    if (labels['one'] === LABELS.one && labels['other'] === LABELS.other) listed.add(name)
  }
  expect(listed.size).toBe(COUNT)
  expect((await client.blocks(['labels.other~=^x'])).length).toBe(0)
  for (let at = 0; at < COUNT; at += 97) expect(await client.stat(`key-${at}`)).toMatchObject({ parent: `layer-${at % PARENTS}` })

  await each(async (at) => { await client.remove(`key-${at}`) })
  for (let at = PARENTS - 1; at >= 0; at--) await client.remove(`layer-${at}`)
  await client.call('Cleanup', {})
  expect(await client.blocks([])).toEqual([])
  expect(readdirSync(join(folder, 'root/snapshots/ipfs'))).toEqual([])
  expect(server.exitCode).toBeNull()
}, 400_000)
