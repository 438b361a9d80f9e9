// How many bytes beside what a read missed are worth asking for with it. Where the line is fast and the way is long, the blocks
// behind a missed one come in a fraction of the time that asking for them later would take, and some of them are read next.
import { SPARE_BYTES_MAX, SPARE_SHARE } from '../base/limits.ts'
import type { SourceStatus } from '../ipfs/blocks.ts'

/** Of the first source that is well and was heard of; 0 without one. */
export function spareBytes (sources: ReadonlyArray<Pick<SourceStatus, 'health' | 'usualMs' | 'bytesPerSecond'>>): number {
  for (const { health, usualMs, bytesPerSecond } of sources) {
    if (health !== 'ok' || usualMs === null || bytesPerSecond === null) continue
    return Math.min(SPARE_BYTES_MAX, Math.floor(usualMs / 1000 * bytesPerSecond * SPARE_SHARE))
  }
  return 0
}
