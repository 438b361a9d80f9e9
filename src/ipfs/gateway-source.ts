// One trustless gateway as a source of blocks. Learns which formats it offers; keeps away from it while it asks for rest;
// lets foreground go first. Every block is checked against its CID before anybody sees it.
import type { CID } from 'multiformats/cid'
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError, hasCode, SnapshotterError } from '../base/errors.ts'
import {
  BLOCK_BYTES_MAX, CAR_OVERHEAD_BYTES_MAX, FETCH_CONCURRENCY, SOURCE_BACKGROUND_CONCURRENCY, SOURCE_CONCURRENCY
} from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { type Priority, Semaphore } from '../base/semaphore.ts'
import { type VerifiedBytes, verifyBlock } from '../verify/verified-bytes.ts'
import type { Attempt } from './attempts.ts'
import { type BlockKey, keyOf } from './block-key.ts'
import type { BlockSource, FetchWaits, Need, WantList } from './block-source.ts'
import type { SourceStatus } from './blocks.ts'
import { carPath, carRange, only, worthCar } from './car-request.ts'
import type { ForegroundGate } from './foreground-gate.ts'
import { CarParser } from './car-parser.ts'
import { CAR_ACCEPT, CAR_TYPE, failureOfStatus, failureOfType, FORMAT_REFUSED, isTransient, RAW_TYPE } from './gateway-answer.ts'
import type { GatewayTransport, TransportAnswer } from './gateway-transport.ts'
import { type SourceActivity, SourceTraffic } from './source-traffic.ts'
import { Standing } from './standing.ts'

const FORMAT_MEMORY_MS = 600_000 // a refused format is tried again after this

type Outcome = 'done' | 'refused' | 'missing' | 'failed'

export class GatewaySource implements BlockSource {
  readonly #http: GatewayTransport
  readonly #clock: Clock
  readonly #log: Log
  readonly #gate: ForegroundGate
  readonly #standing: Standing
  readonly #slots = new Semaphore(SOURCE_CONCURRENCY)
  readonly #backgroundSlots = new Semaphore(SOURCE_BACKGROUND_CONCURRENCY)
  /** Until when (monotonic milliseconds) a format is not asked for, because it was refused while the other one worked. */
  #refused = { raw: 0, car: 0 }
  readonly #traffic: SourceTraffic

  constructor (http: GatewayTransport, { clock, log, gate }: { readonly clock: Clock, readonly log: Log, readonly gate: ForegroundGate }) {
    this.#http = http
    this.#clock = clock
    this.#log = log
    this.#gate = gate
    this.#standing = new Standing(clock)
    this.#traffic = new SourceTraffic(clock)
  }

  get name (): string {
    return this.#http.name
  }

  get suspect (): boolean {
    return this.#standing.suspect
  }

  get availableAt (): number {
    return this.#standing.availableAt
  }

  get unusualMs (): number {
    return this.#standing.latency.unusualMs
  }

  beaten (): void {
    this.#standing.beaten()
    this.#log.debug({ source: this.name }, 'source was silent while another one delivered')
  }

  async fetch (wants: WantList, attempts: Attempt[], waits: FetchWaits): Promise<void> {
    const cutBefore = attempts.some(({ source, code }) => source === this.name && code === 'CAR_TRUNCATED')
    if (wants.target === null || cutBefore || !this.#offers('car')) return await this.#fetchBlocks(wants, attempts, waits)
    // One block alone; then a CAR if it was a node whose children are needed, or if only its root is known there.
    if (!worthCar(wants) && !await this.#fetchFirst(wants, attempts, waits)) return

    const outcome = await this.#attempt(attempts, waits, wants, async () => { await this.#fetchCar(wants, waits) })
    // A path that a CAR cannot be made for may still have its first blocks.
    if (wants.size === 0 || (outcome !== 'refused' && !(outcome === 'missing' && wants.target.names.length > 0))) return
    const before = wants.delivered
    await this.#fetchBlocks(wants, attempts, waits)
    if (outcome === 'refused' && wants.delivered > before) this.#remember('car')
  }

  status (): SourceStatus {
    return {
      name: this.name,
      type: 'gateway',
      ...this.#traffic.totals,
      ...this.#standing.said
    }
  }

  activity (): SourceActivity {
    return this.#traffic.activity
  }

  async close (): Promise<void> {
    await this.#http.close()
  }

  #offers (format: 'raw' | 'car'): boolean {
    return this.#refused[format] <= this.#clock.monotonicMs()
  }

  #remember (refused: 'raw' | 'car'): void {
    this.#refused = { raw: 0, car: 0, [refused]: this.#clock.monotonicMs() + FORMAT_MEMORY_MS }
  }

