// The self-test says why a driver is rejected, and cleans up after itself and after one that was killed.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SnapshotterError } from '../../src/base/errors.ts'
import { type Log, silentLog } from '../../src/base/log.ts'
import type { MountDriver } from '../../src/mount/driver.ts'
import { erofsDriver, erofsLoopDriver } from '../../src/mount/erofs-drivers.ts'
import { fuseDriver } from '../../src/mount/fuse-driver.ts'
import { chooseDriver } from '../../src/mount/self-test.ts'
import { SelfTestFiles } from '../../src/mount/self-test-files.ts'
import { TreeClient } from '../../src/mount/tree-client.ts'
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
      imageForm: null,
      fileName: () => 'broken.data',
      mount: async () => { throw new SnapshotterError('ENVIRONMENT', 'this kernel mounts no files') },
      unmount: async () => {},
      serves: async () => true
    }

    await expect(choose(broken)).rejects.toMatchObject({ code: 'ENVIRONMENT', message: expect.stringContaining('(erofs: this kernel mounts no files)') })
    expect(existsSync(folder())).toBe(false)
    await expect(choose(broken, loopDriver())).resolves.toMatchObject({ name: 'erofs-loop' })
  })

  test('comes down to fuse where no EROFS mounts, and its one log line names each reason', async () => {
    const broken = (name: MountDriver['name']): MountDriver => ({
      ...loopDriver(), name, mount: async () => { throw new SnapshotterError('ENVIRONMENT', `no ${name} here`) }
    })
    const { state, native, plane: dataPlane } = plane
    const lines: Array<readonly [object, string]> = []
    const files = new SelfTestFiles(dataPlane)
    dataPlane.onFetch(async (name, runs) => { await files.answer(name, runs) })
    const log = { ...silentLog, info: (facts: object, text: string) => { lines.push([facts, text]) } } as Log
    const candidates = [broken('erofs'), broken('erofs-loop'), fuseDriver({ state, native, dataPlane })]
    try {
      await expect(chooseDriver('auto', candidates, { state, dataPlane, native, files, log })).resolves.toMatchObject({ name: 'fuse' })
    } finally {
      await new TreeClient(state).end()
    }
    expect(lines).toEqual([[
      { driver: 'fuse', wanted: 'auto', rejected: ['erofs: no erofs here', 'erofs-loop: no erofs-loop here'] },
      'mount driver fuse: the first that passed its self-test'
    ]])
    expect(mountsBelow(folder())).toEqual([])
  })

  test('clears away what a daemon left that was killed in it', async () => {
    const merged = join(folder(), 'one', 'merged')
    mkdirSync(merged, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', 'left', merged])

    await expect(choose(loopDriver())).resolves.toMatchObject({ name: 'erofs-loop' })
    expect(mountsBelow(folder())).toEqual([])
    expect(existsSync(folder())).toBe(false)
  })

  /** Mounts files of the test's choice instead of the layer. */
  const pretender = (name: MountDriver['name'], files: Readonly<Record<string, string>>): MountDriver => ({
    name,
    imageForm: null,
    fileName: () => `${name}.data`,
    mount: async (_layer, target) => { for (const [path, content] of Object.entries(files)) writeFileSync(join(target, path), content) },
    unmount: async () => {},
    serves: async () => true
  })
  const GOOD = 'every byte of this was checked\n'

  test('rejects a driver that shows zeros, or anything, where a read must fail', async () => {
    const zeros = pretender('erofs', { good: GOOD, bad: '\0'.repeat(20) })
    await expect(choose(zeros)).rejects.toMatchObject({ code: 'ENVIRONMENT', message: expect.stringContaining('this kernel hides missing data') })
    const absent = pretender('erofs', { good: GOOD })
    await expect(choose(absent)).rejects.toMatchObject({ message: expect.stringContaining('a read that must fail with EIO gave ENOENT') })
    expect(existsSync(folder())).toBe(false)
  })

  test('rejects a driver that shows other bytes', async () => {
    await expect(choose(pretender('erofs', { good: 'other bytes' }))).rejects.toMatchObject({ message: expect.stringContaining('gave other bytes') })
  })

  test('takes the first driver that passes, and only the one that was wished for', async () => {
    const { state, native, plane: dataPlane } = plane
    const first = erofsDriver({ state, dataPlane, native })
    await expect(choose(first, loopDriver())).resolves.toBe(first)
    const files = new SelfTestFiles(dataPlane)
    dataPlane.onFetch(async (name, runs) => { await files.answer(name, runs) })
    const parts = { state, dataPlane, native, files, log: silentLog }
    await expect(chooseDriver('erofs-loop', [first, loopDriver()], parts)).resolves.toMatchObject({ name: 'erofs-loop' })
    await expect(chooseDriver('erofs-loop', [first], parts)).rejects.toMatchObject({ code: 'ENVIRONMENT' })
    expect(await dataPlane.list()).toEqual([])
    expect(mountsBelow(folder())).toEqual([])
  })
})
