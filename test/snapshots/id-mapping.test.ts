import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chownSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { requireShifting } from '../../src/daemon/id-shifting.ts'
import { idMapOf, LABEL_GID_MAPPING, LABEL_UID_MAPPING } from '../../src/snapshots/id-mapping.ts'
import { canMount } from '../suites/mounts.ts'
import { REF, type SnapshotScene, snapshotScene } from '../suites/snapshot-scene.ts'

const asRoot = canMount ? test : test.skip
const labelled = (uids: string, gids = uids): Record<string, string> => ({ [LABEL_UID_MAPPING]: uids, [LABEL_GID_MAPPING]: gids })
const OPTIONS = ['uidmap=0:1000:65536', 'gidmap=0:2000:65536']
const LABELS = labelled('0:1000:65536', '0:2000:65536')

describe('the labels', () => {
  test('say who root is', () => {
    expect(idMapOf({})).toBeNull()
    expect(idMapOf(LABELS)).toEqual({ root: { uid: 1000, gid: 2000 }, options: OPTIONS })
    expect(idMapOf(labelled('5:70000:10,0:9:5'))?.root).toEqual({ uid: 9, gid: 9 })
  })

  test.each([
    ['one alone', { [LABEL_UID_MAPPING]: '0:1:2' }, /snapshot\/gidmapping is missing/],
    ['no mapping of root', labelled('1:1000:65536'), /root is not mapped/],
    ['a range without ids', labelled('0:1000:0'), /CONTAINER:HOST:SIZE/],
    ['a range beyond 32 bits', labelled('0:4294967290:65536'), /CONTAINER:HOST:SIZE/],
    ['a sign', labelled('0:-1:65536'), /CONTAINER:HOST:SIZE/],
    ['another option of mount', labelled('0:1000:65536,index=off'), /CONTAINER:HOST:SIZE/],
    ['more ranges than a kernel takes', labelled(Array(341).fill('0:1:1').join(',')), /341 mappings, limit 340/]
  ])('are refused: %s', (_what, labels, why) => {
    expect(() => idMapOf(labels)).toThrow(why)
  })
})

describe('a snapshot with the labels', () => {
  let scene: SnapshotScene
  beforeEach(async () => { scene = await snapshotScene() })
  afterEach(async () => { await scene.end() })

  asRoot('shifts what lies below it, and its own files belong to the container\'s root', async () => {
    const chainId = scene.layer('base')
    await expect(scene.sn().prepare('x', '', { [REF]: chainId })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    const mounts = await scene.sn().prepare('a', chainId, LABELS)
    expect(mounts[0]?.options.slice(-2)).toEqual(OPTIONS)
    const upper = mounts[0]?.options.find((text) => text.startsWith('upperdir='))?.slice(9) ?? ''
    expect(statSync(upper)).toMatchObject({ uid: 1000, gid: 2000 })
    await scene.restart()
    expect(await scene.sn().mounts('a')).toEqual(mounts)
    expect((await scene.sn().view('v', chainId, LABELS))[0]?.options).toEqual(['ro', 'rbind', ...OPTIONS])
  })

  asRoot('shifts nothing twice, when the client made a shifted copy of the image', async () => {
    const [copy] = await scene.sn().prepare('copy-remap', '', {})
    chownSync(copy?.source ?? '', 1000, 2000)
    await scene.sn().commit('copy', 'copy-remap', {})
    for (const mounts of [await scene.sn().prepare('a', 'copy', LABELS), await scene.sn().view('v', 'copy', LABELS)]) {
      expect(mounts[0]?.options.filter((text) => /map=/.test(text))).toEqual([])
    }
  })

  test('is refused before anything is made of it', async () => {
    await scene.sn().prepare('b', '', {})
    await scene.sn().commit('base', 'b', {})
    const before = scene.directories()
    await expect(scene.sn().prepare('a', 'base', { [LABEL_UID_MAPPING]: '0:1:2' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect([scene.directories(), scene.all().map(({ name }) => name)]).toEqual([before, ['base']])
  })
})

describe('a node', () => {
  const refusal = async (kernel: string, driver: string, onLazyLayers: boolean, address = '/nowhere.sock'): Promise<string> =>
    await requireShifting({ driver, containerdAddress: address, log: silentLog }, kernel)(onLazyLayers)
      .then(() => 'fine', (error: unknown) => error instanceof SnapshotterError ? error.line : String(error))

  test('says what it cannot: an old kernel, the driver fuse under lazy layers', async () => {
    expect(await refusal('5.18.0-1-amd64', 'erofs', true)).toMatch(/^ENVIRONMENT: Linux 5\.18\.0-1-amd64 .*5\.19 can; leave out --remap-labels/)
    expect(await refusal('6.18.1', 'fuse', true)).toMatch(/^UNSUPPORTED: .*mount driver fuse/)
    expect(await refusal('6.18.1', 'fuse', false)).toBe('fine')
  })

  test('whose containerd does not answer lets the mount show', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'shift-'))
    const mute = createServer((socket) => { socket.destroy() }).listen(join(folder, 's'))
    await new Promise((resolve) => { mute.once('listening', resolve) })
    expect(await refusal('5.19.0', 'erofs', true, join(folder, 's'))).toBe('fine')
    mute.close()
    rmSync(folder, { recursive: true })
  })
})
