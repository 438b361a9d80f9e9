// Blocks on this machine as a source: a CAR file, for machines without a network, opened and indexed when first asked; and the
// blocks that were given to this node.
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError } from '../base/errors.ts'
import { HEDGE_MS_MAX } from '../base/limits.ts'
import type { Attempt } from './attempts.ts'
import type { BlockSource, FetchWaits, WantList } from './block-source.ts'
import type { SourceStatus } from './blocks.ts'
import type { BlockStoreReadonly } from './block-store.ts'
import { type SourceActivity, SourceTraffic } from './source-traffic.ts'

interface Init {
  readonly name: string
  readonly type: 'car' | 'store'
  readonly open: () => Promise<BlockStoreReadonly>
  /** Whether lacking a block is worth a word: nobody expects of a node's own store that it has what others are asked for. */
  readonly tellsMissing: boolean
  readonly clock: Clock
}

export class StoreSource implements BlockSource {
  readonly #init: Init
  readonly #clock: Clock
  #store: Promise<BlockStoreReadonly> | null = null
  readonly #traffic: SourceTraffic
  readonly availableAt = 0
  readonly suspect = false
  readonly unusualMs = HEDGE_MS_MAX
  readonly beaten = (): void => {} // a slow disk: nothing is gained by asking it later

  constructor (init: Init) {
    this.#init = init
    this.#clock = init.clock
    this.#traffic = new SourceTraffic(init.clock)
  }

  get name (): string {
    return this.#init.name
  }

  async fetch (wants: WantList, attempts: Attempt[], waits: FetchWaits): Promise<void> {
    const { tellsMissing } = this.#init
    if (tellsMissing) wants.begin() // else those who are asked next say so
    for (const [key, { cid }] of wants.pending()) { // also what is added on the way
      waits.signal.throwIfAborted()
      const started = this.#clock.monotonicMs()
      const fail = (code: Attempt['code'], note: string): void => {
        this.#traffic.failure(code)
        attempts.push({ source: this.name, code, note, ms: this.#clock.monotonicMs() - started, transient: false, formatRefused: false })
      }
      if (!tellsMissing && !(await this.#open()).has(cid)) continue
      const ended = this.#traffic.request(`block ${cid.toString()}`, waits.priority)
      try {
        const block = await (await this.#open()).get(cid)
        if (block === null) {
          fail('ROOT_NOT_FOUND', this.#init.type === 'car' ? 'not in the file' : 'not here')
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
      type: this.#init.type,
      ...this.#traffic.totals,
      budget: null,
      retryAt: null,
      health: 'ok',
      usualMs: null
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

  async #open (): Promise<BlockStoreReadonly> {
    this.#store ??= this.#init.open()
    try {
      return await this.#store
    } catch (error) {
      this.#store = null // the file may be put right
      throw error
    }
  }
}
