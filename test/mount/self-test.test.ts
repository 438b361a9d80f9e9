// The self-test says why a driver is rejected, and cleans up after itself and after one that was killed.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import type { MountDriver } from '../../src/mount/driver.ts'
import { erofsLoopDriver } from '../../src/mount/erofs-drivers.ts'
import { chooseDriver } from '../../src/mount/self-test.ts'
import { SelfTestFiles } from '../../src/mount/self-test-files.ts'
import { mountsBelow } from '../suites/bind-layers.ts'
import { DataPlaneFixture, dataPlaneSkipReason } from '../suites/data-plane-fixture.ts'

const suite = dataPlaneSkipReason === null ? describe : describe.skip

suite('the self-test', () => {
  let plane: DataPlaneFixture
  beforeEach(async () => { plane = await DataPlaneFixture.start() })
  afterEach(async () => { await plane[Symbol.asyncDispose]() })

  const choose = async (...candidates: MountDriver[]): Promise<MountDriver> => {
    const { state, native, plane: dataPlane } = plane
    const files = new SelfTestFiles(dataPlane)
    dataPlane.onFetch(async (name, runs) => { await files.answer(name, runs) })
    return await chooseDriver('auto', candidates, { state, dataPlane, native, files, log: silentLog })
  }
  const loopDriver = (): MountDriver => erofsLoopDriver({ state: plane.state, dataPlane: plane.plane, native: plane.native })
  const folder = (): string => join(plane.state, 'self-test')

  test('gives the reason of the driver that cannot mount, not that of cleaning up', async () => {
    const broken: MountDriver = {
      name: 'erofs',
      fileName: () => 'broken.data',
      mount: async () => { throw new SnapshotterError('ENVIRONMENT', 'this kernel mounts no files') },
      unmount: async () => {}
    }

    await expect(choose(broken)).rejects.toMatchObject({ code: 'ENVIRONMENT', message: expect.stringContaining('(erofs: this kernel mounts no files)') })
    expect(existsSync(folder())).toBe(false)
    await expect(choose(broken, loopDriver())).resolves.toMatchObject({ name: 'erofs-loop' })
  })

  test('clears away what a daemon left that was killed in it', async () => {
    const merged = join(folder(), 'one', 'merged')
    mkdirSync(merged, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', 'left', merged])

    await expect(choose(loopDriver())).resolves.toMatchObject({ name: 'erofs-loop' })
    expect(mountsBelow(folder())).toEqual([])
    expect(existsSync(folder())).toBe(false)
  })
})
