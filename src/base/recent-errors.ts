// What went wrong lately, for `status`: warnings and errors as they pass on their way to the log. One that comes again counts
// up instead of pushing others out.
import { currentCall } from './call-id.ts'
import { systemClock } from './clock.ts'
import { RECENT_ERROR_CHARACTERS_MAX, RECENT_ERRORS_MAX } from './limits.ts'
import type { Log } from './log.ts'

export interface RecentError {
  /** Milliseconds since 1970, the first and the latest time. */
  readonly firstAt: number
  readonly at: number
  readonly count: number
  readonly level: 'warn' | 'error'
  /** The log's message. */
  readonly event: string
  /** `CODE: what, on what (…); hint` where an error stands behind it, else what the log knows of it. */
  readonly line: string
  /** Id of the latest call it belonged to, as in the log; null for none. */
  readonly call: string | null
}

export class RecentErrors {
  /** By line, the one that came longest ago first. */
  readonly #errors = new Map<string, RecentError>()
  readonly #now: () => number

  constructor (now: () => number = () => systemClock.now()) {
    this.#now = now
  }

  /** The same log, looked at. */
  over (log: Log): Log {
    return {
      ...log,
      warn: (fields, event) => { this.#note('warn', fields, event); log.warn(fields, event) },
      error: (fields, event) => { this.#note('error', fields, event); log.error(fields, event) }
    }
  }

  get newestFirst (): RecentError[] {
    return [...this.#errors.values()].reverse()
  }

  #note (level: 'warn' | 'error', fields: object, event: string): void {
    const line = lineOf(fields, event).slice(0, RECENT_ERROR_CHARACTERS_MAX)
    const key = `${event}\n${line}`
    const before = this.#errors.get(key)
    const at = this.#now()
    this.#errors.delete(key)
    this.#errors.set(key, { firstAt: before?.firstAt ?? at, at, count: (before?.count ?? 0) + 1, level, event, line, call: currentCall() ?? null })
    for (const oldest of this.#errors.keys()) {
      if (this.#errors.size <= RECENT_ERRORS_MAX) break
      this.#errors.delete(oldest)
    }
  }
}

function lineOf (fields: object, event: string): string {
  const { error, code, reason } = fields as { readonly error?: unknown, readonly code?: unknown, readonly reason?: unknown }
  const why = typeof error === 'string' ? error : typeof reason === 'string' ? reason : null
  if (typeof code === 'string') return `${code}: ${why ?? event}`
  return why ?? event
}
