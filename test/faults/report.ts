// The table of faults, for a terminal and as markdown. Pure.
import type { MachineFacts } from '../../bench/machine-facts.ts'
import type { Table } from '../../bench/table.ts'
import type { Row } from './cell.ts'

const COLUMNS = ['under way', 'fault', 'tries', 'hit', 'reads', 'failed reads', 'wrong bytes', 'bytes fetched again',
  'calls repeated', 'recovery ms', 'worst ms', 'problems']

export function tableOf (title: string, rows: readonly Row[]): Table {
  return { title, columns: COLUMNS, rows: rows.map(cells), notes: notesOf(rows) }
}

export function markdownOf (title: string, rows: readonly Row[]): string {
  const line = (words: readonly string[]): string => `| ${words.join(' | ')} |`
  const notes = notesOf(rows)
  return [`## ${title}`, '', line(COLUMNS), line(COLUMNS.map((_, at) => at < 2 ? '---' : '---:')), ...rows.map((row) => line(cells(row))), '',
    ...notes.length > 0 ? [...notes.map((note) => `* ${note}`), ''] : []].join('\n')
}

function cells (row: Row): string[] {
  const problems = row.findings.length === 0 ? String(row.problems.length) : `${row.problems.length} (not ours: ${row.findings.length})`
  return [row.moment, row.fault, ...[row.tries, row.hit, row.reads, row.failedReads, row.wrongBytes, row.bytesFetchedAgain, row.repeatedCalls].map(String),
    String(row.recoveryMs?.median ?? '–'), String(row.recoveryMs?.worst ?? '–'), problems]
}

function notesOf (rows: readonly Row[]): string[] {
  return rows.flatMap((row) => [
    ...row.errors.length > 0 ? [`${row.moment}, ${row.fault}: reads failed with ${row.errors.join('; ')}`] : [],
    ...row.findings.length > 0 ? [`${row.moment}, ${row.fault}: to compare, ${row.findings.length} times like: ${row.findings[0] ?? ''}`] : [],
    ...row.problems.map((problem) => `${row.moment}, ${row.fault}: PROBLEM: ${problem.split('\n').slice(0, 6).join(' / ')}`)
  ])
}

export function factLines ({ date, command, kernel, processor, cores, loadBefore, revision, versions }: MachineFacts): string[] {
  const programs = ['node', 'containerd', 'runc'].map((name) => `${name} ${/\d+\.\d+\.\S+/.exec(versions[name] ?? '')?.[0] ?? 'absent'}`).join(', ')
  return [`\`${command}\`, ended after ${date}, at ${revision}; Linux ${kernel}, ${cores} cores (${processor}), load ${loadBefore.map((load) => load.toFixed(1)).join(' ')};`,
    `${programs}.`]
}
