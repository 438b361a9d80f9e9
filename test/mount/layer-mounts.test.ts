// Layers mounted, supplied and found again by the next daemon: a real data plane and kernel, blocks in memory.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { mkdirSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Pack, pack } from 'tar-stream'
import { silentLog } from '../../src/base/log.ts'
import { LayerOpener, type OpenedLayer } from '../../src/cache/layer-opener.ts'
import { LayerStore } from '../../src/cache/layer-store.ts'
import { Seal } from '../../src/cache/seal.ts'
import { erofsDriver } from '../../src/mount/erofs-drivers.ts'
import { LayerMounts } from '../../src/mount/layer-mounts.ts'
import { remountAll } from '../../src/mount/remount.ts'
import { Supplier } from '../../src/mount/supply.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { imageLayers } from '../layer/fixtures.ts'
import { mountsBelow } from '../suites/bind-layers.ts'
import { DataPlaneFixture, dataPlaneSkipReason, until } from '../suites/data-plane-fixture.ts'
import { compareTrees, readTruth } from '../suites/tree-compare.ts'
import { dumpTree } from '../suites/tree-dump.ts'

const TRUTH = resolve(import.meta.dirname, '../fixtures/truth/layer0.json')
const IGNORED = ['/', '/etc/empty'] // GNU tar keeps its time before 1970, containerd and we do not
const suite = dataPlaneSkipReason === null ? describe : describe.skip

suite.each(['estargz-64k.oci.tar', 'umoci-gzip.oci.tar'])('layers of %s', (image) => {
  let fixture: DataPlaneFixture
  let blocks: MemoryBlocks
  let layer: OpenedLayer
  let mounted: number
  let mounts: LayerMounts
  let target: string

  beforeEach(async () => {
    fixture = await DataPlaneFixture.start(5000)
    blocks = new MemoryBlocks()
    const store = new LayerStore({ root: fixture.state, seal: new Seal(Buffer.alloc(32)), log: silentLog })
    await store.open()
    const opener = new LayerOpener({ store, log: silentLog })
    mounted = 0
    ;[layer] = await Promise.all(imageLayers(image).map(async ({ blob, ...rest }) =>
      await opener.open({ ...rest, chainId: rest.diffId, size: blob.byteLength, cid: blocks.putFile(blob, 65_536) }, blocks))) as [OpenedLayer]
    target = join(fixture.state, 'target')
    mkdirSync(target)
    mounts = daemon()
  })
  afterEach(async () => {
    mounts.leave()
    await fixture[Symbol.asyncDispose]()
  })

  /** What the next `serve` builds. */
  function daemon (): LayerMounts {
    const { state, native, plane: dataPlane } = fixture
    const supplier = new Supplier({ sink: dataPlane, log: silentLog, patienceMs: 500 })
    dataPlane.onFetch(async (name, runs) => { await supplier.answer(name, runs) })
    const driver = erofsDriver({ state, dataPlane, native })
    const counting = { ...driver, mount: async (...request: Parameters<typeof driver.mount>) => { mounted++; await driver.mount(...request) } }
    return new LayerMounts({ driver: counting, drivers: [counting], dataPlane, supplier, log: silentLog })
  }

  const differences = async (): Promise<string[]> =>
    compareTrees(await dumpTree(target), await readTruth(TRUTH), { ignoreMtimeOf: IGNORED, mtimeInSeconds: image.startsWith('estargz') })

  test('a layer is mounted, supplied from its blob, checked and unmounted', async () => {
    await expect(mounts.check(target)).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(target) })
    await mounts.mount({ layer, lowers: [], blocks }, target)
    await mounts.check(target)
    expect(await differences()).toEqual([])
    expect([...mounts.layers().values()]).toEqual([layer])
    expect(await fixture.plane.status()).toMatchObject({ bytesServedUnverified: 0, violations: 0 })

    await mounts.unmount(target)
    expect(mountsBelow(target)).toEqual([])
    expect(await fixture.plane.list()).toEqual([])
    expect(readdirSync(join(fixture.state, 'meta'))).toEqual([])
    expect([...mounts.layers()]).toEqual([])
    await mounts.unmount(target)
  })

  test('the next daemon goes on with a mount that lives, and makes a dead one anew', async () => {
    await mounts.mount({ layer, lowers: [], blocks }, target)
    expect(mounted).toBe(1)
    mounts.leave()
    await fixture.reconnect(5000)
    mounts = daemon()
    await mounts.mount({ layer, lowers: [], blocks }, target)
    expect(mounted).toBe(1)
    expect(await differences()).toEqual([])

    mounts.leave()
    await fixture.plane.removeFile([...await fixture.plane.list()][0] ?? '')
    mounts = daemon()
    await mounts.mount({ layer, lowers: [], blocks }, target)
    expect(mounted).toBe(2)
    expect(mountsBelow(target)).toEqual([target])
    expect(await differences()).toEqual([])
  })

  test('a mount that fails is forgotten: nothing is served or supplied for it', async () => {
    const gone = join(fixture.state, 'gone')
    await expect(mounts.mount({ layer, lowers: [], blocks }, gone)).rejects.toMatchObject({ code: 'MOUNT_FAILED' })
    expect([...mounts.layers()]).toEqual([])
    expect(await fixture.plane.list()).toEqual([])
    await mounts.mount({ layer, lowers: [], blocks }, target)
    expect(await differences()).toEqual([])
  })

  test('a layer is mounted again after its guardian was killed; one that was unmounted meanwhile is not', async () => {
    const second = join(fixture.state, 'second')
    mkdirSync(second)
    await mounts.mount({ layer, lowers: [], blocks }, target)
    await mounts.mount({ layer, lowers: [], blocks }, second)
    const restored = new Promise<undefined>((resolve) => {
      fixture.plane.onReplaced(() => {
        void mounts.unmount(second).then(async () => { await remountAll(mounts, silentLog) }).then(() => { resolve(undefined) })
      })
    })
    const start = performance.now()
    process.kill(fixture.plane.worker?.guardianPid ?? 0, 'SIGKILL')
    await restored
    process.stdout.write(`guardian killed: its layer was mounted again after ${(performance.now() - start).toFixed(0)} ms\n`)
    expect(mountsBelow(target)).toEqual([target])
    expect(mountsBelow(second)).toEqual([])
    expect(await fixture.plane.list()).toHaveLength(1)
    await mounts.check(target)
    expect(await differences()).toEqual([])
  })

  test('a worker that dies is no reason to call a layer unreadable', async () => {
    await mounts.mount({ layer, lowers: [], blocks }, target)
    await fixture.killWorker()
    await mounts.check(target)
    expect(await differences()).toEqual([])
  })
})

