// CPU and memory of the processes of a run, found by the folder that their command lines name.
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { processesOf, type ProcessUsage, usageSince } from '../../bench/process-usage.ts'
import { sweep } from '../../bench/sweep.ts'

const folder = mkdtempSync(join(tmpdir(), 'process-usage-'))
let child: ChildProcess
let stranger: ChildProcess

beforeAll(async () => {
  child = spawn('sh', ['-c', 'sleep 600 & i=0; while [ $i -lt 400000 ]; do i=$((i + 1)); done; wait', folder], { stdio: 'ignore' })
  stranger = spawn('sleep', ['600'], { stdio: 'ignore' })
  for (let tries = 0; tries < 200 && processesOf(folder).length < 2; tries++) await sleep(20)
})
afterAll(() => {
  stranger.kill('SIGKILL')
  child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

test('finds those that name the folder and what they started, and nobody else', () => {
  const found = processesOf(folder)

  expect(found.map(({ name }) => name).sort()).toEqual(['sh', 'sleep'])
  expect(found.map(({ pid }) => pid)).toContain(child.pid)
  expect(found.map(({ pid }) => pid)).not.toContain(stranger.pid)
  for (const { peakBytes } of found) expect(peakBytes).toBeGreaterThan(100_000)
})

test('adds up what processes of one name spent since', () => {
  const usage = (pid: number, name: string, cpuSeconds: number, peakBytes: number): ProcessUsage => ({ pid, name, cpuSeconds, peakBytes })
  const spent = usageSince([usage(1, 'node serve', 2, 10)], [usage(1, 'node serve', 2.5, 30), usage(2, 'ctr', 1, 5), usage(3, 'ctr', 1, 7)])

  expect(spent).toEqual([usage(2, 'ctr', 2, 7), usage(1, 'node serve', 0.5, 30)])
})

test('sweeps the processes of a folder, says so, and spares strangers', async () => {
  const left = await sweep(folder)

  expect(left.some((line) => line.includes(`process ${child.pid ?? 0} sh`))).toBe(true)
  expect(processesOf(folder)).toEqual([])
  expect(stranger.exitCode ?? stranger.signalCode).toBe(null)
  expect(await sweep(folder)).toEqual([])
})
