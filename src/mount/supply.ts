// Answers the data plane's misses: missing chunks → members of the blob → few verified ranges → frames with the
// compressed members, which the worker inflates and checks against the chunk digests. A whole UnixFS leaf is fetched
// anyway, so everything else in it is supplied too.
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { asSnapshotterError, type ErrorCode, errnoOf, hasCode } from '../base/errors.ts'
import { READ_AHEAD_REQUESTS, SUPPLY_RETRY_MS_FIRST, SUPPLY_RETRY_MS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Priority } from '../base/semaphore.ts'
import type { UnixfsFile, Waits } from '../ipfs/blocks.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { lowerBound, rangesOf, whollyNew } from './blob-ranges.ts'
import { BlobWindow } from './blob-window.ts'
import { without } from './chunk-runs.ts'
import { handOut } from './member-stream.ts'
import { type Member, membersOf, type PlacedChunk } from './layer-table.ts'
import { ReadAhead } from './read-ahead.ts'

export interface ChunkRun { readonly first: number, readonly count: number }

/** The data plane as this file needs it. */
export interface SupplySink {
  readonly supply: (name: string, encoding: 'raw' | 'gzip', first: number, count: number, payload: Uint8Array) => Promise<void>
  readonly fail: (name: string, first: number, count: number, errno: number) => void
}

/** Where one served file's bytes come from. */
export interface SuppliedFile {
  readonly name: string
  /** Files of one cache share what was supplied. */
  readonly cacheFolder: string
  readonly chunks: readonly PlacedChunk[]
  readonly format: 'estargz' | 'tar'
  /** Of the blob, from its start: needed first, so fetched as a read would, also when nobody reads yet. */
  readonly prefetchBytes: number
  /** Opens the blob; called again after a failure. */
  readonly blob: () => Promise<UnixfsFile>
  /** Raw chunks of a plain layer, by streaming it again from the start. */
  readonly rawChunks: (runs: readonly ChunkRun[], waits: Waits) => AsyncIterable<{ readonly chunk: number, readonly bytes: Uint8Array }>
}

/** Shared by all files that serve one cache: what one was given, the others have. */
interface Members {
  /** By blob offset. */
  readonly all: readonly Member[]
  /** First chunks of members that were supplied already: not worth sending again unasked. */
  readonly sent: Set<number>
  /** First chunks of members that are on their way, with what ends when they were supplied, or not. */
  readonly coming: Map<number, { readonly priority: Priority, readonly ended: Promise<unknown> }>
  /** First chunks of members that somebody asked for and that did not go out yet: they go before what merely came with others. */
  readonly awaited: Set<number>
  /** What reads wait for: the read that took over from a background fetch fails at its own deadline, not at that one's. */
  readonly reads: Set<readonly ChunkRun[]>
}

interface Entry {
  readonly file: SuppliedFile
  readonly members: Members
  readonly readAhead: ReadAhead
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

interface Request {
  readonly entry: Entry
  readonly priority: Priority
  /** First chunks of members that went out for it: a second try fetches only the rest. */
  readonly supplied: Set<number>
  /** Nobody is known to read any of it next. */
  readonly isGuess?: boolean
}

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
    const twin = [...this.#files.values()].find((other) => other.file.cacheFolder === file.cacheFolder)
    const members = twin?.members ?? {
      all: membersOf(file.chunks, 0, file.chunks.length).sort((a, b) => a.offset - b.offset),
      sent: new Set(),
      coming: new Map(),
      awaited: new Set(),
      reads: new Set()
    }
    this.#files.set(file.name, { file, members, readAhead: new ReadAhead(file.chunks), abort: new AbortController() })
  }

