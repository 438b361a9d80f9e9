// What dies and comes back: the worker (while reads are provably unanswered, and again during recovery), control, the guardian.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { DataPlane } from '../../src/mount/data-plane.ts'
import { DataPlaneFixture, dataPlaneSkipReason, expected, type Range, type TestFile, until } from '../suites/data-plane-fixture.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`data plane kill tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const SIZES = Array.from({ length: 40 }, (_, index) => 20_000 + index * 3001)
const whole = (file: TestFile): Range[] => [[file, 0, file.content.byteLength]]
const startOf = (file: TestFile, chunk: number): number => file.chunks[chunk]?.dataOffset ?? 0
const perChunk = (file: TestFile, from: number, to: number): Range[] =>
  Array.from({ length: to - from }, (_, index) => [file, startOf(file, from + index), 4096])

suite.each([['can', true], ['cannot', false]])('a killed worker, where the kernel %s resend,', (_, resend) => {
  let plane: DataPlaneFixture

  beforeEach(async () => { plane = await DataPlaneFixture.start(30_000, { resend }) })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  test('costs no failed read and no second fetch, with uncached reads provably unanswered', async () => {
    const file = await plane.addFile('a', SIZES)
    const cached = perChunk(file, 0, 10)
    expect(await plane.read(cached)).toEqual(expected(cached))
    const askedBefore = plane.asked.length
    plane.holding = true
    const ranges = perChunk(file, 10, 26)
    const reader = await plane.startReader(ranges)
    await until(async () => await plane.waitingReads() === ranges.length)
    const unanswered = await plane.waitingReads()
    process.stdout.write(`unanswered uncached reads when the worker was killed: ${unanswered}\n`)
    expect(unanswered).toBeGreaterThanOrEqual(8)

    await plane.killWorker()
    await until(async () => await plane.waitingReads() === unanswered)
    await plane.release()

    expect(await reader.outcomes).toEqual(expected(ranges))
    expect(await plane.read(cached)).toEqual(expected(cached))
    const fetched = plane.asked.slice(askedBefore).flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index))
    expect(fetched.sort((a, b) => a - b)).toEqual(ranges.map((_, index) => 10 + index))
    expect((await plane.plane.status()).restarts).toBe(1)
  })

  test('may be killed again during recovery, many times', async () => {
    const file = await plane.addFile('a', SIZES)
    plane.holding = true
    const ranges = perChunk(file, 0, 40)
    const reader = await plane.startReader(ranges)
    await until(async () => await plane.waitingReads() === ranges.length)
    for (let round = 0; round < 8; round++) {
      await plane.killWorker()
      if (round % 2 === 0) await plane.supply(file, round, 1)
    }
    await plane.release()

    expect(await reader.outcomes).toEqual(expected(ranges))
    const times = plane.asked.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index))
    expect(new Set(times).size).toBe(times.length)
  })

  test('loses no supply that it had received and not stored', async () => {
    const file = await plane.addFile('a', Array.from({ length: 60 }, () => 400_000))
    const reader = await plane.startReader(whole(file))
    await until(() => plane.asked.length > 0)
    for (let round = 0; round < 5; round++) {
      await delay(30)
      await plane.killWorker()
    }

    expect(await reader.outcomes).toEqual(expected(whole(file)))
    const times = plane.asked.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index))
    expect(new Set(times).size).toBe(times.length)
  })

  test('does not trouble readers of cached chunks, also while control is away', async () => {
    const file = await plane.addFile('a', SIZES)
    await plane.read(whole(file))
    await plane.plane.close()
    const worker = Number(execFileSync('pgrep', ['-P', readFileSync(join(plane.state, 'guardian.pid'), 'utf8').trim()], { encoding: 'utf8' }))
    const ranges = Array.from({ length: 30 }, () => whole(file)[0]).filter((range) => range !== undefined)
    const reader = await plane.startReader(ranges)
    process.kill(worker, 'SIGKILL')

    expect(await reader.outcomes).toEqual(expected(ranges))
    await plane.reconnect()
  })

  test('that crashes by itself again and again ends the connection instead of hanging its readers', async () => {
    const file = await plane.addFile('a', SIZES)
    plane.holding = true
    const reader = await plane.startReader([[file, 0, 4096]])
    await until(async () => await plane.waitingReads() === 1)
    const guardian = plane.plane.worker?.guardianPid ?? 0
    const replaced = new Promise<undefined>((resolve) => { plane.plane.onReplaced(() => { resolve(undefined) }) })
    let worker = plane.plane.worker
    for (let crashes = 0; worker?.guardianPid === guardian; crashes++) {
      const { pid } = worker
      process.kill(pid, 'SIGTERM') // as a crash counts whatever nobody did with SIGKILL
      await until(() => plane.plane.worker !== null && plane.plane.worker.pid !== pid)
      worker = plane.plane.worker
      expect(crashes).toBeLessThan(10)
    }

    expect(['ECONNABORTED', 'ENOTCONN']).toContain((await reader.outcomes)[0])
    expect(plane.log()).toContain('giving up: the FUSE connection ends')
    await replaced
    expect(await plane.plane.list()).toEqual([])
  })
})

