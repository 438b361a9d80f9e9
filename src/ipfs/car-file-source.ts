// A CAR file on disk as a source of blocks, for machines without a network. Opened and indexed when first asked.
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError } from '../base/errors.ts'
import { HEDGE_MS_MAX } from '../base/limits.ts'
import type { Attempt } from './attempts.ts'
import type { BlockSource, FetchWaits, WantList } from './block-source.ts'
import type { SourceStatus } from './blocks.ts'
import { type CarStore, openCarStore } from './car-store.ts'

export class CarFileSource implements BlockSource {
  readonly #path: string
  readonly #clock: Clock
  #store: Promise<CarStore> | null = null
  #requests = 0
  #failures = 0
  #bytes = 0
  #blocks = 0
  readonly availableAt = 0
  readonly suspect = false
  readonly unusualMs = HEDGE_MS_MAX
  readonly beaten = (): void => {} // a slow disk: nothing is gained by asking it later

  constructor (path: string, clock: Clock) {
    this.#path = path
    this.#clock = clock
  }

  get name (): string {
    return this.#path
  }

  async fetch (wants: WantList, attempts: Attempt[], waits: FetchWaits): Promise<void> {
    wants.begin()
    for (const [key, { cid }] of wants.pending()) { // also what is added on the way
      waits.signal.throwIfAborted()
      const started = this.#clock.monotonicMs()
      const fail = (code: Attempt['code'], note: string): void => {
        this.#failures++
        attempts.push({ source: this.name, code, note, ms: this.#clock.monotonicMs() - started, transient: false, formatRefused: false })
      }
      this.#requests++
      try {
        const block = await (await this.#open()).get(cid)
        if (block === null) {
          fail('ROOT_NOT_FOUND', 'not in the file')
        } else {
          this.#bytes += block.byteLength
          this.#blocks++
          wants.accept(key, block)
          waits.alive?.()
        }
      } catch (error) {
        const { code, message } = asSnapshotterError(error)
        fail(code, message)
        if (this.#store === null) return
      }
    }
  }

  status (): SourceStatus {
    return {
      name: this.name,
      type: 'car',
      requests: this.#requests,
      failures: this.#failures,
      bytes: this.#bytes,
      blocks: this.#blocks,
      budget: null,
      retryAt: null
    }
  }

  async close (): Promise<void> {
    const store = await this.#store?.catch(() => null)
    this.#store = null
    await store?.close()
  }

  async #open (): Promise<CarStore> {
    this.#store ??= openCarStore([this.#path])
    try {
      return await this.#store
    } catch (error) {
      this.#store = null // the file may be put right
      throw error
    }
  }
}
