// A table of results as Markdown, its columns aligned: pasted into docs as it is printed.

export class Table {
  /** By the words of its first columns. */
  readonly #rows = new Map<string, { readonly head: readonly string[], readonly cells: Map<string, string> }>()

  put (head: readonly string[], column: string, cell: string): void {
    const key = JSON.stringify(head)
    const row = this.#rows.get(key) ?? { head, cells: new Map() }
    this.#rows.set(key, row)
    row.cells.set(column, cell)
  }

  /** Rows and the other columns sorted. */
  print (headings: readonly string[]): string {
    const rows = [...this.#rows.values()].sort((one, other) => one.head.join('\n').localeCompare(other.head.join('\n'), 'en'))
    const columns = [...new Set(rows.flatMap(({ cells }) => [...cells.keys()]))].sort()
    const body = rows.map(({ head, cells }) => [...head, ...columns.map((column) => cells.get(column) ?? '')])
    const lines = [[...headings, ...columns], ...body]
    const widths = [...headings, ...columns].map((_, at) => Math.max(...lines.map((line) => (line[at] ?? '').length)))
    const drawn = (line: readonly string[], filler = ' '): string => `| ${line.map((cell, at) => cell.padEnd(widths[at] ?? 0, filler)).join(' | ')} |`
    const [top = [], ...rest] = lines
    return [drawn(top), drawn(top.map(() => ''), '-'), ...rest.map((line) => drawn(line))].join('\n')
  }
}
