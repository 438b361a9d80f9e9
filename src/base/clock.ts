// Time as an interface, so that tests own it. The only place that reads the system clock.

export interface Clock {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Nanoseconds since 1970, for timestamps that clients compare. */
  readonly nowNs: () => bigint
  /** Monotonic milliseconds, for durations. */
  readonly monotonicMs: () => number
}

const SAMPLES = 4

/** Real minus monotonic time, good to microseconds: clients compare our timestamps with the bounds of their call. */
let offsetNs = measureOffset()

// Date.now() is cut to milliseconds, so wait (at most one) for it to turn and take that moment. Being interrupted on the way, as on a
// busy machine, only ever makes the difference too small: the largest of a few is the best.
function measureOffset (): bigint {
  let best: bigint | null = null
  for (let sample = 0; sample < SAMPLES; sample++) {
    const before = Date.now()
    let now = before
    while (now === before) now = Date.now()
    const offset = BigInt(now) * 1_000_000n - process.hrtime.bigint()
    if (best === null || offset > best) best = offset
  }
  return best ?? 0n
}

function nowNs (): bigint {
  const estimate = offsetNs + process.hrtime.bigint()
  const cut = BigInt(Date.now()) * 1_000_000n
  // Further apart than cutting explains: somebody set the clock, or the machine slept.
  if (estimate < cut - 1_000_000n || estimate > cut + 2_000_000n) offsetNs = measureOffset()
  return offsetNs + process.hrtime.bigint()
}

export const systemClock: Clock = {
  now: () => Date.now(),
  nowNs,
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
