// Runs Jest and closes with the plain line that CI counts: `N passed, N failed, N skipped`. A file that fails to load
// counts as one failure, so that a broken suite can never look green.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface JestSummary {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly numRuntimeErrorTestSuites: number
}

const folder = mkdtempSync(join(tmpdir(), 'ipfs-snapshotter-tests-'))
const report = join(folder, 'jest.json')
const run = spawnSync(process.execPath, [
  '--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js',
  '--config', 'test/jest.config.mjs', '--json', '--outputFile', report, ...process.argv.slice(2)
], {
  stdio: ['ignore', 'ignore', 'inherit'],
  // On a disk: where /tmp is a tmpfs, EROFS cannot be mounted from a file in it.
  env: { TMPDIR: '/var/tmp', ...process.env }
})

let summary: JestSummary | null = null
try {
  summary = JSON.parse(readFileSync(report, 'utf8')) as JestSummary
} catch {
  process.stderr.write('jest wrote no report\n')
}
rmSync(folder, { recursive: true, force: true })

const passed = summary?.numPassedTests ?? 0
const failed = (summary?.numFailedTests ?? 0) + (summary?.numRuntimeErrorTestSuites ?? 1)
const skipped = (summary?.numPendingTests ?? 0) + (summary?.numTodoTests ?? 0)
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`)
process.exitCode = failed > 0 || passed === 0 || run.status !== 0 ? 1 : 0
