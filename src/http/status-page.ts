// The status page: one HTML file that asks for `/status.json` again and again. Its policy lets nothing run and nothing be
// loaded but the file's own style and script, by their hashes: what publishers and gateways wrote stays text.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asSnapshotterError } from '../base/errors.ts'
import type { RecentError } from '../base/recent-errors.ts'
import type { OperatorAnswer, OperatorRoutes } from './operator-server.ts'

export interface StatusPageInit {
  /** @throws while the daemon starts, and when the data plane does not answer. */
  readonly status: () => Promise<object>
  readonly errors: () => readonly RecentError[]
}

const FILE = join(import.meta.dirname, 'status-page.html')

/** `/`, and `/status.json`: what `status --json` prints, or with 503 `{error, errors}`: why there is none, and what went wrong lately. */
export async function statusPageRoutes ({ status, errors }: StatusPageInit): Promise<OperatorRoutes> {
  const body = await readFile(FILE, 'utf8')
  const page: OperatorAnswer = { status: 200, type: 'text/html; charset=utf-8', body, policy: policyOf(body) }
  return {
    '/': async () => page,
    '/status.json': async () => await status().then((object) => json(200, object), (error: unknown) =>
      json(503, { error: asSnapshotterError(error).line, errors: errors() }))
  }
}

function json (status: number, value: object): OperatorAnswer {
  return { status, type: 'application/json', body: `${JSON.stringify(value)}\n` }
}

function policyOf (page: string): string {
  return [
    "default-src 'none'", `script-src ${hashOf(page, 'script')}`, `style-src ${hashOf(page, 'style')}`, "connect-src 'self'", 'img-src data:',
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"
  ].join('; ')
}

/** Of the page's one element of this kind. */
function hashOf (page: string, element: 'script' | 'style'): string {
  const text = page.split(`<${element}>`)[1]?.split(`</${element}>`)[0] ?? ''
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}
