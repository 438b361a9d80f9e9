// Answers the data plane's misses: missing chunks → members of the blob → few verified ranges → frames with the
// compressed members, which the worker inflates and checks against the chunk digests. A whole UnixFS leaf is fetched
// anyway, so everything else in it is supplied too.
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { asSnapshotterError, type ErrorCode, errnoOf, hasCode } from '../base/errors.ts'
import { RANGE_BYTES_MAX, SUPPLY_ALIGNMENT, SUPPLY_RETRY_MS_FIRST, SUPPLY_RETRY_MS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { UnixfsFile, Waits } from '../ipfs/blocks.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { type Member, membersOf, type PlacedChunk } from './layer-table.ts'

export interface ChunkRun { readonly first: number, readonly count: number }

/** The data plane as this file needs it. */
export interface SupplySink {
  readonly supply: (name: string, encoding: 'raw' | 'gzip', first: number, count: number, payload: Uint8Array) => Promise<void>
  readonly fail: (name: string, first: number, count: number, errno: number) => void
}

/** Where one served file's bytes come from. */
export interface SuppliedFile {
  readonly name: string
  readonly chunks: readonly PlacedChunk[]
  readonly format: 'estargz' | 'tar'
  /** Opens the blob; called again after a failure. */
  readonly blob: () => Promise<UnixfsFile>
  /** Raw chunks of a plain layer, by streaming it again from the start. */
  readonly rawChunks: (runs: readonly ChunkRun[], waits: Waits) => AsyncIterable<{ readonly chunk: number, readonly bytes: Uint8Array }>
}

interface Entry {
  readonly file: SuppliedFile
  /** All members by blob offset. */
  readonly members: readonly Member[]
  /** First chunks of members that were supplied already: not worth sending again unasked. */
  readonly sent: Set<number>
  readonly abort: AbortController
}

interface SupplierInit {
  readonly sink: SupplySink
  readonly log: Log
  /** How long a miss tries again while sources fail; null: for ever (`on_failure = "block"`). */
  readonly patienceMs: number | null
  readonly clock?: Clock
}

/** No second try makes these right: the image or our request is wrong, not the line. */
const FINAL: readonly ErrorCode[] = [
  'DIGEST_MISMATCH', 'DIFFID_MISMATCH', 'TOC_INVALID', 'LAYER_INVALID', 'LIMIT_EXCEEDED', 'CID_UNSUPPORTED', 'BLOCK_INVALID', 'CANCELLED', 'INTERNAL'
]

interface BlobRange { readonly from: number, readonly to: number }

export class Supplier {
  readonly #sink: SupplySink
  readonly #log: Log
  readonly #patienceMs: number | null
  readonly #clock: Clock
  readonly #files = new Map<string, Entry>()

  constructor (init: SupplierInit) {
    this.#sink = init.sink
    this.#log = init.log
    this.#patienceMs = init.patienceMs
    this.#clock = init.clock ?? systemClock
  }

  add (file: SuppliedFile): void {
    const members = membersOf(file.chunks, 0, file.chunks.length).sort((a, b) => a.offset - b.offset)
    this.#files.set(file.name, { file, members, sent: new Set(), abort: new AbortController() })
  }

  remove (name: string): void {
    this.#files.get(name)?.abort.abort()
    this.#files.delete(name)
  }

  /** Never throws: failing sources are tried again for as long as a read may wait, then each run is answered with an errno. */
  async answer (name: string, runs: readonly ChunkRun[]): Promise<void> {
    const entry = this.#files.get(name)
    if (entry === undefined) {
      this.#failAll(name, runs, 'UNAVAILABLE')
      return
    }
    const until = this.#patienceMs === null ? Infinity : this.#clock.monotonicMs() + this.#patienceMs
    const supplied = new Set<number>()
    for (let pauseMs = SUPPLY_RETRY_MS_FIRST; ; pauseMs = Math.min(pauseMs * 2, SUPPLY_RETRY_MS_MAX)) {
      try {
        await this.#supply(entry, runs, supplied)
        return
      } catch (error) {
        const failure = asSnapshotterError(error)
        const last = entry.abort.signal.aborted || hasCode(failure, ...FINAL) || this.#clock.monotonicMs() + pauseMs > until
        this.#log.warn({ name, runs: runs.length, error: failure.line, retryMs: last ? null : pauseMs }, last ? 'read failed' : 'read waits for its sources')
        if (last) {
          this.#failAll(name, runs, failure.code)
          return
        }
      }
      await sleep(pauseMs, entry.abort.signal).catch(() => {})
    }
  }

  #failAll (name: string, runs: readonly ChunkRun[], code: Parameters<typeof errnoOf>[0]): void {
    for (const { first, count } of runs) this.#sink.fail(name, first, count, errnoOf(code))
  }

  /** `supplied` holds the first chunks of members that went out already: a second try fetches only the rest. */
  async #supply (entry: Entry, runs: readonly ChunkRun[], supplied: Set<number>): Promise<void> {
    const { file, abort: { signal } } = entry
    signal.throwIfAborted()
    this.#log.debug({ file: file.name, runs: runs.slice(0, 8) }, 'chunks missing')
    if (file.format === 'tar') {
      for await (const { chunk, bytes } of file.rawChunks(runs, { signal })) await this.#sink.supply(file.name, 'raw', chunk, 1, bytes)
      return
    }
    const missing = runs.flatMap(({ first, count }) => membersOf(file.chunks, first, count)).filter(({ firstChunk }) => !supplied.has(firstChunk))
    await this.#supplyMembers(entry, missing, supplied)
  }

  async #supplyMembers (entry: Entry, missing: readonly Member[], supplied: Set<number>): Promise<void> {
    for (const { firstChunk } of missing) entry.sent.delete(firstChunk)
    const wanted = new Set(missing.map(({ offset }) => offset))
    const blob = await entry.file.blob()
    await Promise.all(rangesOf(missing, blob.size).map(async (range) => {
      const inside = entry.members
        .slice(lowerBound(entry.members, range.from), lowerBound(entry.members, range.to))
        .filter(({ offset, length, firstChunk }) => offset + length <= range.to && (wanted.has(offset) || !entry.sent.has(firstChunk)))
      await this.#supplyRange(entry, blob, range, inside, supplied)
    }))
  }

  async #supplyRange (entry: Entry, blob: UnixfsFile, range: BlobRange, members: readonly Member[], supplied: Set<number>): Promise<void> {
    const window = new Window(range.from)
    let next = 0
    // Kept: a member that spans two leaves is mostly wanted after the leaf was fetched for another one.
    const waits = { signal: entry.abort.signal, keep: true }
    for await (const bytes of blob.stream(range.from, range.to - range.from, waits)) {
      window.push(bytes)
      for (let member = members[next]; member !== undefined && member.offset + member.length <= window.end; member = members[++next]) {
        entry.sent.add(member.firstChunk)
        await this.#sink.supply(entry.file.name, 'gzip', member.firstChunk, member.count, window.slice(member.offset, member.length))
        supplied.add(member.firstChunk)
      }
      window.dropBefore(members[next]?.offset ?? window.end)
    }
  }
}