suite('control', () => {
  let plane: DataPlaneFixture

  beforeEach(async () => { plane = await DataPlaneFixture.start() })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  test('may go and come back: what was missed meanwhile is asked for then', async () => {
    const file = await plane.addFile('a', SIZES)
    await plane.read(perChunk(file, 0, 5))
    plane.holding = true
    const early = await plane.startReader(perChunk(file, 10, 14))
    await until(async () => await plane.waitingReads() === 4)
    await plane.plane.close()
    const late = await plane.startReader(perChunk(file, 20, 24))
    expect(await plane.read(perChunk(file, 0, 5))).toEqual(expected(perChunk(file, 0, 5)))
    plane.holding = false
    plane.asked.length = 0
    await plane.reconnect()

    expect(await early.outcomes).toEqual(expected(perChunk(file, 10, 14)))
    expect(await late.outcomes).toEqual(expected(perChunk(file, 20, 24)))
    const again = plane.asked.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index))
    expect(again.filter((chunk) => chunk >= 10 && chunk < 14).sort((a, b) => a - b)).toEqual([10, 11, 12, 13])
    expect(again.some((chunk) => chunk < 5)).toBe(false)
  })

  test('that comes anew replaces the one before', async () => {
    await plane.addFile('a', SIZES)
    const second = await DataPlane.connect({ state: plane.state, native: null, readDeadlineMs: 1000 })

    expect(await second.list()).toEqual(['a'])
    await second.close()
  })

  test('requests wait out a replaced worker', async () => {
    await plane.addFile('a', SIZES)
    const pid = plane.plane.worker?.pid ?? 0
    process.kill(pid, 'SIGKILL')

    expect(await plane.plane.list()).toEqual(['a'])
    expect(await plane.plane.status()).toMatchObject({ restarts: 1, bytesServedUnverified: 0 })
  })
})

suite('the guardian', () => {
  test('is alone on its state directory, and gives it back when it ends', async () => {
    await using plane = await DataPlaneFixture.start()

    expect(await plane.native.startGuardian(plane.state)).toBe(false)
    await plane.plane.close()
    expect(await plane.native.stopGuardian(plane.state)).toBe(true)
    expect(await plane.native.stopGuardian(plane.state)).toBe(false)
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(plane.state)
    expect(existsSync(join(plane.state, 'data.sock'))).toBe(false)
  })

  test('killed, leaves errors and no hang; control starts another one, which clears the dead mounts', async () => {
    await using plane = await DataPlaneFixture.start()
    const file = await plane.addFile('a', SIZES)
    plane.holding = true
    const reader = await plane.startReader([[file, 0, 4096]])
    await until(async () => await plane.waitingReads() === 1)
    const replaced = new Promise<undefined>((resolve) => { plane.plane.onReplaced(() => { resolve(undefined) }) })
    process.kill(plane.plane.worker?.guardianPid ?? 0, 'SIGKILL')
    expect(['ECONNABORTED', 'ENOTCONN']).toContain((await reader.outcomes)[0])
    await replaced

    expect(await plane.plane.list()).toEqual([])
    plane.holding = false
    await plane.plane.addFile('a', file.cache, file.table)
    expect(await plane.read(whole(file))).toEqual(expected(whole(file)))
    const points = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter((line) => line.includes(plane.state))
    expect(points.length).toBe(2)
  })

  test('ignores SIGHUP and SIGINT; SIGTERM unmounts all below its directory, and control leaves it at that', async () => {
    await using plane = await DataPlaneFixture.start()
    const inner = join(plane.state, 'with space', 'inner')
    mkdirSync(inner, { recursive: true })
    await plane.native.run(['mount-ramfs', inner])
    writeFileSync(join(inner, 'x'), 'x')
    const pid = plane.plane.worker?.guardianPid ?? 0
    process.kill(pid, 'SIGHUP')
    process.kill(pid, 'SIGINT')
    expect(await plane.plane.list()).toEqual([])
    process.kill(pid, 'SIGTERM')
    await until(() => plane.log().includes('guardian ended'))
    await delay(200)

    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(plane.state)
    expect(existsSync(join(inner, 'x'))).toBe(false)
    expect(existsSync(join(plane.state, 'data.sock'))).toBe(false)
  })

  test('keeps its socket to root and its state to itself', async () => {
    await using plane = await DataPlaneFixture.start()
    const mode = execFileSync('stat', ['-c', '%a %U', join(plane.state, 'data.sock')], { encoding: 'utf8' }).trim()

    expect(mode).toBe('600 root')
  })
})
