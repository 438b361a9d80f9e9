// Tables for a terminal: columns as wide as their widest cell, numbers to the right. Pure.

export interface Table {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
  /** Lines below it. */
  readonly notes?: readonly string[]
}

const NUMBER = /^[-+<>≤≥]?[\d.,]+( ?(%|ms|s|MB|GB|KiB|MiB|µs|x|MB\/s))?$|^[-–]?$/

export function renderTable ({ title, columns, rows, notes = [] }: Table): string {
  const widths = columns.map((column, at) => Math.max(column.length, ...rows.map((row) => (row[at] ?? '').length)))
  const right = columns.map((_, at) => at > 0 && rows.every((row) => NUMBER.test(row[at] ?? '')))
  const line = (cells: readonly string[]): string => widths
    .map((width, at) => right[at] === true ? (cells[at] ?? '').padStart(width) : (cells[at] ?? '').padEnd(width)).join('  ').trimEnd()
  return [title, '', line(columns), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line),
    ...notes.length > 0 ? ['', ...notes] : [], ''].join('\n')
}
