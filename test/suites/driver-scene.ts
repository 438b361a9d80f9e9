// All mount drivers on one real data plane, which is supplied from memory: mounts any layer with any of them.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { layoutData } from '../../src/layer/data-layout.ts'
import { erofsDriver, erofsLoopDriver } from '../../src/mount/erofs-drivers.ts'
import type { DriverName, MountDriver } from '../../src/mount/driver.ts'
import type { ChunkRun } from '../../src/mount/supply.ts'
import { fuseDriver } from '../../src/mount/fuse-driver.ts'
import { type PlacedChunk, placeChunks } from '../../src/layer/placed-chunks.ts'
import { TreeClient } from '../../src/mount/tree-client.ts'
import { digestBytes, digestOf } from '../../src/verify/digest.ts'
import { DataPlaneFixture } from './data-plane-fixture.ts'
import type { OpenedLayer } from './fixture-layers.ts'
import type { Layer } from './layer-from-tree.ts'

export const DRIVERS: readonly DriverName[] = ['erofs', 'erofs-loop', 'fuse']

type Readable = Pick<OpenedLayer, 'index'> & { readonly bytesAt: (offset: number, length: number) => Uint8Array }

export class DriverScene {
  readonly fixture: DataPlaneFixture
  /** Awaited before each chunk is supplied. */
  pace: () => Promise<void> = async () => {}
  /** Answers for files that were not mounted here. */
  others: (file: string, runs: readonly ChunkRun[]) => Promise<void> = async () => {}
  /** Chunks asked for, as "file chunk". */
  readonly asked = new Set<string>()
  /** How often one was asked for that had been before. */
  askedAgain = 0
  readonly #drivers: ReadonlyMap<DriverName, MountDriver>
  readonly #supplied = new Map<string, { readonly chunks: readonly PlacedChunk[], readonly layer: Readable }>()
  #mounts = 0
  readonly #mounted: Array<{ readonly driver: MountDriver, readonly target: string }> = []

  private constructor (fixture: DataPlaneFixture) {
    this.fixture = fixture
    const parts = { state: fixture.state, dataPlane: fixture.plane, native: fixture.native }
    this.#drivers = new Map([erofsDriver(parts), erofsLoopDriver(parts), fuseDriver(parts)].map((driver) => [driver.name, driver]))
    fixture.plane.onFetch(async (file, runs) => {
      const supplied = this.#supplied.get(file)
      if (supplied === undefined) return await this.others(file, runs)
      const { chunks, layer } = supplied
      for (const chunk of runs.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at))) {
        const named = `${file} ${chunk}`
        if (this.asked.has(named)) this.askedAgain++
        this.asked.add(named)
        const { dataOffset = 0, size = 0 } = chunks[chunk] ?? {}
        await this.pace()
        await fixture.plane.supply(file, 'raw', chunk, 1, layer.bytesAt(dataOffset, size))
      }
    })
  }

  static async start (): Promise<DriverScene> {
    return new DriverScene(await DataPlaneFixture.start())
  }

  /** Returns where it is mounted. */
  async mount (name: DriverName, layer: Readable): Promise<string> {
    const driver = this.#drivers.get(name)
    if (driver === undefined) throw new Error(`no driver ${name}`)
    const target = this.folder(`${name}-${this.#mounts++}`)
    const layout = layoutData(layer.index)
    const chunks = placeChunks(layer.index, layout)
    this.#supplied.set(driver.fileName(target), { chunks, layer })
    await driver.mount({ index: layer.index, layout, chunks, digest: digestBytes(digestOf(Buffer.from(target))), cacheFolder: `${target}-cache` }, target)
    this.#mounted.push({ driver, target })
    return target
  }

  get drivers (): MountDriver[] {
    return [...this.#drivers.values()]
  }

  /** Everything mounted so far, overlays first. */
  async unmountAll (): Promise<void> {
    await this.fixture.native.run(['umount-tree', this.folder('overlays')])
    for (const { driver, target } of this.#mounted.splice(0)) await driver.unmount(target)
  }

  /** An overlay for writing on `lowers`, nearest first. */
  async overlay (lowers: readonly string[]): Promise<string> {
    const base = join('overlays', String(this.#mounts++))
    const [merged, upper, work] = ['merged', 'upper', 'work'].map((name) => this.folder(join(base, name))) as [string, string, string]
    await this.fixture.native.run(['mount-overlay', merged, '--lower', lowers.join(':'), '--upper', upper, '--work', work])
    return merged
  }

  folder (name: string): string {
    const path = join(this.fixture.state, name)
    mkdirSync(path, { recursive: true })
    return path
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.unmountAll()
    await new TreeClient(this.fixture.state).end()
    await this.fixture[Symbol.asyncDispose]()
  }
}

export function inMemory ({ index, data }: OpenedLayer): Readable {
  return { index, bytesAt: (offset, length) => data.subarray(offset, offset + length) }
}

export function described ({ index, extents }: Layer): Readable {
  const { fileOffsets } = layoutData(index)
  const contents = extents.flatMap((list, position) => list.map(({ offset, content }) => ({ at: (fileOffsets[position] ?? 0) + offset, content })))
  return {
    index,
    bytesAt: (offset, length) => {
      const { at, content } = contents.findLast((one) => one.at <= offset) ?? { at: 0, content: Buffer.alloc(0) }
      return content.subarray(offset - at, offset - at + length)
    }
  }
}
