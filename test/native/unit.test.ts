// Runs the native program's own unit tests (native/test/unit.cc).
import { expect, test } from '@jest/globals'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

test('the parts of the native program do what they promise', () => {
  const binary = execFileSync('sh', [join(ROOT, 'scripts/build-native'), 'unit'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
  const { status, stdout } = spawnSync(binary, { encoding: 'utf8' })

  expect(stdout).toMatch(/^\d{3,} checks, 0 failed\n$/)
  expect(status).toBe(0)
}, 300_000)

test('without a compiler the build stops with one sentence that says what to install', () => {
  const clone = mkdtempSync(join(tmpdir(), 'no compiler '))
  cpSync(join(ROOT, 'native'), join(clone, 'native'), { recursive: true })
  cpSync(join(ROOT, 'scripts/build-native'), join(clone, 'scripts/build-native'))
  const { status, stdout, stderr } = spawnSync('sh', [join(clone, 'scripts/build-native')], {
    encoding: 'utf8', env: { ...process.env, CXX: join(clone, 'no-such-compiler') }
  })
  rmSync(clone, { recursive: true })

  expect(stderr).toMatch(/^build-native: no C\+\+ compiler .*apt-get install g\+\+ .*\n$/)
  expect([status, stdout]).toEqual([1, ''])
})
