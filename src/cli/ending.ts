// How a command ends before its end. The first SIGINT or SIGTERM asks it to stop: it cleans up, says in one line how to go on, and
// dies of that signal, so that a shell sees 130 or 143 and a loop around it ends, too. The second one ends it at once.
import { constants } from 'node:os'
import { SnapshotterError, systemCode } from '../base/errors.ts'

export type Stopping = 'SIGINT' | 'SIGTERM'

const SIGPIPE_STATUS = 128 + constants.signals.SIGPIPE

export class Interrupted extends SnapshotterError {
  readonly signal: Stopping

  constructor (signal: Stopping, goOn: string, cause?: unknown) {
    super('CANCELLED', `stopped by ${signal}; ${goOn}`, {}, { cause })
    this.signal = signal
  }
}

/**
 * Runs `work` until its end or until somebody asks to stop; it must clean up when its signal aborts. `goOn`: what is left then,
 * and how to go on. @throws Interrupted, and what `work` throws
 */
export async function interruptible<Result> (goOn: string | (() => string), work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const stop = new AbortController()
  const asked: Stopping[] = []
  const onSignal = (signal: Stopping): void => {
    if (asked.push(signal) > 1) dieOf(signal)
    stop.abort(new SnapshotterError('CANCELLED', `stopped by ${signal}`))
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  try {
    return await work(stop.signal)
  } catch (cause) {
    const [by] = asked
    throw by === undefined ? cause : new Interrupted(by, typeof goOn === 'string' ? goOn : goOn(), cause)
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

/** As if nobody had listened for it, but exit handlers run. The first process of a PID namespace does not die so: it exits. */
export function dieOf (signal: Stopping): never {
  process.removeAllListeners(signal)
  process.once('exit', () => { process.kill(process.pid, signal) })
  process.exit(128 + constants.signals[signal])
}

/**
 * Nobody reads our progress: the work goes on. Nobody reads the result (`| head`): the end, without a word, as of SIGPIPE. The result
 * cannot be written: a failure.
 */
export function endWithOutput (): void {
  process.stderr.on('error', () => {})
  process.stdout.on('error', (error: Error) => {
    if (systemCode(error) === 'EPIPE') process.exit(SIGPIPE_STATUS)
    process.stderr.write(`ENVIRONMENT: the result cannot be written to stdout (${systemCode(error) ?? error.message})\n`)
    process.exit(1)
  })
}
