// The threads that turn TOCs into indexes and indexes into EROFS images. Warmed when the daemon starts: code that never ran
// takes three times as long, and a container waits for it. A thread that met a large table is replaced when it idles: V8 keeps the
// pages of garbage until their thread ends, and what makes it give them back sooner makes it forget the warm code, too.
import { extname } from 'node:path'
import type { ResourceLimits } from 'node:worker_threads'
import { messageOf } from '../base/errors.ts'
import {
  LAYER_THREAD_HEAP_MIB, LAYER_THREAD_IDLE_BYTES_MAX, LAYER_THREAD_IDLE_MS, LAYER_THREAD_YOUNG_MIB, LAYER_THREADS, LAYER_WARM_ROUNDS
} from '../base/limits.ts'
import { type Log, silentLog } from '../base/log.ts'
import { ThreadPool, type ThreadTask } from '../base/thread-pool.ts'
import type { Toc } from '../layer/estargz.ts'
import type { LayerIndex } from '../layer/layer-index.ts'
import { hasImplied, type IndexBuffers, PackedIndex, recordOf } from '../layer/packed-index.ts'
import type { ErofsOptions } from './build-erofs.ts'
import type { LayerTask } from './layer-tasks.ts'

// Ends as this file does: .ts in a clone, .js in a package.
const ENTRY = new URL(`./layer-tasks${extname(import.meta.filename)}`, import.meta.url)

export class LayerThreads {
  readonly #pool: ThreadPool
  #idle: NodeJS.Timeout | undefined

  constructor (limits: ResourceLimits = { maxYoungGenerationSizeMb: LAYER_THREAD_YOUNG_MIB, maxOldGenerationSizeMb: LAYER_THREAD_HEAP_MIB }) {
    this.#pool = new ThreadPool({ entry: ENTRY, threads: LAYER_THREADS, limits })
  }

  /** @throws as indexToc, packIndex and ThreadPool.run */
  readonly index = async ({ json, tocOffset, tocDigest }: Toc, signal?: AbortSignal): Promise<LayerIndex> => {
    const copy = new Uint8Array(json) // nobody here has it, so nobody here can change it
    const task: LayerTask = { kind: 'toc', json: copy, tocOffset, tocDigest }
    return new PackedIndex(await this.#run<IndexBuffers>({ message: task, transfer: [copy.buffer], what: `TOC ${tocDigest}` }, signal))
  }

  /** The EROFS metadata image; `lowers` nearest first. @throws as resolveImplied, buildErofs and ThreadPool.run */
  readonly image = async (index: LayerIndex, lowers: readonly LayerIndex[], options: ErofsOptions): Promise<Uint8Array> => {
    const task: LayerTask = { kind: 'image', record: recordOf(index), lowers: hasImplied(index) ? lowers.map(recordOf) : [], options }
    return await this.#run<Uint8Array>({ message: task, transfer: [], what: 'EROFS image' })
  }

  /** Goes on behind everything that is asked for meanwhile. Never throws. */
  async warm (log: Log): Promise<void> {
    const message: LayerTask = { kind: 'warm' }
    try {
      const rounds = Array.from({ length: LAYER_THREADS * LAYER_WARM_ROUNDS }, async () => {
        await this.#pool.run({ message, transfer: [], what: 'warming' }, { priority: 'background' })
      })
      await Promise.all(rounds)
      log.debug({}, 'layer threads are warm')
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'layer threads are not warm')
    }
  }

  /** Gives back what a large table left in a thread, and warms the next one. Never throws. */
  async rest (): Promise<void> {
    const shed = await this.#pool.shed(LAYER_THREAD_IDLE_BYTES_MAX).catch(() => false) // it died: so it holds nothing
    if (shed) await this.warm(silentLog)
  }

  async close (): Promise<void> {
    clearTimeout(this.#idle)
    await this.#pool.close()
  }

  async #run<Result> (task: ThreadTask, signal?: AbortSignal): Promise<Result> {
    clearTimeout(this.#idle)
    try {
      return await this.#pool.run<Result>(task, { signal })
    } finally {
      clearTimeout(this.#idle)
      this.#idle = setTimeout(() => { void this.rest() }, LAYER_THREAD_IDLE_MS).unref()
    }
  }
}
