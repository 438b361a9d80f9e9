// The composition root of `serve`: the only place that builds the rooms' objects and wires them together.
import { access, constants } from 'node:fs/promises'
import { join } from 'node:path'
import { asCall } from '../base/call-id.ts'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { PACE_BEAT_MS, STOP_DEADLINE_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { LayerOpener } from '../cache/layer-opener.ts'
import { LayerStore } from '../cache/layer-store.ts'
import { Seal } from '../cache/seal.ts'
import type { Config } from '../config/load.ts'
import { LayerThreads } from '../erofs/layer-threads.ts'
import { requireFree, serveContainerd } from '../grpc/server.ts'
import { type ControlHandler, serveControl } from '../http/control-server.ts'
import type { GivenBlocks } from '../ipfs/given-blocks.ts'
import { DataPlane } from '../mount/data-plane.ts'
import { EarlyFetch } from '../mount/early-fetch.ts'
import { erofsDriver, erofsLoopDriver } from '../mount/erofs-drivers.ts'
import { fuseDriver } from '../mount/fuse-driver.ts'
import { LayerMounts } from '../mount/layer-mounts.ts'
import { NativeProgram } from '../mount/native-program.ts'
import { nativeUnpacker } from '../mount/native-unpacking.ts'
import { remountAll } from '../mount/remount.ts'
import { chooseDriver } from '../mount/self-test.ts'
import { SelfTestFiles } from '../mount/self-test-files.ts'
import { Supplier } from '../mount/supply.ts'
import { Snapshotters } from '../snapshots/snapshotters.ts'
import { BackgroundFetch } from './background-fetch.ts'
import { CacheRoom } from './cache-room.ts'
import { debugHandler } from './debug.ts'
import { requireShifting } from './id-shifting.ts'
import { ImageBook } from './image-book.ts'
import { lazyLayers } from './lazy-layers.ts'
import { LivingLayers } from './living-layers.ts'
import { offerAll, openGiven } from './offers.ts'
import { Operator } from './operator.ts'
import { ownFolders } from './own-folders.ts'
import { PromisedContent } from './promised-content.ts'
import { pullHandler } from './pull.ts'
import { RegistryImages } from './registry-images.ts'
import { Sources } from './sources.ts'
import { statusHandler } from './status.ts'
import { Trust } from './trust.ts'

export interface Daemon {
  /** Stops serving; guardian, mounts and running containers stay for the next daemon. */
  readonly close: () => Promise<void>
  /** Resolves when `serve --stop` asks this daemon to end. */
  readonly asked: Promise<unknown>
}

export function controlSocketOf (config: Config): string {
  return join(config.state, 'control.sock')
}

/** @throws ENVIRONMENT, FAILED_PRECONDITION, STATE_INVALID: nothing is left running but the guardian. */
export async function startDaemon (config: Config, outer: Log, signal?: AbortSignal): Promise<Daemon> {
  await requireRootAndFuse()
  const operator = new Operator()
  const log = operator.errors.over(outer)
  const undo = new AsyncDisposableStack()
  const asked = Promise.withResolvers<undefined>()
  const restored = Promise.withResolvers<undefined>()
  const handlers: Record<string, ControlHandler> = { '/exit': async () => { asked.resolve(undefined); return {} } }
  try {
    await takePlaces({ config, log, undo, operator, handlers })
    signal?.throwIfAborted()
    const trust = new Trust(config, log)
    const mounting = await startMounting({ config, log, undo, trust, restored: restored.promise })
    const { dataPlane, mounts, early, background, room, threads, unpacker } = mounting
    const seal = await Seal.at(config.cacheKey === 'disk' ? join(config.root, 'cache.key') : join(config.state, 'meta', 'cache.key'))
    const store = new LayerStore({ root: config.root, seal, log })
    await store.open()
    signal?.throwIfAborted()
    operator.stage = 'mounting the layers of the last run'
    const { given, sources } = await openSources({ config, log, undo })
    // Before fetches are cut off: reads that wait for them wait for the next daemon, and hear of no failure.
    undo.defer(async () => { await dataPlane.close() })
    const opener = new LivingLayers(new LayerOpener({ store, log, room: async (bytes) => await room.quota.admit(bytes), indexToc: threads.index, unpacker }))
    const book = new ImageBook({ opener, log })
    const { proofs, claims } = trust.judge({ store, opener, book, mounts, stream: (...blob) => background.passing(...blob) }, () => snapshotters)
    undo.defer(() => { trust.close(); proofs.close(); background.close() })
    const snapshotters = await Snapshotters.open({
      root: config.root,
      layers: lazyLayers({ book, mounts, opener, sources, seal, proofs, proveFirst: config.prove === 'before-commit' }),
      ...mounting.node,
      log
    })
    trust.act({ book, mounts }, proofs, snapshotters)
    signal?.throwIfAborted()
    restored.resolve(undefined)
    room.start()
    undo.defer(() => { room.close() })
    void background.run((key) => proofs.isProven(key))
    undo.defer(async () => { await snapshotters.close() })
    const content = await PromisedContent.open({ root: config.root, sources, log })
    undo.defer(async () => { await content.close() })
    const expectReads = (): void => { trust.pace.expect(); background.expect() }
    await serveClients({ config, log, undo, operator, handlers }, snapshotters, content)
    const images = new RegistryImages({ sources, content, claims, mounts, early, expectReads, log })
    await offerAll({ config, log, undo }, { sources, images, given })
    const parts = { ...mounting, config, proofs, quota: room.quota, sources, snapshotters, content, trust, errors: operator.errors }
    Object.assign(handlers, {
      '/pull': pullHandler({ ...parts, claims, expectReads, log }),
      '/status': statusHandler(parts),
      '/debug': debugHandler(parts)
    })
    operator.started(parts)
    await sayReady(config, log, mounting)
  } catch (error) {
    await undo.disposeAsync()
    restored.resolve(undefined) // after the data plane was let go: see above
    throw error
  }
  return { close: async () => { await undo.disposeAsync() }, asked: asked.promise }
}

async function sayReady (config: Config, log: Log, { driver, node }: Awaited<ReturnType<typeof startMounting>>): Promise<void> {
  log.info({ grpc: config.grpcAddress, driver: driver.name, root: config.root }, 'ready')
  await node.notifyReady().catch((error: unknown) => { log.warn({ error: messageOf(error) }, 'the service manager was not told') })
}

/** What containerd's proxy plugins call. */
async function serveClients ({ config, log, undo, operator }: Places, snapshotters: Snapshotters, content: PromisedContent): Promise<void> {
  const grpc = await serveContainerd({
    address: config.grpcAddress, snapshotters, content: content.store, log, onCall: (...call) => { operator.metrics.observeCall(...call) }
  })
  undo.defer(async () => { await grpc.stop() })
}

/** Blocks that were given to this node come before all sources. */
async function openSources ({ config, log, undo }: Pick<Places, 'config' | 'log' | 'undo'>): Promise<{ given: GivenBlocks | null, sources: Sources }> {
  const given = await openGiven(config, log)
  const sources = new Sources(config.sources, log, given?.blocks)
  undo.defer(async () => { await sources.close() })
  return { given, sources }
}

interface Places {
  readonly config: Config
  readonly log: Log
  readonly undo: AsyncDisposableStack
  readonly operator: Operator
  readonly handlers: Readonly<Record<string, ControlHandler>>
}

/** Folders and sockets, before anything is started: a second daemon must not take the data plane from the one that runs. */
async function takePlaces ({ config, log, undo, operator, handlers }: Places): Promise<void> {
  const owned = await ownFolders(config, async () => {
    await requireFree(config.grpcAddress)
    undo.defer(await operator.listen(config, log))
  })
  undo.use(owned)
  const control = await serveControl(controlSocketOf(config), handlers)
  undo.defer(async () => { await control.close() })
}

interface Mounting {
  readonly config: Config
  readonly log: Log
  readonly undo: AsyncDisposableStack
  readonly trust: Trust
  /** Ends when the layers of the last run are mounted again. */
  readonly restored: Promise<unknown>
}

/** The data plane, connected and answered for, and the driver that works here. */
async function startMounting ({ config, log, undo, trust, restored }: Mounting) {
  const native = await NativeProgram.locate(log)
  const patienceMs = config.onFailure === 'block' ? null : config.readDeadlineMs
  // A container that is to be stopped must not see the error before: the worker's own deadline leaves the policy time.
  const graceMs = config.onFailure === 'kill' ? STOP_DEADLINE_MS : 0
  const dataPlane = await DataPlane.connect({ state: config.state, native, log, readDeadlineMs: patienceMs === null ? 0 : patienceMs + graceMs })
  undo.defer(async () => { await dataPlane.close() })
  const room = new CacheRoom({ config, dataPlane, supplier: () => supplier, log })
  const reads = trust.policedReads(dataPlane, async (...chunks) => await room.admit(...chunks))
  const supplier = new Supplier({ sink: reads, log, patienceMs })
  const files = new SelfTestFiles(dataPlane)
  const noteRead = (): void => {
    trust.pace.read()
    background.read()
  }
  dataPlane.onFetch(async (name, runs, urgency) => await asCall(urgency.background ? 'need' : 'read', `chunks of ${name}`, async () => {
    if (await files.answer(name, runs)) return
    // Reads that waited for this daemon come before their layers are restored: they go on waiting, they do not fail.
    await restored
    const quiet = urgency.background && !supplier.isUrgent(name, runs)
    const beat = quiet ? undefined : setInterval(noteRead, PACE_BEAT_MS)
    try {
      if (!quiet) noteRead()
      if (urgency.background) await supplier.answer(name, runs, urgency)
      else await reads.answer(name, runs, async () => { await supplier.answer(name, runs, urgency) })
    } finally {
      clearInterval(beat)
      if (!quiet) noteRead()
    }
  }, urgency.call))

  const drivers = [erofsDriver, erofsLoopDriver, fuseDriver].map((make) => make({ state: config.state, dataPlane, native }))
  const driver = await chooseDriver(config.driver, drivers, { state: config.state, dataPlane, native, files, log })
  const threads = new LayerThreads()
  undo.defer(async () => { await threads.close() })
  void restored.then(async () => { await threads.warm(log) })
  const mounts = new LayerMounts({ driver, drivers, dataPlane, supplier, buildImage: threads.image, log })
  undo.defer(() => { mounts.leave() })
  let replaced = 0
  dataPlane.onReplaced(() => {
    replaced++
    void remountAll(mounts, log)
  })
  const background = new BackgroundFetch({
    rate: config.backgroundBytesPerSecond, afterMs: config.proveAfterMs, hasRoom: () => room.quota.hasRoom(), dataPlane, supplier, mounts, log
  })
  const early = new EarlyFetch({ dataPlane, supplier, log })
  await early.clear()
  const node = {
    settle: async (directory: string) => { await native.sync(directory) },
    notifyReady: async () => { await native.notifyReady() },
    requireShifting: requireShifting({ driver: driver.name, containerdAddress: config.containerdAddress, log })
  }
  const unpacker = nativeUnpacker(native.path)
  return { node, dataPlane, driver, mounts, early, background, room, threads, unpacker, guardianRestarts: () => replaced }
}

async function requireRootAndFuse (): Promise<void> {
  if (process.getuid?.() !== 0) throw new SnapshotterError('ENVIRONMENT', 'serve mounts filesystems: run it as root')
  await access('/dev/fuse', constants.R_OK | constants.W_OK).catch((cause: unknown) => {
    throw new SnapshotterError('ENVIRONMENT',
      `/dev/fuse cannot be opened (${systemCode(cause) ?? messageOf(cause)}): run modprobe fuse, or pass the device into this container`, {}, { cause })
  })
}
