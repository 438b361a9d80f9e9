// Brings the guardian back after it died or gave up, ever more slowly when that does not help. A guardian that somebody
// stopped on purpose took its socket away and is left alone. What was served is not served again by this: see Remounter.
import { type Clock, systemClock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { GUARDIAN_PAUSE_MS_FIRST, GUARDIAN_PAUSE_MS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { NativeProgram } from './native-program.ts'

interface Init {
  readonly native: Pick<NativeProgram, 'startGuardian'>
  /** The guardian's state directory. */
  readonly state: string
  readonly log: Log
  readonly clock?: Clock
}

export class GuardianKeeper {
  readonly #init: Init
  readonly #clock: Clock
  #pauseMs = 0
  #last = -Infinity
  #ended = false

  constructor (init: Init) {
    this.#init = init
    this.#clock = init.clock ?? systemClock
  }

  /** Its end is wanted from now on. */
  end (): void {
    this.#ended = true
  }

  /** Nobody listens on the socket. Starts a guardian unless that was tried a moment ago; never throws. */
  async revive (): Promise<void> {
    const { native, state, log } = this.#init
    const sinceMs = this.#clock.monotonicMs() - this.#last
    if (this.#ended || sinceMs < this.#pauseMs) return
    this.#pauseMs = sinceMs > 2 * GUARDIAN_PAUSE_MS_MAX ? GUARDIAN_PAUSE_MS_FIRST : Math.min(this.#pauseMs * 2, GUARDIAN_PAUSE_MS_MAX)
    this.#last = this.#clock.monotonicMs()
    log.error({ code: 'DATA_PLANE_DOWN', state }, 'the guardian is gone, its mounts answer nobody: starting another one')
    try {
      const started = await native.startGuardian(state)
      log.info({ state, guardian: started === false ? 'found' : started.pid }, 'the guardian is back')
    } catch (error) {
      log.error({ code: 'DATA_PLANE_DOWN', state, error: messageOf(error), retryMs: this.#pauseMs }, 'no guardian can be started')
    }
  }
}
