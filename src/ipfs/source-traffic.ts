// What one source was asked for and gave, counted by what it was for, and what it is asked for right now.
import { noteReceived } from '../base/call-id.ts'
import type { Clock } from '../base/clock.ts'
import type { ErrorCode } from '../base/errors.ts'
import type { Priority } from '../base/semaphore.ts'
import type { SourceStatus } from './blocks.ts'

export interface Traffic {
  readonly requests: number
  readonly bytes: number
  /** That matched their CIDs. */
  readonly blocks: number
}

export interface SourceActivity {
  /** Somebody waited for it, or nobody did. */
  readonly traffic: Readonly<Record<Priority, Traffic>>
  readonly failuresByCode: Readonly<Partial<Record<ErrorCode, number>>>
  /** Requests under way, oldest first; milliseconds since they began. */
  readonly active: ReadonlyArray<{ readonly what: string, readonly purpose: Priority, readonly ms: number }>
  /** Requests that wait for their turn. */
  readonly queued: Readonly<Record<Priority, number>>
}

export function emptyActivity (): SourceActivity {
  const none: Traffic = { requests: 0, bytes: 0, blocks: 0 }
  return { traffic: { foreground: none, background: none }, failuresByCode: {}, active: [], queued: { foreground: 0, background: 0 } }
}

export function addActivity (a: SourceActivity, b: SourceActivity): SourceActivity {
  const failuresByCode = { ...a.failuresByCode }
  for (const [code, count] of Object.entries(b.failuresByCode) as Array<[ErrorCode, number]>) failuresByCode[code] = (failuresByCode[code] ?? 0) + count
  const sum = (purpose: Priority): Traffic => {
    const [one, other] = [a.traffic[purpose], b.traffic[purpose]]
    return { requests: one.requests + other.requests, bytes: one.bytes + other.bytes, blocks: one.blocks + other.blocks }
  }
  return {
    traffic: { foreground: sum('foreground'), background: sum('background') },
    failuresByCode,
    active: [...a.active, ...b.active].sort((one, other) => other.ms - one.ms),
    queued: { foreground: a.queued.foreground + b.queued.foreground, background: a.queued.background + b.queued.background }
  }
}

type Mutable = { -readonly [Key in keyof Traffic]: Traffic[Key] }

export class SourceTraffic {
  readonly #clock: Clock
  readonly #traffic: Record<Priority, Mutable> = { foreground: { requests: 0, bytes: 0, blocks: 0 }, background: { requests: 0, bytes: 0, blocks: 0 } }
  readonly #failures: Partial<Record<ErrorCode, number>> = {}
  readonly #active = new Set<{ readonly what: string, readonly purpose: Priority, readonly started: number }>()
  readonly #queued: Record<Priority, number> = { foreground: 0, background: 0 }

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /** A request waits for its turn; call the answer when it has it, or gave up. */
  queued (purpose: Priority): () => void {
    this.#queued[purpose]++
    let waits = true
    return () => {
      if (waits) this.#queued[purpose]--
      waits = false
    }
  }

  /** A request begins; call the answer when it ended. */
  request (what: string, purpose: Priority): () => void {
    this.#traffic[purpose].requests++
    const active = { what, purpose, started: this.#clock.monotonicMs() }
    this.#active.add(active)
    return () => { this.#active.delete(active) }
  }

  bytes (purpose: Priority, bytes: number): void {
    this.#traffic[purpose].bytes += bytes
    noteReceived(bytes)
  }

  block (purpose: Priority): void {
    this.#traffic[purpose].blocks++
  }

  failure (code: ErrorCode): void {
    this.#failures[code] = (this.#failures[code] ?? 0) + 1
  }

  get totals (): Traffic & Pick<SourceStatus, 'failures' | 'failuresByCode'> {
    const { foreground, background } = this.#traffic
    return {
      requests: foreground.requests + background.requests,
      failures: Object.values(this.#failures).reduce((sum, count) => sum + count, 0),
      failuresByCode: { ...this.#failures },
      bytes: foreground.bytes + background.bytes,
      blocks: foreground.blocks + background.blocks
    }
  }

  get activity (): SourceActivity {
    const now = this.#clock.monotonicMs()
    return {
      traffic: { foreground: { ...this.#traffic.foreground }, background: { ...this.#traffic.background } },
      failuresByCode: { ...this.#failures },
      active: [...this.#active].map(({ what, purpose, started }) => ({ what, purpose, ms: Math.round(now - started) })),
      queued: { ...this.#queued }
    }
  }
}
