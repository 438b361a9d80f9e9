// Where a fault is played: a node (Scene) with an image of files that nobody has read yet, a container that reads what it is
// told, ways to look at the node without starting programs, and the books of what was fetched twice.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { callControl } from '../../src/http/control-client.ts'
import { snapshotsClient, type SnapshotsClient } from '../suites/snapshots-client.ts'
import { execute, until } from '../e2e/command.ts'
import { GatedGateway } from '../e2e/gated-gateway.ts'
import { PLUGIN, type Pulled, type Published, Scene, type SceneOptions, type Status } from '../e2e/harness.ts'
import type { ProgramImage } from '../e2e/program-image.ts'
import { ObedientContainer } from './obedient-container.ts'

export const FILE_BYTES = 256 << 10
/** Files that a container reads before the first fault, and again after each. */
export const WARM_FILES = 8
/**
 * Names of so many digits that tries read the layer in order: a leaf that two files share is then in memory for the second. In
 * another order it comes twice, without any fault, once more was read than memory keeps (LEAF_CACHE_BYTES).
 */
export const FIRST_FILE = 1000
/** Read by nobody but the probe, once it is cached: pages that somebody else reads cannot be dropped. */
const PROBE = `/data/${FIRST_FILE + WARM_FILES}`
/** Files that one try may read for the first time. */
export const FRESH_FILES = 8
/** Read by nobody: the end of the blob comes with its table of contents, and again when it is read after as much else. */
const TAIL_FILES = 8

export interface Wares {
  readonly image: ProgramImage
  readonly published: Published
  /** One for each try that pulls. */
  readonly others: ReadonlyArray<{ readonly image: ProgramImage, readonly published: Published }>
}

export function filesFor (tries: number): number {
  return WARM_FILES + 1 + tries * FRESH_FILES + TAIL_FILES
}

export type Driver = 'erofs' | 'erofs-loop'

export interface StageOptions extends SceneOptions {
  readonly driver: Driver
  /** What the node calls the gateway, if not its URL. */
  readonly source?: (gateway: GatedGateway) => string | Promise<string>
}

export class Stage {
  readonly scene: Scene
  readonly gateway: GatedGateway
  readonly wares: Wares
  readonly #leaves: readonly string[]
  readonly #pulled: Pulled
  #container: ObedientContainer | null = null

  /** Ready: pulled, the container runs and has read the warm files. */
  static async start (wares: Wares, { source = ({ url }) => url, ...options }: StageOptions): Promise<Stage> {
    const gateway = await GatedGateway.over(wares.published.car, ...wares.others.map(({ published }) => published.car))
    const sources = [await source(gateway)]
    const scene = await Scene.start({ sources, timeout: '60s', deadline: '60s', ...options }).catch(async (error: unknown) => {
      await gateway.close()
      throw error
    })
    try {
      const stage = new Stage(scene, gateway, wares, await scene.pull(wares.published.reference))
      await stage.freshContainer()
      const { failed, wrongFiles, errors } = await stage.container.read([...stage.warm, PROBE]).count()
      if (failed + wrongFiles > 0) throw new Error(`before any fault ${failed} reads failed and ${wrongFiles} were wrong: ${errors.join(', ')}`)
      return stage
    } catch (error) {
      await scene.end().catch(() => {})
      await gateway.close()
      throw error
    }
  }

  private constructor (scene: Scene, gateway: GatedGateway, wares: Wares, pulled: Pulled) {
    this.scene = scene
    this.gateway = gateway
    this.wares = wares
    this.#pulled = pulled
    this.#leaves = [wares.published, ...wares.others.map(({ published }) => published)].flatMap(({ layers }) => layers)
      .flatMap(({ cid }) => gateway.leavesOf(cid))
  }

  get container (): ObedientContainer {
    if (this.#container === null) throw new Error('no container runs')
    return this.#container
  }

  get warm (): string[] {
    return this.#paths(0, WARM_FILES)
  }

  /** Nobody has read them before this try. */
  fresh (attempt: number): string[] {
    return this.#paths(WARM_FILES + 1 + attempt * FRESH_FILES, FRESH_FILES)
  }

  get topChain (): string {
    return this.#pulled.layers.at(-1)?.chainId ?? ''
  }

  /** Containers keep the mount that they began with. */
  async freshContainer (): Promise<void> {
    await this.#container?.stop()
    this.#container = await ObedientContainer.start(this.scene, this.#pulled.name, this.wares.image.hashes)
  }

  async status (): Promise<Status> {
    return await callControl(join(this.scene.state, 'control.sock'), '/status', null) as Status
  }

  guardianPid (): number {
    return Number(readFileSync(join(this.scene.state, 'guardian.pid'), 'utf8'))
  }

  snapshots (snapshotter: string = PLUGIN): SnapshotsClient {
    return snapshotsClient(this.scene.containerd.address, snapshotter, 'default', 'default')
  }

  /** Reads the probe's file in its layer's own mount, through the worker. Null: no mount shows it, or it cannot be read. */
  async probe (): Promise<string | null> {
    const mount = this.scene.layerMounts().find((point) => existsSync(join(point, PROBE)))
    if (mount === undefined) return null
    const { code, stdout } = await execute(this.wares.image.program, ['fresh', join(mount, PROBE)], 60_000)
    return code === 0 ? stdout.slice(0, 64) : null
  }

  /** Waits until a probe is right. @returns ms from `since` (performance.now()). @throws when a probe is wrong, or after 60 s. */
  async untilServed (since: number): Promise<number> {
    const expected = this.wares.image.hashes.get(PROBE)
    await until('a cached file can be read again', async () => {
      const hash = await this.probe()
      if (hash !== null && hash !== expected) throw new Error(`a probe read ${hash} instead of ${String(expected)}`)
      return hash !== null
    }, 60_000)
    return performance.now() - since
  }

  /** Of leaves of layers: what was delivered beyond once. */
  bytesFetchedAgain (): number {
    return this.gateway.repeatedBytes(this.#leaves)
  }

  deliveries (): number {
    return this.gateway.deliveries(this.#leaves)
  }

  /** @throws when anything is left behind. */
  async end (): Promise<void> {
    try {
      await this.#container?.stop()
      await this.scene.end()
    } finally {
      await this.gateway.close()
    }
  }

  #paths (from: number, count: number): string[] {
    return Array.from({ length: count }, (_, at) => `/data/${FIRST_FILE + from + at}`)
  }
}
