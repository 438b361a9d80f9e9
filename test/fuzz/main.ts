// The command behind scripts/fuzz: fuzzes every target, or those that are named, and prints a table. Findings are written to
// build/fuzz/findings; with --keep, inputs that reach the most go to test/fixtures/fuzz. Ends with 1 when something was found.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type CampaignOptions, fuzzTarget, type TargetReport } from './campaign.ts'
import { keep } from './keep.ts'
import { TARGETS } from './targets.ts'

const FINDINGS = join(import.meta.dirname, '../../build/fuzz/findings')

async function fuzzAll (names: readonly string[], options: CampaignOptions, jobs: number): Promise<TargetReport[]> {
  const waiting = [...names]
  const reports = new Map<string, TargetReport>()
  await Promise.all(Array.from({ length: jobs }, async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const report = await fuzzTarget(name, options)
      reports.set(name, report)
      for (const { what, name: file, hex } of report.findings) {
        mkdirSync(FINDINGS, { recursive: true })
        const path = join(FINDINGS, `${name}-${file}`)
        writeFileSync(path, Buffer.from(hex, 'hex'))
        process.stderr.write(`${name}: ${what}\n  ${path}\n`)
      }
    }
  }))
  return names.flatMap((name) => reports.get(name) ?? [])
}

function table (reports: readonly TargetReport[]): string {
  const lines = reports.map(({ target, executions, blocks, outcomes, findings, seconds }) => {
    const refused = Object.entries(outcomes).filter(([outcome]) => outcome !== 'value').reduce((sum, [, count]) => sum + count, 0)
    return [target, Math.round(seconds), executions, Math.round(executions / seconds), blocks, outcomes['value'] ?? 0, refused, findings.length]
  })
  const sum = (column: number): number => lines.reduce((total, line) => total + Number(line[column]), 0)
  const all = ['all', sum(1), sum(2), Math.round(sum(2) / Math.max(sum(1), 1)), sum(4), sum(5), sum(6), sum(7)]
  const rows = [['target', 'seconds', 'executions', 'per second', 'blocks', 'values', 'refusals', 'findings'], ...lines, all]
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => String(row[column]).length))) ?? []
  const text = rows.map((row) => `| ${row.map((cell, column) => column === 0 ? String(cell).padEnd(widths[0] ?? 0) : String(cell).padStart(widths[column] ?? 0)).join(' | ')} |`)
  text.splice(1, 0, `|${widths.map((width, column) => `${'-'.repeat(width + 1)}${column === 0 ? '-' : ':'}`).join('|')}|`)
  return text.join('\n')
}

const { values } = parseArgs({
  options: {
    target: { type: 'string', multiple: true },
    seconds: { type: 'string', default: '10' },
    runs: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false }
  }
})
const names = values.target ?? Object.keys(TARGETS).filter((name) => !name.startsWith('bait'))
const unknown = names.find((name) => TARGETS[name] === undefined)
if (unknown !== undefined) {
  process.stderr.write(`fuzz: no target ${unknown}; there are: ${Object.keys(TARGETS).join(' ')}\n`)
  process.exit(2)
}
const options = { seed: Number(values.seed), seconds: Number(values.seconds), runs: Number(values.runs) }
const reports = await fuzzAll(names, options, Number(values.jobs))
if (values.keep) for (const report of reports) await keep(report)
process.stdout.write(`${values.json ? JSON.stringify(reports.map(({ pool: _pool, ...rest }) => rest)) : table(reports)}\n`)
process.exitCode = reports.some(({ findings }) => findings.length > 0) ? 1 : 0
