// Placed chunks grouped: by the gzip member that holds them, by what is needed first, by what is missing.
import type { PlacedChunk } from '../layer/placed-chunks.ts'

export type { PlacedChunk }

/** Bytes [offset, offset + length) of the blob and the chunks, neighbours in the table, that come out of them. */
export interface Member {
  readonly offset: number
  readonly length: number
  readonly firstChunk: number
  readonly count: number
}

/** The members that hold chunks [first, first + count), in table order; one member may appear once per run of its chunks. */
export function membersOf (chunks: readonly PlacedChunk[], first: number, count: number): Member[] {
  const members: Array<{ offset: number, length: number, firstChunk: number, count: number }> = []
  for (let at = first; at < first + count; at++) {
    const chunk = chunks[at]
    if (chunk === undefined) break
    const last = members.at(-1)
    if (last?.offset === chunk.offset) last.count++
    else members.push({ offset: chunk.offset, length: chunk.length, firstChunk: at, count: 1 })
  }
  return members
}

/** Runs of chunks whose members end within the first `bytes` of the blob. */
export function chunksWithin (chunks: readonly PlacedChunk[], bytes: number): Array<{ first: number, count: number }> {
  const runs: Array<{ first: number, count: number }> = []
  for (const [at, chunk] of chunks.entries()) {
    if (chunk.offset + chunk.length > bytes) continue
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === at) last.count++
    else runs.push({ first: at, count: 1 })
  }
  return runs
}

/** Runs of missing chunks, cut so that the members of one have about `windowBytes`; `bytes` are of the blob. */
export function missingWindows (
  chunks: readonly PlacedChunk[], isPresent: (chunk: number) => boolean, windowBytes: number
): Array<{ readonly first: number, readonly count: number, readonly bytes: number }> {
  const windows: Array<{ first: number, count: number, bytes: number }> = []
  let member = -1
  for (const [at, { offset, length }] of chunks.entries()) {
    if (isPresent(at)) continue
    const last = windows.at(-1)
    const more = offset === member ? 0 : length
    member = offset
    if (last === undefined || last.first + last.count !== at || last.bytes + more > windowBytes) windows.push({ first: at, count: 1, bytes: length })
    else {
      last.count++
      last.bytes += more
    }
  }
  return windows
}
