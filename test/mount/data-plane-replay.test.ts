// Many SIGKILLs of the worker, on a kernel that resends requests and as on one that cannot: no read fails, nothing is fetched
// twice, the times are printed. IPFS_SNAPSHOTTER_KILLS asks for more than the short form.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { DataPlaneFixture, dataPlaneSkipReason, expected, type Range, sha256Of, type TestFile, until } from '../suites/data-plane-fixture.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`data plane replay tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const KILLS = Number(process.env['IPFS_SNAPSHOTTER_KILLS'] ?? 24)
const WAITING = 4

suite.each([['resends', true], ['cannot resend', false]])('where the kernel %s', (kernel, resend) => {
  let plane: DataPlaneFixture
  let file: TestFile
  let handle: FileHandle

  beforeEach(async () => {
    plane = await DataPlaneFixture.start(30_000, { resend })
    file = await plane.addFile('a', Array.from({ length: 1 + KILLS * WAITING }, (_, index) => 9000 + index))
    handle = await open(plane.pathOf(file))
    await readStart()
  })
  afterEach(async () => { await handle.close(); await plane[Symbol.asyncDispose]() })

  const readStart = async (): Promise<string> => sha256Of((await handle.read(Buffer.alloc(4096), 0, 4096, 0)).buffer)
  const waitingRanges = (round: number): Range[] => Array.from({ length: WAITING }, (_, index) => (
    [file, file.chunks[1 + round * WAITING + index]?.dataOffset ?? 0, 4096]))

  test(`${KILLS} kills with reads provably unanswered: none fails, nothing is fetched twice`, async () => {
    const times: number[] = []
    for (let round = 0; round < KILLS; round++) {
      plane.holding = true
      const ranges = waitingRanges(round)
      const reader = await plane.startReader(ranges)
      await until(async () => await plane.waitingReads() === WAITING)
      const start = performance.now()
      process.kill(plane.plane.worker?.pid ?? 0, 'SIGKILL')
      expect(await readStart()).toEqual(expected([[file, 0, 4096]])[0])
      times.push(performance.now() - start)
      await until(async () => await plane.waitingReads() === WAITING)
      plane.holding = false
      for (let index = 0; index < WAITING; index++) await plane.supply(file, 1 + round * WAITING + index, 1)
      expect(await reader.outcomes).toEqual(expected(ranges))
    }
    const chunks = plane.asked.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index))
    expect(chunks.length).toBe(1 + KILLS * WAITING)
    expect(new Set(chunks).size).toBe(chunks.length)
    expect(plane.log().includes('answering what a worker left unanswered')).toBe(!resend)
    times.sort((a, b) => a - b)
    process.stdout.write(`kernel ${kernel}: ${KILLS} kills × ${WAITING} unanswered reads, 0 failed, 0 fetched again; ` +
      `a cached read resumed after ${times[times.length >> 1]?.toFixed(0)} ms (median), ${times.at(-1)?.toFixed(0)} ms (worst)\n`)
  }, 120_000)

  test('kills at any moment of busy cached reads lose none of them', async () => {
    const end = file.content.byteLength
    await plane.read([[file, 0, end]])
    const asked = plane.asked.length
    let kills = 0
    for (let round = 0; round < 5; round++) {
      const ranges: Range[] = Array.from({ length: 600 }, (_, index) => [file, index * 4099 % (end - 70_000), 1 + index * 113 % 70_000])
      const reader = await plane.startReader(ranges)
      for (let kill = 0; kill < 5; kill++, kills++) {
        await plane.killWorker()
        await delay((kill * 7 + round * 3) % 11)
      }
      expect(await reader.outcomes).toEqual(expected(ranges))
    }
    expect(plane.asked.length).toBe(asked)
    expect((await plane.plane.status()).restarts).toBe(kills)
  }, 120_000)

  test('a reader that is killed while a new worker waits for its chunk dies', async () => {
    plane.holding = true
    const reader = await plane.startReader(waitingRanges(0))
    await until(async () => await plane.waitingReads() === WAITING)
    await plane.killWorker()
    await until(async () => await plane.waitingReads() === WAITING)
    reader.child.kill('SIGKILL')
    await reader.outcomes
    await until(async () => await plane.waitingReads() === 0)
  })

  test('a reader that is killed while no worker runs dies', async () => {
    plane.holding = true
    const reader = await plane.startReader(waitingRanges(0))
    await until(async () => await plane.waitingReads() === WAITING)
    const worker = plane.plane.worker?.pid ?? 0
    process.kill(worker, 'SIGSTOP') // its INTERRUPTs stay unread
    reader.child.kill('SIGKILL')
    await delay(50)
    process.kill(worker, 'SIGKILL')
    await reader.outcomes
    await until(async () => await plane.waitingReads() === 0)
  })
})
