// The drivers on Debian's own kernel, booted in QEMU without hardware help: on Debian 12 that is 6.1, which mounts no EROFS from
// files and cannot resend requests. `npm run test:kernels` fetches QEMU and the kernel; without them this is skipped.
import { beforeAll, describe, expect, test } from '@jest/globals'
import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import type { GuestReport } from '../suites/kernel-guest.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const GUEST_MS = 620_000 // the script gives up after 600 s; two minutes of a core are enough
const whyNot = why()
if (whyNot !== null) process.stderr.write(`kernels/debian-kernel: skipped, ${whyNot}\n`)
const suite = whyNot === null ? describe : describe.skip

function why (): string | null {
  if (process.getuid?.() !== 0) return 'needs root to share files with the guest'
  try {
    execFileSync('qemu-system-x86_64', ['--version'])
  } catch {
    return 'qemu-system-x86_64 is not installed: npm run test:kernels installs it'
  }
  return existsSync(join(ROOT, 'build/kernel-guest/initrd.gz')) ? null : 'there is no kernel in build/kernel-guest: npm run test:kernels fetches it'
}

/** "6.1.0-56-amd64" as 6.01, to compare. */
function numberOf (kernel: string): number {
  const [major = 0, minor = 0] = kernel.split('.').map(Number)
  return major + minor / 100
}

suite('on the kernel of the Debian that this machine runs', () => {
  let said: string
  let report: GuestReport

  beforeAll(async () => {
    await preparePrograms()
    const { stdout } = await promisify(execFile)('sh', [join(ROOT, 'scripts/kernel-guest'), 'run', join(ROOT, 'test/suites/kernel-guest.ts')],
      { timeout: GUEST_MS, maxBuffer: 2 ** 24 })
    said = stdout
    const line = /guest-report (\{.*\})/.exec(stdout)?.[1]
    if (line === undefined) throw new Error(`the guest ended without a report:\n${stdout.slice(-4000)}`)
    report = JSON.parse(line) as GuestReport
    process.stderr.write(`kernels/debian-kernel: ${JSON.stringify({ ...report, differences: undefined, rejected: undefined })}\n`)
  }, PREPARE_MS + GUEST_MS)

  test('the self-test chooses what works there, and says why the other does not', () => {
    const fileBacked = numberOf(report.kernel) >= 6.12
    expect(report.chosen).toBe(fileBacked ? 'erofs' : 'erofs-loop')
    expect(report.rejected).toEqual(fileBacked ? [] : [expect.stringMatching(/the mount driver erofs does not work here \(erofs: mount-erofs: ENOTBLK/)])
  })

  test('what it mounts, and what the driver fuse mounts, equals the truth, alone and in an overlay', () => {
    expect(Object.keys(report.differences)).toEqual([report.chosen, 'fuse'].flatMap((driver) => [`${driver}, the base`, `${driver}, both in an overlay`]))
    expect(Object.values(report.differences).flat()).toEqual([])
    expect(report.entries).toBeGreaterThan(400)
  })

  test('killed workers fail no read, change no byte, and cost no second fetch', () => {
    expect(report).toMatchObject({ kills: 5, readsFailed: 0, filesWrong: 0, chunksAskedAgain: 0 })
    expect(report.readsInFlight).toBeGreaterThanOrEqual(4 * report.kills)
    expect(report.chunksAsked).toBeGreaterThanOrEqual(report.contents)
    if (numberOf(report.kernel) < 6.09) expect(said).toMatch(/"resend":"no"/) // the replay was the worker's, not the kernel's
  })
})
