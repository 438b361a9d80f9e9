// Everything that a mounted layer lacks comes in the background, when no read has waited for a while and never in its way.
// The proof of a layer reads its whole blob in any case: what passes there goes into the cache and costs nothing. What is
// missing after the proof (of an earlier run, or because the cache lost it) is fetched at a bounded rate, once per run, so
// that it cannot fight an eviction. `present` marks are hints and decide only what is asked for.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sleep } from '../base/clock.ts'
import { BACKGROUND_LOOK_MS, BACKGROUND_WINDOW_BYTES } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { BlockService, Waits } from '../ipfs/blocks.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { DataPlane } from '../mount/data-plane.ts'
import type { LayerMounts } from '../mount/layer-mounts.ts'
import { missingWindows } from '../mount/layer-table.ts'
import { chunksOf } from '../mount/supplied-layer.ts'
import type { Supplier } from '../mount/supply.ts'
import { ProofPace } from './proof-pace.ts'

interface Parts {
  /** Bytes per second; null: nothing is fetched that nobody asked for. */
  readonly rate: number | null
  readonly afterMs: number
  /** False: what comes would drive out what was used. */
  readonly hasRoom: () => boolean
  readonly dataPlane: Pick<DataPlane, 'need'>
  readonly supplier: Supplier
  readonly mounts: Pick<LayerMounts, 'all'>
  readonly log: Log
}

export class BackgroundFetch {
  readonly #parts: Parts
  readonly #pace: ProofPace
  readonly #closing = new AbortController()
  /** Layers that were gone through. */
  readonly #done = new Set<string>()
  #current: string | null = null

  constructor (parts: Parts) {
    this.#parts = parts
    this.#pace = new ProofPace({ afterMs: parts.afterMs, bytesPerSecond: parts.rate ?? 1 })
  }

  /** A read waits for the network. */
  read (): void {
    this.#pace.read()
  }

  /** A pull ends: reads are about to begin. */
  expect (): void {
    this.#pace.expect()
  }

  /** The blob as the proof reads it. */
  async * passing (layer: OpenedLayer, blocks: BlockService, waits: Waits): AsyncGenerator<VerifiedBytes> {
    const { record, cacheFolder } = layer
    const file = await blocks.openFile(record.cid, waits)
    const blob = file.stream(0, file.size, waits)
    if (this.#parts.rate === null || record.index.format === 'tar') {
      yield * blob
      return
    }
    const present = await presentMarks(cacheFolder)
    yield * this.#parts.supplier.feed(cacheFolder, blob, (chunk) => present[chunk] !== 1 && this.#parts.hasRoom())
  }

  /** Looks after the layers that are mounted until it is closed. Never throws. */
  async run (isProven: (key: string) => boolean): Promise<void> {
    const { rate, mounts, log } = this.#parts
    const { signal } = this.#closing
    while (rate !== null && !signal.aborted) {
      await sleep(BACKGROUND_LOOK_MS, signal).catch(() => {})
      for (const { layer, fileName } of mounts.all().values()) {
        if (this.#done.has(layer.key) || layer.record.index.format === 'tar' || !isProven(layer.key)) continue
        this.#current = layer.record.digest
        await this.#complete(layer, fileName).catch((error: unknown) => {
          if (!signal.aborted) log.info({ layer: layer.record.digest, error: String(error) }, 'background fetch goes on later')
        })
        this.#current = null
      }
    }
  }

  /** The layer that is being completed now, and how many were gone through. */
  get state (): { readonly layer: string | null, readonly done: number } {
    return { layer: this.#current, done: this.#done.size }
  }

  close (): void {
    this.#closing.abort()
  }

  async #complete (layer: OpenedLayer, fileName: string): Promise<void> {
    const { signal } = this.#closing
    const present = await presentMarks(layer.cacheFolder)
    let bytes = 0
    for (const window of missingWindows(chunksOf(layer), (chunk) => present[chunk] === 1, BACKGROUND_WINDOW_BYTES)) {
      if (!this.#isMounted(fileName) || !this.#parts.hasRoom()) return
      await this.#pace.start(signal)
      await this.#parts.dataPlane.need(fileName, window.first, window.count, signal)
      await this.#pace.rest(window.bytes, signal)
      bytes += window.bytes
    }
    this.#done.add(layer.key)
    this.#parts.log.info({ layer: layer.record.digest, size: layer.record.size, fetchedAfterProof: bytes }, 'layer complete')
  }

  #isMounted (fileName: string): boolean {
    return [...this.#parts.mounts.all().values()].some((mounted) => mounted.fileName === fileName)
  }
}

async function presentMarks (cacheFolder: string): Promise<Uint8Array> {
  return await readFile(join(cacheFolder, 'present')).catch(() => new Uint8Array(0))
}
