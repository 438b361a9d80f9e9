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

/** The first member that starts at or after `offset`. */
export function lowerBound (members: readonly Member[], offset: number): number {
  let low = 0
  let high = members.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((members[middle]?.offset ?? 0) < offset) low = middle + 1
    else high = middle
  }
  return low
}

interface KnownMembers {
  readonly all: readonly Member[]
  readonly sent: ReadonlySet<number>
  readonly coming: ReadonlyMap<number, unknown>
}

/**
 * Without members that span two leaves of which one has come: for one of them, which nobody may ever read, a whole leaf would
 * come twice. `all`: by offset; `sent`, `coming`: first chunks of members that were supplied, or will be.
 */
export function whollyNew (missing: readonly Member[], { all, sent, coming }: KnownMembers, leafBytes = SUPPLY_ALIGNMENT): Member[] {
  const leafOf = (offset: number): number => Math.floor(offset / leafBytes)
  return missing.filter(({ offset, length }) => {
    if (leafOf(offset) === leafOf(offset + length - 1)) return true
    const at = lowerBound(all, offset)
    return ![all[at - 1], all[at + 1]].some((neighbour) => neighbour !== undefined && (sent.has(neighbour.firstChunk) || coming.has(neighbour.firstChunk)))
  })
}
