// Work on a node without a pause, as much as it takes: ordinary snapshots come and go, images are pulled and removed, every
// file of every layer mount is read through a fresh page cache; with what was promised meanwhile.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { callControl } from '../../src/http/control-client.ts'
import { execute, until } from './command.ts'
import { PLUGIN, type Pulled, type Scene } from './harness.ts'
import { hashLines } from './program-image.ts'
import { type Promises, SnapshotLedger } from './snapshot-ledger.ts'

/** Its files are `/<letter>/…`. */
export interface LoadImage { readonly letter: string, readonly reference: string, readonly hashes: ReadonlyMap<string, string> }

export const socketOf = (scene: Scene): string => join(scene.state, 'snapshotter.sock')

export interface Promised {
  readonly ledger: Promises
  readonly held: ReadonlyMap<LoadImage, Pulled>
}

/** Pulls, removals and reads on a node, and what they were promised. */
export class NodeLoad {
  readonly scene: Scene
  readonly #images: readonly LoadImage[]
  /** A program that reads files as program-image's does. */
  readonly #program: string
  readonly ledger = new SnapshotLedger()
  /** Images whose pull was answered and whose removal did not begin. */
  readonly held = new Map<LoadImage, Pulled>()
  pulls = 0
  reads = 0
  #stop = new AbortController()
  #running: Promise<unknown> = Promise.resolve()

  constructor (scene: Scene, images: readonly LoadImage[], program: string) {
    this.scene = scene
    this.#images = images
    this.#program = program
  }

  start (): void {
    this.#stop = new AbortController()
    const { signal } = this.#stop
    this.#running = Promise.all([this.ledger.run(socketOf(this.scene), signal), this.#pull(signal), this.#read(signal)])
    this.#running.catch(() => {}) // told to whoever ends it
  }

  /** @throws what went wrong before it was stopped. */
  async end (): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  stopSoon (): void {
    this.#stop.abort()
  }

  /** Waits until the load did everything since now, and then for a moment of its own. */
  async busy (): Promise<void> {
    const { pulls, reads, ledger: { calls } } = this
    await Promise.race([this.#running, until('the load is under way', () => this.pulls > pulls && this.reads > reads && this.ledger.calls > calls)])
    await sleep(Math.random() * 1500)
  }

  promises (): { readonly ledger: Promises, readonly held: ReadonlyMap<LoadImage, Pulled> } {
    return { ledger: this.ledger.promises(), held: new Map(this.held) }
  }

  async #pull (stopped: AbortSignal): Promise<void> {
    for (let round = 0; !stopped.aborted; round++) {
      const image = this.#images[round % this.#images.length]
      if (image === undefined) return
      const request = { reference: image.reference, namespace: 'default', name: `image-${image.letter}`, snapshotter: PLUGIN, gateways: [], platform: null }
      try {
        this.held.set(image, await callControl(join(this.scene.state, 'control.sock'), '/pull', request, () => {}) as Pulled)
        this.pulls++
        const other = this.#images[(round + 1) % this.#images.length]
        if (other === undefined) return
        this.held.delete(other)
        await this.scene.removeImage(`image-${other.letter}`)
      } catch (error) {
        if (!this.#stop.signal.aborted && !/connection error|connection refused|not ready|not found/i.test(String(error))) throw error
        await sleep(50) // containerd dials a plugin that was away only now and then
      }
    }
  }

  async #read (stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      const paths = this.filesOf(this.scene)
      if (paths.length > 0) {
        const { wrong, right } = await this.readFresh(paths)
        if (wrong.length > 0) throw new Error(`wrong bytes: ${wrong.join(', ')}`)
        this.reads += right.length
      }
      await sleep(10)
    }
  }

  /** Files of images that the layer mounts of a node show. */
  filesOf (scene: Scene): string[] {
    return scene.layerMounts().flatMap((point) => this.#images.flatMap(({ letter }) => {
      try {
        return readdirSync(join(point, letter)).map((name) => join(point, letter, name))
      } catch {
        return [] // removed meanwhile
      }
    }))
  }

  /** As their images call them. A file that cannot be read is in neither list. */
  async readFresh (paths: readonly string[]): Promise<{ readonly right: string[], readonly wrong: string[] }> {
    const { stdout } = await execute(this.#program, ['fresh', ...paths])
    const read = Object.entries(hashLines(stdout)).filter(([, hash]) => /^[0-9a-f]{64}$/.test(hash)).map(([path, hash]) => {
      const inside = `/${path.split('/').slice(-2).join('/')}`
      return { inside, good: this.#images.some(({ hashes }) => hashes.get(inside) === hash) }
    })
    return { right: read.filter(({ good }) => good).map(({ inside }) => inside), wrong: read.filter(({ good }) => !good).map(({ inside }) => inside) }
  }
}
