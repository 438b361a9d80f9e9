// One data plane of ours as `serve` wires it, without containerd: the tree's layer, its supplier and a gateway, so that the
// layer can be mounted again and again, from the network or from its cache.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { LayerOpener, type OpenedLayer } from '../../src/cache/layer-opener.ts'
import { LayerStore } from '../../src/cache/layer-store.ts'
import { Seal } from '../../src/cache/seal.ts'
import { Sources } from '../../src/daemon/sources.ts'
import { resolveImage } from '../../src/image/resolver.ts'
import { DataPlane } from '../../src/mount/data-plane.ts'
import type { DriverName } from '../../src/mount/driver.ts'
import { erofsDriver, erofsLoopDriver } from '../../src/mount/erofs-drivers.ts'
import { fuseDriver } from '../../src/mount/fuse-driver.ts'
import { LayerMounts } from '../../src/mount/layer-mounts.ts'
import { NativeProgram } from '../../src/mount/native-program.ts'
import { Supplier } from '../../src/mount/supply.ts'
import { TreeClient } from '../../src/mount/tree-client.ts'
import { parseReference } from '../../src/oci/reference.ts'
import type { Cleanup } from '../demo/cleanup.ts'
import { startGateway } from '../demo/node.ts'
import type { SteadyTree } from './tree.ts'

const GATEWAY_PATIENCE_MS = 10_000
const READ_PATIENCE_MS = 30_000

export class LazyPlane {
  readonly #folder: string
  readonly #url: string
  readonly #layer: OpenedLayer
  readonly #mounts: ReadonlyMap<DriverName, LayerMounts>
  readonly plane: DataPlane
  readonly native: NativeProgram
  #sources: Sources | null = null
  #caches = 0

  private constructor (folder: string, url: string, layer: OpenedLayer, plane: DataPlane, native: NativeProgram) {
    this.#folder = folder
    this.#url = url
    this.#layer = layer
    this.plane = plane
    this.native = native
    const supplier = new Supplier({ sink: plane, log: silentLog, patienceMs: READ_PATIENCE_MS })
    plane.onFetch(async (name, runs) => { await supplier.answer(name, runs) })
    const parts = { state: join(folder, 'state'), dataPlane: plane, native }
    this.#mounts = new Map([erofsDriver(parts), erofsLoopDriver(parts), fuseDriver(parts)].map((driver) =>
      [driver.name, new LayerMounts({ driver, drivers: [driver], dataPlane: plane, supplier, log: silentLog })]))
  }

  static async start (folder: string, tree: SteadyTree, cleanup: Cleanup): Promise<LazyPlane> {
    await mkdir(folder, { recursive: true })
    const url = await startGateway([tree.car], join(folder, 'gateway'), cleanup)
    const sources = sourcesAt(url)
    const plan = await resolveImage(parseReference(tree.reference), { blocks: sources.configured })
    const store = new LayerStore({ root: folder, seal: new Seal(Buffer.alloc(32)), log: silentLog })
    await store.open()
    const planned = plan.layers[0]
    if (planned === undefined) throw new Error(`${tree.reference} has no layer`)
    const layer = await new LayerOpener({ store, log: silentLog }).open(planned, sources.configured)
    await sources.close()
    const native = await NativeProgram.locate()
    const state = join(folder, 'state')
    const plane = await DataPlane.connect({ state, native, readDeadlineMs: READ_PATIENCE_MS })
    cleanup.add('stop the data plane', async () => {
      await new TreeClient(state).end()
      await plane.close()
      await native.stopGuardian(state)
    })
    return new LazyPlane(folder, url, layer, plane, native)
  }

  /** A folder that holds nothing of the layer yet. */
  newCache (): string {
    return join(this.#folder, 'caches', String(this.#caches++))
  }

  async mount (driver: DriverName, cacheFolder: string, target: string): Promise<void> {
    await mkdir(target, { recursive: true })
    this.#sources = sourcesAt(this.#url) // nothing that an earlier mount fetched is in its memory
    await this.#of(driver).mount({ layer: { ...this.#layer, cacheFolder }, lowers: [], blocks: this.#sources.configured }, target)
  }

  async unmount (driver: DriverName, target: string): Promise<void> {
    await this.#of(driver).unmount(target)
    await this.#sources?.close()
  }

  #of (driver: DriverName): LayerMounts {
    const mounts = this.#mounts.get(driver)
    if (mounts === undefined) throw new Error(`no driver ${driver}`)
    return mounts
  }
}

function sourcesAt (url: string): Sources {
  return new Sources([{ type: 'gateway', url, timeoutMs: GATEWAY_PATIENCE_MS }], silentLog)
}
