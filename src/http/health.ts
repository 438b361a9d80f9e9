// `/healthz` and `/readyz`: 200 and `ok`, or 503 and one line for each thing that is not as it should be.
import { asSnapshotterError } from '../base/errors.ts'
import type { OperatorAnswer, OperatorRoutes } from './operator-server.ts'

export interface HealthProbes {
  /** @throws when the data plane does not answer. */
  readonly alive: () => Promise<void>
  /** What is missing before this node can run an image; empty when nothing is. */
  readonly missing: () => Promise<readonly string[]>
}

export function healthRoutes ({ alive, missing }: HealthProbes): OperatorRoutes {
  return {
    '/healthz': async () => await alive().then(() => said([]), (error: unknown) => said([asSnapshotterError(error).line])),
    '/readyz': async () => said(await missing())
  }
}

function said (problems: readonly string[]): OperatorAnswer {
  const ok = problems.length === 0
  return { status: ok ? 200 : 503, type: 'text/plain; charset=utf-8', body: `${ok ? 'ok' : problems.join('\n')}\n` }
}
