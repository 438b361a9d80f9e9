// Programs of other projects that peer tests use when a machine has them; a test whose program is missing is skipped and
// says so.
import { execFileSync } from 'node:child_process'
import { test } from '@jest/globals'
import { whyNot } from '../e2e/harness.ts'

export function isOnPath (tool: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${tool}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** `test`, or `test.skip` with a printed reason. `container` stands for everything that running one needs. */
export function testWith (room: string, ...needs: ReadonlyArray<'ipfs' | 'nerdctl' | 'skopeo' | 'go' | 'chromium' | 'promtool' | 'container'>): typeof test | typeof test.skip {
  const missing = needs.filter((need) => need === 'container' ? whyNot !== null : !isOnPath(need))
    .map((need) => need === 'container' ? whyNot ?? '' : `${need} is not on PATH`)
  if (missing.length === 0) return test
  process.stderr.write(`${room}: tests with ${needs.join(', ')} are skipped: ${missing.join(', ')}\n`)
  return test.skip
}