  /** Everything that is served now. */
  files (): SuppliedFile[] {
    return [...this.#files.values()].map(({ file }) => file)
  }

  remove (name: string): void {
    this.#files.get(name)?.abort.abort()
    this.#files.delete(name)
  }

  /** The publisher marked all of it as needed first. */
  isUrgent (name: string, runs: readonly ChunkRun[]): boolean {
    const { chunks = [], prefetchBytes = 0 } = this.#files.get(name)?.file ?? {}
    return runs.every(({ first }) => (chunks[first]?.offset ?? Infinity) < prefetchBytes)
  }

  /** Never throws: failing sources are tried again for as long as a read may wait, then each run is answered with an errno. */
  async answer (name: string, runs: readonly ChunkRun[], { background }: { readonly background: boolean } = { background: false }): Promise<void> {
    const entry = this.#files.get(name)
    if (entry === undefined) {
      this.#failAll(name, runs, 'UNAVAILABLE')
      return
    }
    const until = this.#patienceMs === null ? Infinity : this.#clock.monotonicMs() + this.#patienceMs
    const request: Request = { entry, priority: background && !this.isUrgent(name, runs) ? 'background' : 'foreground', supplied: new Set() }
    if (!background) entry.members.reads.add(runs)
    await this.#answer(request, runs, until, background).finally(() => entry.members.reads.delete(runs))
  }

  async #answer (request: Request, runs: readonly ChunkRun[], until: number, background: boolean): Promise<void> {
    const { entry, entry: { file: { name } } } = request
    for (let pauseMs = SUPPLY_RETRY_MS_FIRST; ; pauseMs = Math.min(pauseMs * 2, SUPPLY_RETRY_MS_MAX)) {
      try {
        await this.#supply(request, runs)
        if (request.priority === 'foreground') void this.#goAhead(entry, entry.readAhead.after(runs))
        if (!background) void this.#goAhead(entry, entry.readAhead.everything(runs), true)
        return
      } catch (error) {
        if (entry.abort.signal.aborted) return // its file goes, and whoever waited asks again or hears of that
        const failure = asSnapshotterError(error)
        const last = hasCode(failure, ...FINAL) || this.#clock.monotonicMs() + pauseMs > until
        this.#log.warn({ name, runs: runs.length, error: failure.line, retryMs: last ? null : pauseMs }, last ? 'read failed' : 'read waits for its sources')
        if (last) {
          this.#failAll(name, background ? without(runs, [...entry.members.reads].flat()) : runs, failure.code)
          return
        }
      }
      await sleep(pauseMs, entry.abort.signal).catch(() => {})
    }
  }

  /**
   * Passes a blob on from its start, and gives the cache what it holds on the way: members that were not supplied yet and
   * of whose chunks one is `wanted`. Chunks that the cache refuses are told as for any supply.
   */
  async * feed (cacheFolder: string, blob: AsyncIterable<VerifiedBytes>, wanted: (chunk: number) => boolean): AsyncGenerator<VerifiedBytes> {
    const serving = (): Entry | undefined => [...this.#files.values()].find(({ file }) => file.cacheFolder === cacheFolder)
    const members = serving()?.members
    const window = new BlobWindow(0)
    let next = 0
    for await (const bytes of blob) {
      window.push(bytes)
      for (let member = members?.all[next]; member !== undefined && member.offset + member.length <= window.end; member = members?.all[++next]) {
        const { firstChunk, count, offset, length } = member
        const entry = serving()
        const isKnown = members?.sent.has(firstChunk) === true || members?.coming.has(firstChunk) === true
        if (entry === undefined || isKnown || !Array.from({ length: count }, (_, at) => firstChunk + at).some(wanted)) continue
        members?.sent.add(firstChunk)
        await this.#sink.supply(entry.file.name, 'gzip', firstChunk, count, window.slice(offset, length))
      }
      window.dropBefore(members?.all[next]?.offset ?? window.end)
      yield bytes
    }
  }

  /** Behind what was waited for, so that it never shares the line with it; whoever wants it meanwhile waits for it. */
  async #goAhead (entry: Entry, runs: readonly ChunkRun[], isGuess = false): Promise<void> {
    const { file, members: { sent, coming } } = entry
    if (file.format === 'tar') return
    const lacking = ({ first, count }: ChunkRun): Member[] =>
      membersOf(file.chunks, first, count).filter(({ firstChunk }) => !sent.has(firstChunk) && !coming.has(firstChunk))
    const left = runs.filter((run) => lacking(run).length > 0)
    const one = async (): Promise<void> => {
      const blob = await file.blob()
      for (let run = left.shift(); run !== undefined; run = left.shift()) {
        const missing = isGuess ? whollyNew(lacking(run), entry.members, blob.leafBytes) : lacking(run)
        await this.#supplyMembers({ entry, priority: 'foreground', supplied: new Set(), isGuess }, blob, missing)
      }
    }
    await Promise.all(Array.from({ length: READ_AHEAD_REQUESTS }, one)).catch((error: unknown) => {
      this.#log.debug({ file: file.name, error: asSnapshotterError(error).line }, 'read ahead ended early')
    })
  }

