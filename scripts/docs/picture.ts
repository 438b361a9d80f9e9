// A picture out of lines of text: boxes on a grid, zones around them, arrows between neighbours. SVG, with no font but the reader's own.
// `zone COLUMN ROW COLUMNS ROWS "title"`, `box|foreign ID COLUMN ROW "title" "line"…`, `arrow FROM TO "label"`, `exchange` for both ways; `#` begins a comment.

interface Place { readonly column: number, readonly row: number }
interface Box extends Place { readonly isForeign: boolean, readonly lines: readonly string[] }
interface Point { readonly x: number, readonly y: number }

const BOX = { width: 190, height: 84 }
const GAP = { x: 86, y: 72 }
const EDGE = { x: 34, y: 52 }
const LINE = 18
const LETTER = 6.4 // of a label's font, on the average
const CORNER = 30 // from a box's side, where an arrow around a corner leaves and arrives
const ZONE = { x: 22, top: 30, bottom: 20 }

/** @throws for a line that is none of those, and for an arrow of a box that is not there */
export function picture (text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#')).map(wordsOf)
  const boxes = new Map(lines.filter(([kind]) => kind === 'box' || kind === 'foreign').map((words) => [words[1] ?? '', boxOf(words)]))
  const found = (id: string | undefined): Box => {
    const box = boxes.get(id ?? '')
    if (box === undefined) throw new Error(`the picture has no box ${id ?? ''}`)
    return box
  }
  const drawn = lines.map(([kind = '', ...rest]) => {
    if (kind === 'zone') return { layer: 0, svg: zone(rest) }
    if (kind === 'box' || kind === 'foreign') return { layer: 1, svg: drawBox(found(rest[0])) }
    if (kind === 'arrow' || kind === 'exchange') {
      const drawn = arrow(found(rest[0]), found(rest[1]), rest[2] ?? '')
      return { layer: 2, svg: kind === 'arrow' ? drawn : drawn.replace('marker-end=', 'marker-start="url(#head)" marker-end=') }
    }
    throw new Error(`the picture has a line that begins with ${kind}`)
  })
  const most = (key: 'column' | 'row'): number => Math.max(...[...boxes.values()].map((box) => box[key])) + 1
  const width = 2 * EDGE.x + most('column') * (BOX.width + GAP.x) - GAP.x
  const height = 2 * EDGE.y + most('row') * (BOX.height + GAP.y) - GAP.y
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" role="img">`,
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="#33424f"/></marker></defs>',
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...drawn.sort((one, other) => one.layer - other.layer).map(({ svg }) => svg),
    words({ x: EDGE.x, y: height - 14 }, 'Dashed: nobody has to trust it. What comes from there is hashed before it is used.', 'font-size="12" fill="#555"'),
    '</svg>', ''
  ].join('\n')
}

/** Words, or what stands in quotes. */
function wordsOf (line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')
}

function boxOf ([kind, , column, row, ...lines]: readonly string[]): Box {
  return { isForeign: kind === 'foreign', column: Number(column), row: Number(row), lines }
}

/** Of its upper left corner. */
function cornerOf ({ column, row }: Place): Point {
  return { x: EDGE.x + column * (BOX.width + GAP.x), y: EDGE.y + row * (BOX.height + GAP.y) }
}

function zone ([column, row, columns, rows, title = '']: readonly string[]): string {
  const { x, y } = cornerOf({ column: Number(column), row: Number(row) })
  const width = Number(columns) * (BOX.width + GAP.x) - GAP.x + 2 * ZONE.x
  const height = Number(rows) * (BOX.height + GAP.y) - GAP.y + ZONE.top + ZONE.bottom
  return `<rect x="${x - ZONE.x}" y="${y - ZONE.top}" width="${width}" height="${height}" rx="10" fill="#f3f6f8" stroke="#d5dde3"/>` +
    words({ x: x - ZONE.x + 10, y: y - 12 }, title, 'font-size="12" font-weight="600" fill="#5b6b7b"')
}

function drawBox (box: Box): string {
  const { x, y } = cornerOf(box)
  const look = box.isForeign ? 'fill="#fff7ef" stroke="#c0592b" stroke-dasharray="6 4"' : 'fill="#eef8f3" stroke="#0b6e4f"'
  const first = y + BOX.height / 2 - (box.lines.length - 1) * LINE / 2 + 5
  return [
    `<rect x="${x}" y="${y}" width="${BOX.width}" height="${BOX.height}" rx="6" stroke-width="1.5" ${look}/>`,
    ...box.lines.map((line, at) => words({ x: x + BOX.width / 2, y: first + at * LINE }, line,
      `text-anchor="middle" ${at === 0 ? 'font-size="14" font-weight="600" fill="#14212b"' : 'font-size="12.5" fill="#33424f"'}`))
  ].join('')
}

/** Straight between neighbours; else down, along the gap between the rows, and down. */
function arrow (from: Box, to: Box, label: string): string {
  const [a, b] = [cornerOf(from), cornerOf(to)]
  const middle = { x: BOX.width / 2, y: BOX.height / 2 }
  if (from.row === to.row) {
    const isRight = from.column < to.column
    const [x1, x2] = [a.x + (isRight ? BOX.width : 0), b.x + (isRight ? 0 : BOX.width)]
    return path([{ x: x1, y: a.y + middle.y }, { x: x2, y: a.y + middle.y }]) + named({ x: (x1 + x2) / 2, y: a.y + middle.y - 8 }, label)
  }
  const isDown = from.row < to.row
  const [y1, y2] = [a.y + (isDown ? BOX.height : 0), b.y + (isDown ? 0 : BOX.height)]
  const between = (y1 + y2) / 2
  if (from.column === to.column) {
    const x = a.x + middle.x
    return path([{ x, y: y1 }, { x, y: y2 }]) + words({ x: x - 8, y: between + 4 }, label, 'font-size="12" text-anchor="end" fill="#33424f"')
  }
  const isRight = from.column < to.column
  const [x1, x2] = [a.x + (isRight ? BOX.width - CORNER : CORNER), b.x + (isRight ? CORNER : BOX.width - CORNER)]
  return path([{ x: x1, y: y1 }, { x: x1, y: between }, { x: x2, y: between }, { x: x2, y: y2 }]) + named({ x: (x1 + x2) / 2, y: between - 7 }, label)
}

function path (points: readonly Point[]): string {
  const line = points.map(({ x, y }, at) => `${at === 0 ? 'M' : 'L'}${x} ${y}`).join('')
  return `<path d="${line}" fill="none" stroke="#33424f" stroke-width="1.5" marker-end="url(#head)"/>`
}

/** On a ground of its own, since lines may be below it. */
function named ({ x, y }: Point, label: string): string {
  if (label === '') return ''
  const width = Math.round(label.length * LETTER) + 6
  return `<rect x="${x - width / 2}" y="${y - 12}" width="${width}" height="15" fill="#fff" fill-opacity="0.85"/>` +
    words({ x, y }, label, 'font-size="12" text-anchor="middle" fill="#33424f"')
}

function words ({ x, y }: Point, text: string, style: string): string {
  return `<text x="${x}" y="${y}" ${style}>${text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</text>`
}
