// Progress on stderr of commands that take long, in the ways that clients of containers know (`--progress`).
import { type Command, Option } from 'commander'
import { type Clock, systemClock } from '../base/clock.ts'
import type { Report } from '../base/report.ts'
import { isDumbTerminal } from '../config/terminal.ts'
import { LineProgress } from './progress-lines.ts'
import { TerminalProgress } from './progress-terminal.ts'

export interface ProgressStream {
  readonly isTTY?: boolean | undefined
  /** 0 when a terminal does not know. */
  readonly columns?: number | undefined
  readonly rows?: number | undefined
  readonly write: (text: string) => unknown
}

export interface Progress {
  readonly report: Report
  /** Draws the last state; call before anything else is written to the stream. */
  readonly finish: () => void
}

const WAYS = ['auto', 'tty', 'plain', 'json', 'quiet'] as const
export type Way = typeof WAYS[number]

export interface ProgressFlags {
  readonly progress: Way
  readonly quiet?: true | undefined
}

/** Adds `--progress` and `--quiet`. */
export function withProgress (command: Command): Command {
  return command
    .addOption(new Option('--progress <how>', 'how progress is shown on stderr; auto: tty on a terminal, else json').choices(WAYS).default('auto'))
    .option('-q, --quiet', 'no progress')
}

/** What the flags choose, on stderr; nobody who reads it any more is no failure. */
export function progressFor ({ progress, quiet }: ProgressFlags, elsewhere: Way = 'json'): Progress {
  const way = quiet === true ? 'quiet' : progress === 'auto' && !process.stderr.isTTY ? elsewhere : progress
  return createProgress(process.stderr, systemClock, way)
}

export function createProgress (stream: ProgressStream, clock: Clock, way: Way): Progress {
  const chosen = way !== 'auto' ? way : stream.isTTY !== true ? 'json' : isDumbTerminal() ? 'plain' : 'tty'
  if (chosen === 'quiet') return new WarningsOnly(stream)
  return chosen === 'tty' ? new TerminalProgress(stream, clock) : new LineProgress(stream, clock, chosen === 'json' ? 'json' : 'plain')
}

class WarningsOnly implements Progress {
  readonly #stream: ProgressStream

  constructor (stream: ProgressStream) {
    this.#stream = stream
  }

  readonly report: Report = (event) => { if (event.event === 'note' && event.warning === true) this.#stream.write(`${event.text}\n`) }
  readonly finish = (): void => {}
}
