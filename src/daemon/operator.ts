// The `[http]` listener of the daemon: up from the first moment, so that monitoring can tell "starting" from "dead".
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { RecentErrors } from '../base/recent-errors.ts'
import type { Config } from '../config/load.ts'
import { healthRoutes } from '../http/health.ts'
import { Metrics } from '../http/metrics.ts'
import { serveOperator } from '../http/operator-server.ts'
import { statusPageRoutes } from '../http/status-page.ts'
import { answerOf, figuresOf } from './figures.ts'
import { problemsOf, statusOf, type StatusParts } from './status.ts'

export class Operator {
  /** Those of the daemon's log. */
  readonly errors = new RecentErrors()
  #parts: StatusParts | null = null
  /** What the start is at. */
  stage = 'looking for the native program'
  readonly metrics = new Metrics(async () => await figuresOf(this.#started()))

  /** Null `httpAddress`: nothing listens. @throws ENVIRONMENT when the port is taken. */
  async listen ({ httpAddress }: Pick<Config, 'httpAddress'>, log: Log): Promise<() => Promise<void>> {
    if (httpAddress === null) return async () => {}
    const health = healthRoutes({
      alive: async () => { if (this.#parts !== null) await answerOf(this.#parts.dataPlane) },
      missing: async () => await this.#missing()
    })
    const page = await statusPageRoutes({
      status: async () => {
        const parts = this.#started()
        return statusOf(parts, await answerOf(parts.dataPlane))
      },
      errors: () => this.errors.newestFirst
    })
    const server = await serveOperator(httpAddress, { ...page, ...health, '/metrics': async () => await this.metrics.answer() }, log)
    return async () => { await server.close() }
  }

  /** The self-test is done, snapshots are restored, the sockets listen. */
  started (parts: StatusParts): void {
    this.#parts = parts
  }

  async #missing (): Promise<string[]> {
    if (this.#parts === null) return [`starting: ${this.stage}`]
    const { config, dataPlane } = this.#parts
    return [...problemsOf(config), ...await answerOf(dataPlane).then(() => [], (error: unknown) => [asSnapshotterError(error).line])]
  }

  #started (): StatusParts {
    if (this.#parts === null) throw new SnapshotterError('UNAVAILABLE', `the daemon is starting: ${this.stage}`)
    return this.#parts
  }
}
