// The short form of scripts/fuzz: that the fuzzer finds what it is for, and that all parsers of foreign bytes withstand the kept
// inputs (findings of former runs among them) and a few hundred new ones each. The long form is a command.
import { describe, expect, test } from '@jest/globals'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fuzzTarget, type TargetReport } from './campaign.ts'
import { keptInputs } from './target.ts'

const ROOT = join(import.meta.dirname, '../..')

const found = ({ findings }: TargetReport): string[] => findings.map(({ what }) => what.split(' ').slice(0, 2).join(' ')).sort()

describe('the fuzzer', () => {
  test('follows coverage through four nested checks to what is behind them', async () => {
    const report = await fuzzTarget('bait', { seed: 2, seconds: 20, runs: 4_000 })

    expect(found(report)).toEqual(expect.arrayContaining(['exception: TypeError', 'property: Error', 'uncaught: RangeError']))
    expect(report.findings.map(({ hex }) => Buffer.from(hex, 'hex').toString('latin1'))).toEqual(expect.arrayContaining([expect.stringMatching(/^BAIT/)]))
  })

  test('names the input that never ends', async () => {
    const report = await fuzzTarget('bait-loop', { seed: 1, seconds: 1, runs: 10, hangMs: 2_000 })

    expect(found(report)).toEqual(['hang: no'])
    expect(report.findings[0]?.hex).toBe(Buffer.from('loop').toString('hex'))
  })

  test('names the input that takes all memory', async () => {
    const report = await fuzzTarget('bait-heap', { seed: 1, seconds: 1, runs: 10 })

    expect(found(report)).toEqual(['death: FATAL'])
    expect(report.findings[0]?.hex).toBe(Buffer.from('heap').toString('hex'))
  })
})

test('every parser of foreign bytes ends each input in a value or in a refusal', async () => {
  const { stdout } = await promisify(execFile)('sh', [join(ROOT, 'scripts/fuzz'), '--seed', '7', '--seconds', '0.7', '--runs', '400', '--jobs', '2', '--json'],
    { timeout: 110_000, maxBuffer: 1 << 24 }).catch((error: unknown) => error as { readonly stdout: string })
  const reports = JSON.parse(stdout) as TargetReport[]

  expect(reports.flatMap(({ target, findings }) => findings.map(({ what }) => `${target}: ${what}`))).toEqual([])
  expect(reports.length).toBeGreaterThan(20)
  for (const { target, executions, blocks } of reports) {
    expect({ target, enough: executions >= keptInputs(target).size && blocks > 5 }).toEqual({ target, enough: true })
  }
}, 120_000)