/** The first member that starts at or after `offset`. */
function lowerBound (members: readonly Member[], offset: number): number {
  let low = 0
  let high = members.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((members[middle]?.offset ?? 0) < offset) low = middle + 1
    else high = middle
  }
  return low
}

/** Ranges that cover the members, aligned to usual leaf borders, merged when they touch, cut at RANGE_BYTES_MAX. */
export function rangesOf (members: readonly Member[], blobSize: number): BlobRange[] {
  const aligned = members
    .map(({ offset, length }) => ({
      from: Math.floor(offset / SUPPLY_ALIGNMENT) * SUPPLY_ALIGNMENT,
      to: Math.min(blobSize, Math.ceil((offset + length) / SUPPLY_ALIGNMENT) * SUPPLY_ALIGNMENT)
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

/** The part of a stream that is still needed, addressed by blob offsets. */
class Window {
  #parts: VerifiedBytes[] = []
  #start: number
  end: number

  constructor (start: number) {
    this.#start = start
    this.end = start
  }

  push (bytes: VerifiedBytes): void {
    this.#parts.push(bytes)
    this.end += bytes.byteLength
  }

  slice (offset: number, length: number): Uint8Array {
    const pieces: Uint8Array[] = []
    let at = this.#start
    for (const part of this.#parts) {
      const from = Math.max(offset, at) - at
      const to = Math.min(offset + length, at + part.byteLength) - at
      if (to > from) pieces.push(part.subarray(from, to))
      at += part.byteLength
    }
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces)
  }

  dropBefore (offset: number): void {
    for (let part = this.#parts[0]; part !== undefined && this.#start + part.byteLength <= offset; part = this.#parts[0]) {
      this.#start += part.byteLength
      this.#parts.shift()
    }
  }
}
