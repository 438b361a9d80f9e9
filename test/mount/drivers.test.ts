// All three drivers on a real data plane: a layer that other tools made is mounted, equals its truth, and goes; what
// fails leaves nothing mounted, served or written.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MountableLayer, MountDriver } from '../../src/mount/driver.ts'
import { erofsDriver, erofsLoopDriver } from '../../src/mount/erofs-drivers.ts'
import { fuseDriver } from '../../src/mount/fuse-driver.ts'
import { placeChunks } from '../../src/layer/placed-chunks.ts'
import { TreeClient } from '../../src/mount/tree-client.ts'
import { execute } from '../e2e/command.ts'
import { mountsBelow } from '../suites/bind-layers.ts'
import { DataPlaneFixture, dataPlaneSkipReason } from '../suites/data-plane-fixture.ts'
import { type OpenedLayer, openFixture } from '../suites/fixture-layers.ts'
import { compareTrees, readTruth } from '../suites/tree-compare.ts'
import { dumpTree } from '../suites/tree-dump.ts'

const TRUTH = resolve(import.meta.dirname, '../fixtures/truth/layer0.json')
/** GNU tar keeps its time before 1970, containerd and we do not. */
const IGNORED = ['/', '/etc/empty']
const suite = dataPlaneSkipReason === null ? describe : describe.skip

suite.each([['erofs', erofsDriver], ['erofs-loop', erofsLoopDriver], ['fuse', fuseDriver]] as const)('the driver %s', (name, make) => {
  let fixture: DataPlaneFixture
  let driver: MountDriver
  let base: OpenedLayer
  let layer: MountableLayer
  let target: string
  let holding: boolean
  const compared = { ignoreMtimeOf: IGNORED, mtimeInMilliseconds: name === 'fuse' }

  beforeEach(async () => {
    fixture = await DataPlaneFixture.start()
    driver = make({ state: fixture.state, dataPlane: fixture.plane, native: fixture.native })
    base = (await openFixture('umoci-gzip.oci.tar'))[0] as OpenedLayer
    const { index, layout, data } = base
    const chunks = placeChunks(index, layout)
    layer = { index, layout, chunks, digest: Buffer.alloc(32, 5), cacheFolder: join(fixture.state, 'cache') }
    holding = false
    fixture.plane.onFetch(async (file, runs) => {
      if (holding) return await new Promise(() => {})
      for (const chunk of runs.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at))) {
        const { dataOffset = 0, size = 0 } = chunks[chunk] ?? {}
        await fixture.plane.supply(file, 'raw', chunk, 1, data.subarray(dataOffset, dataOffset + size))
      }
    })
    target = join(fixture.state, 'target')
    mkdirSync(target)
  })
  afterEach(async () => {
    await new TreeClient(fixture.state).end()
    await fixture[Symbol.asyncDispose]()
  })

  const traces = async (): Promise<string[]> => [
    ...mountsBelow(target), ...await fixture.plane.list(), ...readdirSync(join(fixture.state, 'meta'))
  ]

  test('mounts a layer that equals its truth, read-only, and unmounts it without a trace', async () => {
    expect(driver.name).toBe(name)
    await driver.mount(layer, target)
    expect(await fixture.plane.list()).toEqual([driver.fileName(target)])
    expect(compareTrees(await dumpTree(target), await readTruth(TRUTH), compared)).toEqual([])
    expect(() => { rmSync(join(target, 'etc'), { recursive: true }) }).toThrow(/read-only/i)
    await driver.unmount(target)
    expect(await traces()).toEqual([])
    await driver.unmount(target) // again: nothing to do
  })

  test('mounts one layer on two targets, whose files have names of their own', async () => {
    const second = join(fixture.state, 'second')
    mkdirSync(second)
    await driver.mount(layer, target)
    await driver.mount(layer, second)
    await driver.unmount(target)
    expect(await fixture.plane.list()).toEqual([driver.fileName(second)])
    expect(compareTrees(await dumpTree(second), await readTruth(TRUTH), compared)).toEqual([])
    await driver.unmount(second)
    expect(await traces()).toEqual([])
  })

  test('leaves nothing when the target is not there', async () => {
    rmSync(target, { recursive: true })
    await expect(driver.mount(layer, target)).rejects.toMatchObject({ code: 'MOUNT_FAILED', message: expect.stringMatching(/ENOENT|does not exist/) })
    expect(await traces()).toEqual([])
  })

  test('leaves nothing when the data plane refuses the table', async () => {
    const chunks = [...layer.chunks].reverse()
    await expect(driver.mount({ ...layer, chunks }, target)).rejects.toMatchObject({ code: 'LAYER_INVALID' })
    expect(await traces()).toEqual([])
  })

  test('leaves a target that is mounted already as it is, when the file has another table', async () => {
    await driver.mount(layer, target)
    const other = { ...layer, chunks: layer.chunks.slice(1) }
    await expect(driver.mount(other, target)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(compareTrees(await dumpTree(target), await readTruth(TRUTH), compared)).toEqual([])
    await driver.unmount(target)
    expect(await traces()).toEqual([])
  })

  test('unmounts while a read waits, and the read ends with EIO', async () => {
    holding = true
    await driver.mount(layer, target)
    const path = [...await readTruth(TRUTH)].find(([, { type, size }]) => type === 'file' && (size ?? 0) > 65_536)?.[0] ?? ''
    const reading = execute('cat', [join(target, path)], 20_000)
    while (await fixture.waitingReads() === 0) await sleep(10)
    await driver.unmount(target).catch(() => {}) // the reader still has a file open there
    expect(await reading).toMatchObject({ code: 1, stderr: expect.stringContaining('Input/output error') })
    await driver.unmount(target)
    expect(await traces()).toEqual([])
  })
})
