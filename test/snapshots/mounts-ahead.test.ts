// Layers that are mounted before they are asked for: who asks gets them, who does not leaves nothing behind.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { SnapshotterError } from '../../src/base/errors.ts'
import { mountsBelow } from '../suites/bind-layers.ts'
import { canMount } from '../suites/mounts.ts'
import { REF, type SnapshotScene, snapshotScene } from '../suites/snapshot-scene.ts'

let scene: SnapshotScene
let ended: PromiseWithResolvers<undefined>
beforeEach(async () => {
  scene = await snapshotScene()
  ended = Promise.withResolvers()
  ended.promise.catch(() => {})
})
afterEach(async () => { await scene.end() })
const suite = canMount ? describe : describe.skip

const prepare = async (chainId: string, parent = ''): Promise<unknown> => await scene.sn().prepare(`extract ${chainId}`, parent, { [REF]: chainId })
const nameOf = (chainId: string): string => scene.all().find(({ labels }) => labels[REF] === chainId)?.name ?? ''
const expectAll = (...chainIds: readonly string[]): void => {
  scene.sn().expect(chainIds.map((chainId) => ({ chainId, opened: Promise.resolve() })), ended.promise)
}
async function until (holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !holds(); tries++) await new Promise((resolve) => setTimeout(resolve, 10))
  expect(holds()).toBe(true)
}

suite('mounts ahead', () => {
  test('are made before anybody asks, and are what Prepare commits, each under its parent', async () => {
    const [base, upper] = [scene.layer('base'), scene.layer('upper')]
    expectAll(base, upper)
    await until(() => mountsBelow(scene.root).length === 2)
    expect(scene.all()).toEqual([])
    await expect(prepare(base)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(prepare(upper, nameOf(base))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(scene.layers.requests).toHaveLength(2)
    ended.resolve(undefined)
    await scene.sn().cleanup()
    expect(mountsBelow(scene.root)).toHaveLength(2)
    expect(scene.sn().lazyPlaces().map(({ chainId }) => chainId)).toEqual([base, upper])
  })

  test.each(['ends', 'fails'])('are undone when their pull %s and nobody asked for them', async (how) => {
    expectAll(scene.layer('base'), scene.layer('upper'))
    await until(() => mountsBelow(scene.root).length === 2)
    if (how === 'ends') ended.resolve(undefined)
    else ended.reject(new Error('the pull failed'))
    await until(() => mountsBelow(scene.root).length === 0 && scene.directories().length === 0)
    expect(scene.all()).toEqual([])
  })

  test('are not swept while their pull goes on, and are after a crash', async () => {
    expectAll(scene.layer('base'))
    await until(() => mountsBelow(scene.root).length === 1)
    await scene.sn().cleanup()
    expect(mountsBelow(scene.root)).toHaveLength(1)
    await scene.restart()
    expect(mountsBelow(scene.root)).toEqual([])
    expect(scene.all()).toEqual([])
  })

  test('that fail are made once more by whoever asks, who hears why', async () => {
    const base = scene.layer('base')
    scene.layers.beforeMount = async () => { throw new SnapshotterError('TOC_INVALID', 'it lies') }
    expectAll(base)
    await until(() => scene.layers.requests.length === 1)
    await expect(prepare(base)).rejects.toMatchObject({ code: 'TOC_INVALID' })
    scene.layers.beforeMount = async () => {}
    await expect(prepare(base)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(mountsBelow(scene.root)).toHaveLength(1)
  })

  test('of a layer that was caught lying are taken away and not committed', async () => {
    const base = scene.layer('base')
    expectAll(base)
    await until(() => mountsBelow(scene.root).length === 1)
    const [place] = scene.snapshotters().lazyPlaces(base)
    await scene.snapshotters().revoke(place?.target ?? '', new SnapshotterError('DIFFID_MISMATCH', 'it lied'))
    expect(mountsBelow(scene.root)).toEqual([])
    scene.layers.beforeMount = async () => { throw new SnapshotterError('DIFFID_MISMATCH', 'it lied') }
    await expect(prepare(base)).rejects.toMatchObject({ code: 'DIFFID_MISMATCH' })
    expect(scene.all()).toEqual([])
  })

  test('are not made of what is mounted already', async () => {
    const base = scene.layer('base')
    await expect(prepare(base)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expectAll(base, scene.layer('upper'))
    await until(() => mountsBelow(scene.root).length === 2)
    expect(scene.layers.requests).toHaveLength(2)
  })
})
