// Which ranges of a blob bring the members that are missing.
import { RANGE_BYTES_MAX, SUPPLY_ALIGNMENT } from '../base/limits.ts'
import type { Member } from './layer-table.ts'

/** Bytes [from, to). */
export interface BlobRange { readonly from: number, readonly to: number }

/** Ranges that cover the members, aligned to usual leaf borders, merged when they touch, cut at RANGE_BYTES_MAX. */
export function rangesOf (members: readonly Member[], blobSize: number, leafBytes = SUPPLY_ALIGNMENT): BlobRange[] {
  const aligned = members
    .map(({ offset, length }) => ({
      from: Math.floor(offset / leafBytes) * leafBytes,
      to: Math.min(blobSize, Math.ceil((offset + length) / leafBytes) * leafBytes)
    }))
    .sort((a, b) => a.from - b.from)
  const ranges: Array<{ from: number, to: number }> = []
  for (const range of aligned) {
    const last = ranges.at(-1)
    // Overlapping ranges must merge, since a member may span the border; touching ones only while the range is small.
    if (last !== undefined && (range.from < last.to || (range.from === last.to && range.to - last.from <= RANGE_BYTES_MAX))) {
      last.to = Math.max(last.to, range.to)
    } else {
      ranges.push({ ...range })
    }
  }
  return ranges
}
