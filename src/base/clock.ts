// Time as an interface, so that tests own it. The only place that reads the system clock.

export interface Clock {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Nanoseconds since 1970, for timestamps that clients compare. */
  readonly nowNs: () => bigint
  /** Monotonic milliseconds, for durations. */
  readonly monotonicMs: () => number
}

const originNs = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint()

export const systemClock: Clock = {
  now: () => Date.now(),
  nowNs: () => originNs + process.hrtime.bigint(),
  monotonicMs: () => performance.now()
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export async function sleep (ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => { clearTimeout(timer); reject(signal?.reason as Error) }
    const timer = setTimeout(() => { signal?.removeEventListener('abort', onAbort); resolve() }, ms)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
