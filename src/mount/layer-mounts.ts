// Mounts opened layers on targets, keeps them supplied with bytes, and finds mounts of an earlier run again. It knows
// layers, not images or snapshots.
import { readFile } from 'node:fs/promises'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import { resolveImplied } from '../layer/implied.ts'
import { digestBytes } from '../verify/digest.ts'
import type { DataPlane } from './data-plane.ts'
import type { MountDriver } from './driver.ts'
import { type ImageBuilder, LayerImages } from './layer-images.ts'
import { chunksWithin } from './layer-table.ts'
import { isMounted } from './mount-info.ts'
import { chunksOf, suppliedLayer, tableOf } from './supplied-layer.ts'
import type { ChunkRun, Supplier } from './supply.ts'

export interface LayerToMount {
  readonly layer: OpenedLayer
  /** Nearest first: an unnamed directory takes its attributes from them. */
  readonly lowers: readonly OpenedLayer[]
  readonly blocks: BlockService
}

export interface Mounted extends LayerToMount {
  readonly driver: MountDriver
  readonly fileName: string
  readonly stop: AbortController
}

interface LayerMountsInit {
  /** Makes new mounts. */
  readonly driver: MountDriver
  /** All that an earlier run may have mounted with. */
  readonly drivers: readonly MountDriver[]
  readonly dataPlane: DataPlane
  readonly supplier: Supplier
  /** Where EROFS images are made; on this thread unless given. */
  readonly buildImage?: ImageBuilder
  readonly log: Log
}

export class LayerMounts {
  readonly #driver: MountDriver
  readonly #drivers: readonly MountDriver[]
  readonly #dataPlane: DataPlane
  readonly #supplier: Supplier
  readonly #log: Log
  readonly #images: LayerImages
  readonly #mounted = new Map<string, Mounted>()

  constructor (init: LayerMountsInit) {
    this.#driver = init.driver
    this.#drivers = init.drivers
    this.#dataPlane = init.dataPlane
    this.#supplier = init.supplier
    this.#log = init.log
    this.#images = new LayerImages(init.buildImage)
  }

  /** Mounts the layer read-only on `target` and starts to fetch what its publisher marked as needed first. */
  async mount ({ layer, lowers, blocks }: LayerToMount, target: string): Promise<void> {
    const { index } = layer.record
    const chunks = chunksOf(layer)
    // Containers may run on a mount that lives: it stays as it is, whatever driver is chosen today.
    const living = await this.#livingDriver(target)
    const driver = living ?? this.#driver
    const fileName = driver.fileName(target)
    const stop = new AbortController()
    this.#supplier.add(suppliedLayer(fileName, layer, blocks))
    this.#mounted.set(target, { driver, layer, lowers, blocks, fileName, stop })
    try {
      if (living === null) {
        await this.#unmountBy(this.#drivers, target)
        await driver.mount({
          get index () { return resolveImplied(index, lowers.map(({ record }) => record.index)) },
          layout: layer.layout,
          chunks,
          digest: digestBytes(layer.record.digest),
          cacheFolder: layer.cacheFolder,
          made: { table: (prefix) => tableOf(layer, prefix), image: async (form) => await this.#images.take({ layer, lowers }, form) }
        }, target)
      }
    } catch (error) {
      this.#forget(target)
      throw error
    }
    void this.#prefetch(fileName, chunksWithin(chunks, index.prefetchBytes), stop.signal)
  }

  /** Makes the image of a layer that is about to be mounted, and keeps it until it is mounted or `pulled` has ended. */
  expect (layer: Omit<LayerToMount, 'blocks'>, pulled: Promise<unknown>): void {
    if (this.#driver.imageForm !== null) this.#images.prepare(layer, this.#driver.imageForm, pulled)
  }

  async unmount (target: string): Promise<void> {
    const driver = this.#mounted.get(target)?.driver
    this.#forget(target)
    await this.#unmountBy(driver === undefined ? this.#drivers : [driver], target)
  }

  /** @throws UNAVAILABLE when reads below `target` cannot be answered. */
  async check (target: string): Promise<void> {
    const mounted = this.#mounted.get(target)
    if (mounted === undefined) throw new SnapshotterError('UNAVAILABLE', `the lazy layer of ${target} is not mounted; see the daemon's log`)
    if (!this.#dataPlane.connected) throw new SnapshotterError('UNAVAILABLE', 'the data plane does not answer')
    if (await mounted.driver.serves(target)) return
    throw new SnapshotterError('UNAVAILABLE', `nobody serves the lazy layer of ${target} (driver ${mounted.driver.name}); restart the daemon`)
  }

  /** Everything that is mounted now, by target. */
  all (): ReadonlyMap<string, Mounted> {
    return this.#mounted
  }

  /** The layers that are mounted now, by the name of the file that serves each. */
  layers (): ReadonlyMap<string, OpenedLayer> {
    return new Map([...this.#mounted.values()].map(({ fileName, layer }) => [fileName, layer]))
  }

  /** Stops supplying; mounts and data plane stay for the next daemon. */
  leave (): void {
    for (const target of [...this.#mounted.keys()]) this.#forget(target)
  }

  #forget (target: string): void {
    const mounted = this.#mounted.get(target)
    if (mounted === undefined) return
    mounted.stop.abort()
    this.#supplier.remove(mounted.fileName)
    this.#mounted.delete(target)
  }

  /** Of a mount of an earlier run that serves on: the data plane still has its file. */
  async #livingDriver (target: string): Promise<MountDriver | null> {
    if (!isMounted(await readFile('/proc/self/mountinfo', 'utf8'), target)) return null
    const served = await this.#dataPlane.list()
    const driver = this.#drivers.find(({ fileName }) => served.includes(fileName(target)))
    return driver !== undefined && await driver.serves(target) ? driver : null
  }

  async #unmountBy (drivers: readonly MountDriver[], target: string): Promise<void> {
    for (const driver of drivers) await driver.unmount(target)
  }

  async #prefetch (fileName: string, runs: readonly ChunkRun[], signal: AbortSignal): Promise<void> {
    try {
      await Promise.all(runs.map(async ({ first, count }) => { await this.#dataPlane.need(fileName, first, count, signal) }))
    } catch (error) {
      if (!signal.aborted) this.#log.warn({ fileName, error: asSnapshotterError(error).line }, 'prefetch ended early')
    }
  }
}
