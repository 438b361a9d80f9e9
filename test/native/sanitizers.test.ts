// The data plane's own tests against builds with sanitizers: AddressSanitizer and UBSan where bytes are parsed and kept,
// ThreadSanitizer where threads meet. IPFS_SNAPSHOTTER_SANITIZE=all runs every one of them on both.
import { describe, expect, test } from '@jest/globals'
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { dataPlaneSkipReason } from '../suites/data-plane-fixture.ts'

const ROOT = join(import.meta.dirname, '../..')
const run = promisify(execFile)

const SHORT = {
  asan: ['data-plane-faults', 'data-plane-hostile-client'],
  tsan: ['data-plane-kill']
}
const ALL = ['data-plane', 'readers', 'leaks']

const why = dataPlaneSkipReason ?? missingLibraries()
if (why !== null) process.stderr.write(`sanitizer tests skipped: ${why}\n`)
const suite = why === null ? describe : describe.skip

suite('no sanitizer finds anything', () => {
  test.each(['asan', 'tsan'] as const)('%s', async (variant) => {
    const chosen = process.env['IPFS_SNAPSHOTTER_SANITIZE'] === 'all' ? ALL : SHORT[variant]
    const built = await run('sh', [join(ROOT, 'scripts/build-native'), variant])
    const paths = chosen.map((name) => `test/mount/${name}`)
    const child = await run('sh', [join(ROOT, 'scripts/jest'), ...paths], {
      env: { ...process.env, IPFS_SNAPSHOTTER_NATIVE: built.stdout.trim(), NODE_OPTIONS: '' }, maxBuffer: 64 * 1024 * 1024
    }).catch((error: unknown) => error as { stdout: string, stderr: string })
    const passed = /^(\d+) passed, 0 failed, 0 skipped$/m.exec(child.stdout)
    if (passed === null) process.stderr.write(child.stderr)
    expect(Number(passed?.[1])).toBeGreaterThan(10)
    process.stdout.write(`${variant}: ${passed?.[1]} tests of ${chosen.join(', ')}, nothing found\n`)
  }, 900_000)

  test.each([
    ['asan', 'native/test/sanitizer-bait.cc', 'heap-buffer-overflow'], ['tsan', 'native/test/sanitizer-bait.cc', 'data race']
  ])('a mistake would be found by %s', (variant, source, finding) => {
    const sanitizer = variant === 'asan' ? 'address,undefined' : 'thread'
    const program = join(ROOT, `build/test/sanitizer-bait-${variant}-${process.pid}`)
    mkdirSync(join(ROOT, 'build/test'), { recursive: true })
    execFileSync('g++', ['-O1', '-g', '-pthread', `-fsanitize=${sanitizer}`, join(ROOT, source), '-o', program])
    const { status, stderr } = spawnSync(program, { encoding: 'utf8' })
    rmSync(program)
    expect(stderr).toContain(finding)
    expect(status).not.toBe(0)
  }, 120_000)
})

/** g++ has the compiler's half; the libraries are packages of their own elsewhere than on Debian. */
function missingLibraries (): string | null {
  for (const library of ['libasan.so', 'libubsan.so', 'libtsan.so']) {
    const { stdout, error } = spawnSync('g++', [`-print-file-name=${library}`], { encoding: 'utf8' })
    if (error !== undefined) return 'needs g++'
    if (!stdout.includes('/')) return `needs ${library} of gcc`
  }
  return null
}
