// containerd's own conformance suites against a real `serve`, over its socket. Each module pins one containerd version; `go` builds it.
import { expect } from '@jest/globals'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { testWith } from '../peers/tools.ts'

const HERE = import.meta.dirname
const BUILD_AND_RUN_MS = 900_000
const OUTPUT_BYTES_MAX = 256 * 2 ** 20
const withGo = testWith('conformance', 'go')

interface Event { readonly Action: string, readonly Test?: string, readonly Output?: string }

withGo.each(['containerd-1.7', 'containerd-2.3', 'containerd-2.4'])('passes the suites of %s', async (module) => {
  const { events, end } = await goTest(join(HERE, module))
  const outcomes = events.filter(({ Action, Test }) => Test !== undefined && ['pass', 'fail', 'skip'].includes(Action))
  const named = (action: string): string[] => outcomes.filter(({ Action }) => Action === action).map(({ Test = '' }) => Test)

  process.stdout.write(`${module}: ${named('pass').length} passed, ${named('fail').length} failed, ${named('skip').length} skipped by the suites themselves\n`)
  expect(named('fail').map((test) => ({ test, output: outputOf(events, test) }))).toEqual([])
  expect(end).toBe('')
  // A suite that runs nothing passes, too.
  expect(named('pass').length).toBeGreaterThan(45)
}, BUILD_AND_RUN_MS)

async function goTest (folder: string): Promise<{ events: Event[], end: string }> {
  const env = { ...process.env, IPFS_SNAPSHOTTER_COMMAND: join(HERE, '../../scripts/ipfs-snapshotter') }
  const run = promisify(execFile)('go', ['test', '-count=1', '-json', '.', '-test.root'], { cwd: folder, env, maxBuffer: OUTPUT_BYTES_MAX })
  const { stdout, end } = await run.then(({ stdout }) => ({ stdout, end: '' }), (error: unknown) => {
    const { stdout, stderr, message } = error as { stdout: string, stderr: string, message: string }
    return { stdout, end: stderr + message }
  })
  return { events: stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Event), end }
}

function outputOf (events: readonly Event[], test: string): string {
  return events.filter((event) => event.Test === test).map(({ Output = '' }) => Output).filter((line) => !line.includes('log_hook.go')).join('').slice(-3_000)
}
