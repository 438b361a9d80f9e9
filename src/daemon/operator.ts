// The `[http]` listener of the daemon: up from the first moment, so that monitoring can tell "starting" from "dead".
import { SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Config } from '../config/load.ts'
import { healthRoutes } from '../http/health.ts'
import { Metrics } from '../http/metrics.ts'
import { type OperatorRoutes, serveOperator } from '../http/operator-server.ts'
import { answerOf, type FigureParts, figuresOf } from './figures.ts'

export class Operator {
  #parts: FigureParts | null = null
  /** What the start is at. */
  stage = 'looking for the native program'
  readonly metrics = new Metrics(async () => await figuresOf(this.#started()))

  /** Null `httpAddress`: nothing listens. @throws ENVIRONMENT when the port is taken. */
  async listen ({ httpAddress }: Pick<Config, 'httpAddress'>, log: Log, more: OperatorRoutes = {}): Promise<() => Promise<void>> {
    if (httpAddress === null) return async () => {}
    const health = healthRoutes({
      alive: async () => { if (this.#parts !== null) await answerOf(this.#parts.dataPlane) },
      missing: async () => await this.#missing()
    })
    const server = await serveOperator(httpAddress, { ...health, '/metrics': async () => await this.metrics.answer(), ...more }, log)
    return async () => { await server.close() }
  }

  /** The self-test is done, snapshots are restored, the sockets listen. */
  started (parts: FigureParts): void {
    this.#parts = parts
  }

  async #missing (): Promise<string[]> {
    if (this.#parts === null) return [`starting: ${this.stage}`]
    const { config, dataPlane } = this.#parts
    return [
      ...config.sources.length === 0 ? ['no source is configured: add a [[source]], or name a gateway with each pull'] : [],
      ...await answerOf(dataPlane).then(() => [], (error: unknown) => [String(error instanceof SnapshotterError ? error.line : error)])
    ]
  }

  #started (): FigureParts {
    if (this.#parts === null) throw new SnapshotterError('UNAVAILABLE', `the daemon is starting: ${this.stage}`)
    return this.#parts
  }
}
