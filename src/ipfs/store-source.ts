// A CAR file on disk as a source of blocks, for machines without a network. Opened and indexed when first asked.
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError } from '../base/errors.ts'
import { HEDGE_MS_MAX } from '../base/limits.ts'
import type { Attempt } from './attempts.ts'
import type { BlockSource, FetchWaits, WantList } from './block-source.ts'
import type { SourceStatus } from './blocks.ts'
import { type CarStore, openCarStore } from './car-store.ts'
import { type SourceActivity, SourceTraffic } from './source-traffic.ts'

export class CarFileSource implements BlockSource {
  readonly #path: string
  readonly #clock: Clock
  #store: Promise<CarStore> | null = null
  readonly #traffic: SourceTraffic
  readonly availableAt = 0
  readonly suspect = false
  readonly unusualMs = HEDGE_MS_MAX
  readonly beaten = (): void => {} // a slow disk: nothing is gained by asking it later

  constructor (path: string, clock: Clock) {
    this.#path = path
    this.#clock = clock
    this.#traffic = new SourceTraffic(clock)
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
        this.#traffic.failure(code)
        attempts.push({ source: this.name, code, note, ms: this.#clock.monotonicMs() - started, transient: false, formatRefused: false })
      }
      const ended = this.#traffic.request(`block ${cid.toString()}`, waits.priority)
      try {
        const block = await (await this.#open()).get(cid)
        if (block === null) {
          fail('ROOT_NOT_FOUND', 'not in the file')
        } else {
          this.#traffic.bytes(waits.priority, block.byteLength)
          this.#traffic.block(waits.priority)
          wants.accept(key, block)
          waits.alive?.()
        }
      } catch (error) {
        const { code, message } = asSnapshotterError(error)
        fail(code, message)
        if (this.#store === null) return
      } finally {
        ended()
      }
    }
  }

  status (): SourceStatus {
    return {
      name: this.name,
      type: 'car',
      ...this.#traffic.totals,
      budget: null,
      retryAt: null
    }
  }

  activity (): SourceActivity {
    return this.#traffic.activity
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