suite('a layer on others', () => {
  test('gives a directory that it does not name the attributes of the nearest layer that does', async () => {
    await using fixture = await DataPlaneFixture.start(5000)
    const { state, native, plane: dataPlane } = fixture
    const blocks = new MemoryBlocks()
    const store = new LayerStore({ root: state, seal: new Seal(Buffer.alloc(32)), log: silentLog })
    await store.open()
    const opener = new LayerOpener({ store, log: silentLog })
    const open = async (...entries: Parameters<Pack['entry']>[0][]): Promise<OpenedLayer> => {
      const archive = pack()
      for (const entry of entries) {
        if (entry.type === 'directory') archive.entry(entry)
        else archive.entry(entry, 'content')
      }
      archive.finalize()
      const parts: Buffer[] = []
      for await (const part of archive as AsyncIterable<Buffer>) parts.push(part)
      const tar = Buffer.concat(parts)
      const mediaType = 'application/vnd.oci.image.layer.v1.tar'
      const digest = digestOf(tar)
      return await opener.open({ digest, diffId: digest, chainId: digest, mediaType, size: tar.byteLength, annotations: {}, cid: blocks.putFile(tar) }, blocks)
    }
    const base = await open({ name: 'tmp/', type: 'directory', mode: 0o1777, uid: 7 }, { name: 'srv/', type: 'directory', mode: 0o700 })
    const middle = await open({ name: 'srv/', type: 'directory', mode: 0o750 })
    const top = await open({ name: 'tmp/x', mode: 0o600 }, { name: 'srv/x' }, { name: 'new/x' })
    const supplier = new Supplier({ sink: dataPlane, log: silentLog, patienceMs: 500 })
    const driver = erofsDriver({ state, dataPlane, native })
    const mounts = new LayerMounts({ driver, drivers: [driver], dataPlane, supplier, log: silentLog })
    const target = join(state, 'target')
    mkdirSync(target)
    await mounts.mount({ layer: top, lowers: [middle, base], blocks }, target)
    const shown = await dumpTree(target)
    expect(['/tmp', '/srv', '/new'].map((path) => [path, shown.get(path)?.mode.toString(8), shown.get(path)?.uid])).toEqual([
      ['/tmp', '1777', 7], ['/srv', '750', 0], ['/new', '755', 0]
    ])
    await mounts.unmount(target)
  })
})

suite('a layer with files to prefetch', () => {
  test('has them in the cache soon, unasked, and no others', async () => {
    await using fixture = await DataPlaneFixture.start(5000)
    const blocks = new MemoryBlocks()
    const store = new LayerStore({ root: fixture.state, seal: new Seal(Buffer.alloc(32)), log: silentLog })
    await store.open()
    const [{ blob, ...rest } = { blob: new Uint8Array() }] = imageLayers('estargz-64k.oci.tar')
    const plan = { ...rest, size: blob.byteLength, cid: blocks.putFile(blob, 65_536) } as Parameters<LayerOpener['open']>[0]
    const opened = await new LayerOpener({ store, log: silentLog }).open(plan, blocks)
    const prefetchBytes = Math.floor(blob.byteLength / 4)
    const layer = { ...opened, record: { ...opened.record, index: { ...opened.record.index, prefetchBytes } } }
    const { state, native, plane: dataPlane } = fixture
    const supplier = new Supplier({ sink: dataPlane, log: silentLog, patienceMs: 500 })
    dataPlane.onFetch(async (name, runs) => { await supplier.answer(name, runs) })
    const driver = erofsDriver({ state, dataPlane, native })
    const mounts = new LayerMounts({ driver, drivers: [driver], dataPlane, supplier, log: silentLog })
    const target = join(state, 'target')
    mkdirSync(target)
    await mounts.mount({ layer, lowers: [], blocks }, target)
    const wanted = layer.record.index.chunks.filter(({ offset, length }) => offset + length <= prefetchBytes).length
    expect(wanted).toBeGreaterThan(0)
    await until(async () => ((await dataPlane.status()).files[0]?.cachedChunks ?? 0) >= wanted)
    expect((await dataPlane.status()).files[0]?.readBytes).toBeLessThan(blob.byteLength / 4)
    await mounts.unmount(target)
  })
})
