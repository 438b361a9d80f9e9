// Whether a series of samples grows. Pure.
import { quantile } from '../statistics.ts'

export interface Sample { readonly atSeconds: number, readonly value: number }

/** Median of the slopes of pairs half the series apart (after Theil and Sen), per hour: single peaks do not move it. */
export function slopePerHour (samples: readonly Sample[]): number {
  const half = Math.floor(samples.length / 2)
  const slopes = samples.slice(0, samples.length - half).flatMap((from, at) => {
    const to = samples[at + half]
    return to === undefined || to.atSeconds <= from.atSeconds ? [] : [(to.value - from.value) / (to.atSeconds - from.atSeconds) * 3600]
  })
  return slopes.length === 0 ? 0 : quantile(slopes, 0.5)
}

/** How much the last third stands above the middle third, by their medians: the first third fills caches. */
export function growth (samples: readonly Sample[]): number {
  const third = Math.floor(samples.length / 3)
  if (third === 0) return 0
  const median = (part: readonly Sample[]): number => quantile(part.map(({ value }) => value), 0.5)
  return median(samples.slice(2 * third)) - median(samples.slice(third, 2 * third))
}