  /** The list's only block. True when a CAR has to follow. */
  async #fetchFirst (wants: WantList, attempts: Attempt[], waits: FetchWaits): Promise<boolean> {
    for (const [, { cid }] of wants.pending()) {
      const outcome = await this.#fetchBlock(cid, wants, attempts, waits)
      const isRoot = wants.target?.names.length === 0 && keyOf(wants.target.root) === keyOf(cid)
      return outcome === 'done' ? wants.size > 0 : outcome === 'missing' && !isRoot
    }
    return false
  }

  /** Single blocks, a few at a time, until all are here or the gateway shows that it has no more to give. */
  async #fetchBlocks (wants: WantList, attempts: Attempt[], waits: FetchWaits): Promise<void> {
    const tried = new Set<string>()
    let giveUp = false
    // One pass, and another whenever blocks came since the last began: a list that is not here may be long.
    let [pass, deliveredBefore] = [wants.pending()[Symbol.iterator](), wants.delivered]
    const next = (): Need | undefined => {
      while (!giveUp) {
        const step = pass.next()
        if (step.done === true) {
          if (wants.delivered === deliveredBefore) return undefined
          ;[pass, deliveredBefore] = [wants.pending()[Symbol.iterator](), wants.delivered]
        } else if (!tried.has(step.value[0])) return step.value[1]
      }
      return undefined
    }
    const running = new Set<Promise<void>>()
    for (;;) {
      for (let need = next(); need !== undefined; need = running.size < FETCH_CONCURRENCY ? next() : undefined) {
        const { cid } = need
        tried.add(keyOf(cid))
        const block = this.#fetchBlock(cid, wants, attempts, waits)
          .then((outcome) => { if (outcome === 'failed' || outcome === 'refused') giveUp = true })
          .finally(() => running.delete(block))
        running.add(block)
      }
      if (running.size === 0) return
      await Promise.race(running)
    }
  }

  async #fetchBlock (cid: CID, wants: WantList, attempts: Attempt[], waits: FetchWaits): Promise<Outcome> {
    const car = async (): Promise<void> => { await this.#fetchCar(only(cid, wants), waits) }
    if (!this.#offers('raw')) return await this.#attempt(attempts, waits, wants, car)
    const outcome = await this.#attempt(attempts, waits, wants, async () => { await this.#fetchRaw(cid, wants, waits) })
    if (outcome !== 'refused' || !this.#offers('car')) return outcome
    const second = await this.#attempt(attempts, waits, wants, car)
    if (second === 'done') this.#remember('raw')
    return second
  }

  async #attempt (attempts: Attempt[], waits: FetchWaits, wants: WantList, work: () => Promise<void>): Promise<Outcome> {
    return await this.#inSlot({ ...waits, of: wants.target?.root.toString() }, async () => {
      if (wants.size === 0) return 'done'
      const started = this.#clock.monotonicMs()
      const record = (failure: SnapshotterError, transient: boolean): void => {
        const { code, message: note, details } = failure
        const ms = this.#clock.monotonicMs() - started
        attempts.push({ source: this.name, code, note, ms, transient, formatRefused: details[FORMAT_REFUSED] === true })
      }
      const rest = this.#standing.restMs
      if (rest > 0) {
        record(new SnapshotterError('GATEWAY_RATE_LIMITED', `it asked to be left alone for ${Math.ceil(rest / 1000)} s more`), false)
        return 'failed'
      }
      wants.begin()
      const ended = this.#traffic.request(wants.what, waits.priority)
      try {
        await work()
        this.#standing.good()
        return 'done'
      } catch (error) {
        waits.signal.throwIfAborted()
        const failure = asSnapshotterError(error)
        this.#traffic.failure(failure.code)
        record(failure, isTransient(failure))
        return this.#learn(failure)
      } finally {
        ended()
      }
    })
  }

  #learn (failure: SnapshotterError): Outcome {
    if (failure.details[FORMAT_REFUSED] === true) return 'refused'
    if (failure.code === 'ROOT_NOT_FOUND') return 'missing'
    const lied = hasCode(failure, 'BLOCK_HASH_MISMATCH', 'BLOCK_TOO_LARGE', 'CAR_INVALID')
    if (lied) this.#log.warn({ source: this.name, code: failure.code, reason: failure.message }, 'source sent bytes that do not match')
    if (lied || hasCode(failure, 'GATEWAY_TIMEOUT', 'ROOT_UNREACHABLE')) this.#standing.bad()
    return 'failed'
  }

  /** Files take turns: the many requests of one do not hold up the next one of another. */
  async #inSlot<Result> (waits: FetchWaits & { readonly of: string | undefined }, work: () => Promise<Result>): Promise<Result> {
    const started = this.#traffic.queued(waits.priority)
    const inTurn = async (): Promise<Result> => {
      started()
      return await work()
    }
    try {
      if (waits.priority === 'foreground') return await this.#slots.run(inTurn, waits)
      return await this.#backgroundSlots.run(async () => {
        await this.#gate.quiet(waits.signal)
        return await this.#slots.run(inTurn, waits)
      }, waits)
    } finally {
      started()
    }
  }

  async #fetchRaw (cid: CID, wants: WantList, waits: FetchWaits): Promise<void> {
    await this.#ask(`/ipfs/${cid.toString()}?format=raw`, RAW_TYPE, RAW_TYPE, waits, async (answer) => {
      const pieces: Uint8Array[] = []
      const tooLarge = (bytes: number): never => {
        throw new SnapshotterError('BLOCK_TOO_LARGE', `block ${cid.toString()} of ${bytes} bytes or more, limit ${BLOCK_BYTES_MAX}`)
      }
      if ((answer.length ?? 0) > BLOCK_BYTES_MAX) tooLarge(answer.length ?? 0)
      for (let piece = await answer.next(); piece !== null; piece = await answer.next()) {
        pieces.push(piece)
        if (answer.bytes > BLOCK_BYTES_MAX) tooLarge(answer.bytes)
      }
      this.#accept(wants, waits.priority, keyOf(cid), verifyBlock(cid, Buffer.concat(pieces), this.name))
    })
  }

  #accept (wants: WantList, purpose: Priority, key: BlockKey, bytes: VerifiedBytes): void {
    this.#traffic.block(purpose)
    wants.accept(key, bytes)
  }

  async #fetchCar (wants: WantList, waits: FetchWaits): Promise<void> {
    const range = carRange(wants)
    const limit = range.bytes + CAR_OVERHEAD_BYTES_MAX
    await this.#ask(carPath(wants, range), CAR_ACCEPT, CAR_TYPE, waits, async (answer) => {
      const truncated = (how: string): SnapshotterError =>
        new SnapshotterError('CAR_TRUNCATED', `${how} after ${parser.blocks} of the wanted blocks, ${wants.size} missing`)
      const parser = new CarParser({
        wants: (key) => wants.wanted(key) !== undefined,
        block: (key, bytes) => {
          const cid = wants.wanted(key)
          if (cid !== undefined) this.#accept(wants, waits.priority, key, verifyBlock(cid, bytes, this.name))
        }
      }, this.name)
      if ((answer.length ?? 0) > limit) this.#overfull(answer.length ?? 0, limit)
      const next = async (): Promise<Uint8Array | null> => {
        try {
          return await answer.next()
        } catch (error) {
          throw hasCode(error, 'ROOT_UNREACHABLE') ? truncated('CAR broke off') : error
        }
      }
      for (let piece = await next(); piece !== null; piece = await next()) {
        parser.push(piece)
        if (wants.size === 0) return await answer.finish()
        if (answer.bytes > limit) this.#overfull(answer.bytes, limit)
      }
      throw truncated(parser.whole ? 'CAR ended' : 'CAR ended inside a section')
    })
  }

  /** It may know no `entity-bytes` and send everything: its CARs are of no use, its single blocks may be. */
  #overfull (bytes: number, limit: number): never {
    throw new SnapshotterError('CAR_INVALID', `CAR of ${bytes} bytes or more, limit ${limit}`, { [FORMAT_REFUSED]: true })
  }

  async #ask (path: string, accept: string, type: string, waits: FetchWaits, read: (answer: TransportAnswer) => Promise<void>): Promise<void> {
    const asked = this.#clock.monotonicMs()
    const onBytes = (bytes: number): void => {
      this.#traffic.bytes(waits.priority, bytes)
      waits.alive?.()
    }
    const answer = await this.#http.get(path, accept, onBytes, waits.signal)
    try {
      waits.alive?.()
      if (waits.priority === 'foreground') this.#standing.latency.observe(this.#clock.monotonicMs() - asked)
      const rest = this.#standing.note(answer.status, answer.headers)
      if (rest !== null) this.#log.info({ source: this.name, ms: rest }, 'source asks to be left alone')
      const failure = failureOfStatus(answer.status) ?? failureOfType(type, answer.contentType)
      if (failure !== null) {
        await answer.finish()
        throw failure
      }
      await read(answer)
    } finally {
      await answer.drop()
    }
  }
}
