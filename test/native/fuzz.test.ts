// Replays the fuzzers' corpus (test/fixtures/fuzz, grown by scripts/fuzz-native) on a build with sanitizers: requests of the
// kernel, frames of control, messages between guardian and worker, gzip data.
import { beforeAll, describe, expect, test } from '@jest/globals'
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const ROOT = join(import.meta.dirname, '../..')
const CORPUS = join(ROOT, 'test/fixtures/fuzz')

const library = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' })
const why = library.error === undefined && library.stdout.includes('/') ? null : 'needs g++ with libasan.so'
if (why !== null) process.stderr.write(`fuzz replay skipped: ${why}\n`)
const suite = why === null ? describe : describe.skip

suite('what fuzzers found interesting', () => {
  let program: string

  beforeAll(async () => {
    program = (await promisify(execFile)('sh', [join(ROOT, 'scripts/build-native'), 'fuzz'])).stdout.trim()
  }, 600_000)

  test.each(['requests', 'frames', 'link', 'gzip'])('as %s breaks nothing', (target) => {
    const folder = join(CORPUS, target)
    const inputs = readdirSync(folder).map((name) => join(folder, name))
    const { status, stdout, stderr } = spawnSync(program, [target, ...inputs], { encoding: 'utf8', timeout: 50_000 })

    expect(stderr).not.toMatch(/Sanitizer|runtime error/)
    expect([stdout, status]).toEqual([`${inputs.length} inputs\n`, 0])
    expect(inputs.length).toBeGreaterThan(20)
  })

  test('an unknown target is refused', () => {
    expect(() => execFileSync(program, ['nothing'], { stdio: 'pipe' })).toThrow('give a target')
  })
})