  #failAll (name: string, runs: readonly ChunkRun[], code: Parameters<typeof errnoOf>[0]): void {
    for (const { first, count } of runs) this.#sink.fail(name, first, count, errnoOf(code))
  }

  async #supply (request: Request, runs: readonly ChunkRun[]): Promise<void> {
    const { entry: { file, members, abort: { signal } }, supplied } = request
    signal.throwIfAborted()
    this.#log.debug({ file: file.name, runs: runs.slice(0, 8), priority: request.priority }, 'chunks missing')
    if (file.format === 'tar') {
      for await (const { chunk, bytes } of file.rawChunks(runs, { signal, priority: request.priority })) {
        await this.#sink.supply(file.name, 'raw', chunk, 1, bytes)
      }
      return
    }
    const blob = await file.blob() // nothing below waits before what is on its way is noted
    const asked = runs.flatMap(({ first, count }) => membersOf(file.chunks, first, count)).filter(({ firstChunk }) => !supplied.has(firstChunk))
    // What another read is fetching comes once; a read does not wait behind a background fetch, it joins at the sources.
    const others = asked.flatMap(({ firstChunk }) => {
      const coming = members.coming.get(firstChunk)
      return coming === undefined || (coming.priority === 'background' && request.priority === 'foreground') ? [] : [{ firstChunk, ...coming }]
    })
    const theirs = new Set(others.map(({ firstChunk }) => firstChunk))
    for (const firstChunk of theirs) members.awaited.add(firstChunk)
    const mine = asked.filter(({ firstChunk }) => !theirs.has(firstChunk))
    await Promise.all([this.#supplyMembers(request, blob, mine), ...others.map(async ({ ended }) => await ended)])
      .finally(() => { for (const firstChunk of theirs) members.awaited.delete(firstChunk) })
    for (const firstChunk of theirs) if (members.sent.has(firstChunk)) supplied.add(firstChunk)
    if (theirs.size > 0) await this.#supply(request, runs)
  }

  /** Ends when the missing ones went out; what else came with them goes out behind that, and counts as on its way. */
  async #supplyMembers ({ entry, priority, supplied, isGuess = false }: Request, blob: UnixfsFile, missing: readonly Member[]): Promise<void> {
    if (missing.length === 0) return
    const { all, sent, coming } = entry.members
    for (const { firstChunk } of missing) sent.delete(firstChunk)
    const wanted = new Set(missing.map(({ offset }) => offset))
    await Promise.all(rangesOf(missing, blob.size, blob.leafBytes).map(async (range) => {
      const inside = all
        .slice(lowerBound(all, range.from), lowerBound(all, range.to))
        .filter(({ offset, length, firstChunk }) => offset + length <= range.to && (wanted.has(offset) || !(sent.has(firstChunk) || coming.has(firstChunk))))
      const { promise: enough, resolve } = Promise.withResolvers<undefined>()
      const left = new Set(inside.filter(({ offset }) => wanted.has(offset)).map(({ firstChunk }) => firstChunk))
      const gave = ({ firstChunk }: Member): void => {
        if (coming.get(firstChunk)?.ended === ended) coming.delete(firstChunk) // asked for once more, it is fetched once more
        supplied.add(firstChunk)
        left.delete(firstChunk)
        if (left.size === 0) resolve(undefined)
      }
      const waits = { signal: entry.abort.signal, keep: true, priority }
      const work = this.#supplyRange(entry, blob.stream(range.from, range.to - range.from, waits), range.from, inside, isGuess ? new Set() : wanted, gave)
      const ended = work.catch(() => {}).then(() => {
        for (const { firstChunk } of inside) if (coming.get(firstChunk)?.ended === ended) coming.delete(firstChunk)
      })
      for (const { firstChunk } of inside) coming.set(firstChunk, { priority, ended })
      await Promise.race([work, enough])
    }))
  }

  /** Leaves are kept: a member that spans two leaves is mostly wanted after the leaf was fetched for another one. */
  async #supplyRange (
    { file, members, abort }: Entry, stream: AsyncIterable<VerifiedBytes>, from: number, inside: readonly Member[], wanted: ReadonlySet<number>,
    gave: (member: Member) => void
  ): Promise<void> {
    await handOut({
      stream,
      from,
      members: inside,
      isAwaited: ({ offset, firstChunk }) => wanted.has(offset) || members.awaited.has(firstChunk),
      supply: async (member, bytes) => {
        members.sent.add(member.firstChunk)
        members.awaited.delete(member.firstChunk)
        await this.#sink.supply(file.name, 'gzip', member.firstChunk, member.count, bytes)
        gave(member)
      },
      signal: abort.signal
    })
  }
}
