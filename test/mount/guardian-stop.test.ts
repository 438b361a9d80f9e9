import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { readFileSync } from 'node:fs'
import { mountsBelow } from '../suites/bind-layers.ts'
import { DataPlaneFixture, dataPlaneSkipReason, until } from '../suites/data-plane-fixture.ts'

const suite = dataPlaneSkipReason === null ? describe : describe.skip

suite('the guardian', () => {
  let plane: DataPlaneFixture
  beforeEach(async () => { plane = await DataPlaneFixture.start() })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  test('unmounts everything also when the worker that told it to stop is dead already', async () => {
    const { pid = 0, guardianPid = 0 } = plane.plane.worker ?? {}
    expect(mountsBelow(plane.state)).toHaveLength(2)
    process.kill(guardianPid, 'SIGSTOP')
    await plane.plane.stop() // the worker passes it on, the guardian does not read it yet
    process.kill(pid, 'SIGKILL')
    await until(() => /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
    process.kill(guardianPid, 'SIGCONT')
    await until(() => plane.log().includes('"event":"guardian ended"'))
    expect(mountsBelow(plane.state)).toEqual([])
  }, 60_000)
})
