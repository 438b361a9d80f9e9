import { afterAll, expect, test } from '@jest/globals'
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startGateway } from '../../src/http/gateway.ts'
import { openCarStore } from '../../src/ipfs/car-store.ts'

// The public suite (github.com/ipfs/gateway-conformance), as its users run it: `go install` puts it on PATH; it needs go
// and its own sources, whose place GATEWAY_CONFORMANCE_HOME can name. Its IPNS tests are left out: a store of blocks has no names.
const SPECS = ['trustless-block-gateway', 'trustless-car-gateway', 'trustless-car-gateway-optional']
const CHECKS_MIN = 350

const whyNot = ['gateway-conformance', 'go'].find((tool) => !isOnPath(tool))
if (whyNot !== undefined) process.stderr.write(`http/gateway-conformance: skipped, ${whyNot} is not on PATH\n`)
const conformance = whyNot === undefined ? test : test.skip
let folder: string | null = null
afterAll(() => { if (folder !== null) rmSync(folder, { recursive: true }) })

function isOnPath (tool: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${tool}`])
    return true
  } catch {
    return false
  }
}

interface Event { readonly Action: string, readonly Test?: string, readonly Output?: string }

conformance('passes every block and CAR test of the public trustless gateway suite', async () => {
  const run = promisify(execFile)
  folder = mkdtempSync(join(tmpdir(), 'conformance-'))
  await run('gateway-conformance', ['extract-fixtures', '--directory', folder, '--merged=true', '--ipns=false', '--dnslink=false'])
  const store = await openCarStore([join(folder, 'fixtures.car')])
  const gateway = await startGateway({ store, listen: { host: '127.0.0.1', port: 0 } })
  const report = join(folder, 'report.json')
  await run('gateway-conformance', ['test', '--gateway-url', gateway.url, '--specs', SPECS.join(','), '--json', report]).catch(() => {})
  await gateway.close()
  await store.close()

  const results = new Map(readFileSync(report, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Event)
    .filter(({ Action, Test }) => Test !== undefined && ['pass', 'fail', 'skip'].includes(Action)).map(({ Test = '', Action }) => [Test, Action]))
  const checks = [...results].filter(([name]) => ![...results.keys()].some((other) => other.startsWith(`${name}/`)))
  const count = (action: string): number => checks.filter(([, result]) => result === action).length
  process.stderr.write(`gateway-conformance: ${count('pass')} checks passed, ${count('fail')} failed (${SPECS.join(', ')})\n`)

  expect([...results].filter(([, result]) => result === 'fail').map(([name]) => name)).toEqual([])
  expect(count('pass')).toBeGreaterThan(CHECKS_MIN)
}, 300_000)
