// Time that stands still until a test moves it; waiting moves it at once.
import type { Clock } from '../../src/base/clock.ts'

export class ManualTime {
  ms = 1_700_000_000_000
  /** How long was waited for, in order. */
  readonly waits: number[] = []

  readonly clock: Clock = {
    now: () => this.ms,
    nowNs: () => BigInt(this.ms) * 1_000_000n,
    monotonicMs: () => this.ms
  }

  readonly sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    signal?.throwIfAborted()
    this.waits.push(ms)
    this.ms += ms
  }
}
