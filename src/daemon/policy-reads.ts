// Stands between supplier and data plane. What is supplied gets its room in the cache first. A read that fails for good is
// told to the policy first, and fails when the policy has done what it does; only reads count, not what is fetched ahead.
import type { DataPlane } from '../mount/data-plane.ts'
import { overlaps } from '../mount/chunk-runs.ts'
import type { ChunkRun, SupplySink } from '../mount/supply.ts'

interface PolicedReadsInit {
  readonly plane: Pick<DataPlane, 'supply' | 'fail'>
  /** A read of this file failed: what the policy does about it. */
  readonly onFailed: (name: string, reason: string) => Promise<void>
  /** Room for chunks of a file; the answer is called when they are stored or not taken. */
  readonly admit: (name: string, first: number, count: number) => Promise<() => void>
  /** After which a read that is still unanswered counts as failed; null: never. */
  readonly deadlineMs: number | null
}

export class PolicedReads implements SupplySink {
  readonly #init: PolicedReadsInit
  /** What is being fetched for reads, by file: one entry per fetch. */
  readonly #reading = new Map<string, Set<readonly ChunkRun[]>>()
  readonly #failing = new Set<Promise<void>>()

  constructor (init: PolicedReadsInit) {
    this.#init = init
  }

  /** Runs `work`, which answers these misses that reads wait for; ends when their failures were told, too. */
  async answer (name: string, runs: readonly ChunkRun[], work: () => Promise<void>): Promise<void> {
    const { deadlineMs, onFailed } = this.#init
    const reading = this.#reading.get(name) ?? new Set()
    this.#reading.set(name, reading.add(runs))
    const late = deadlineMs === null ? undefined : setTimeout(() => { void onFailed(name, `no answer within ${deadlineMs} ms`) }, deadlineMs)
    try {
      await work()
      await Promise.all(this.#failing)
    } finally {
      clearTimeout(late)
      reading.delete(runs)
      if (reading.size === 0) this.#reading.delete(name)
    }
  }

  readonly supply: SupplySink['supply'] = async (name, encoding, first, count, payload) => {
    const settled = await this.#init.admit(name, first, count)
    await this.#init.plane.supply(name, encoding, first, count, payload, settled)
  }

  readonly fail: SupplySink['fail'] = (name, first, count, errno) => {
    const { onFailed, plane } = this.#init
    if (!overlaps({ first, count }, [...this.#reading.get(name) ?? []].flat())) {
      plane.fail(name, first, count, errno)
      return
    }
    const told = onFailed(name, `errno ${errno}`).finally(() => {
      this.#failing.delete(told)
      plane.fail(name, first, count, errno)
    })
    this.#failing.add(told)
  }
}
