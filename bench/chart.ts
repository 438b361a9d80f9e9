// Bar charts as SVG, written by hand: groups of bars against one axis, values printed on them. Pure, no script, no font
// but the reader's own.

export interface BarChart {
  /** Name of the file, without ending. */
  readonly name: string
  readonly title: string
  /** What the axis says, its unit included. */
  readonly axis: string
  readonly groups: ReadonlyArray<{ readonly label: string, readonly bars: readonly Bar[] }>
  /** A line drawn across at this value, with its meaning. */
  readonly mark?: { readonly at: number, readonly label: string }
}

export interface Bar { readonly series: string, readonly value: number | null }

const COLOURS = ['#0b6e4f', '#4caf7d', '#a3d9b8', '#5b6b7b', '#c0592b', '#e39b6f', '#8a4fa0', '#c9a227', '#9aa5b1']
const BAR = 15
const GAP = 14
const LEFT = 190
const WIDTH = 640
const RIGHT = 90
const TOP = 64
const LEGEND_ROW = 18

export function renderChart ({ title, axis, groups, mark }: BarChart): string {
  const series = [...new Set(groups.flatMap(({ bars }) => bars.map((bar) => bar.series)))]
  const legendRows = Math.ceil(series.length / 4)
  const top = TOP + legendRows * LEGEND_ROW
  const bars = groups.reduce((sum, group) => sum + group.bars.length, 0)
  const height = top + bars * BAR + groups.length * GAP + 40
  const most = Math.max(mark?.at ?? 0, ...groups.flatMap((group) => group.bars.map(({ value }) => value ?? 0)))
  const step = niceStep(most)
  const end = Math.max(step, Math.ceil(most / step) * step)
  const x = (value: number): number => LEFT + value / end * WIDTH
  const parts = [text(LEFT, 24, title, 'font-size="16" font-weight="600"'), text(LEFT, 44, axis, 'font-size="12" fill="#555"'),
    ...legend(series)]
  for (let tick = 0; tick <= end + step / 2; tick += step) {
    parts.push(line(x(tick), top, x(tick), height - 30, '#e3e6ea'), text(x(tick), height - 14, short(tick), 'font-size="11" fill="#555" text-anchor="middle"'))
  }
  let y = top + GAP / 2
  for (const group of groups) {
    parts.push(text(LEFT - 10, y + group.bars.length * BAR / 2 + 4, group.label, 'font-size="12" text-anchor="end"'))
    for (const { series: name, value } of group.bars) {
      const colour = COLOURS[series.indexOf(name) % COLOURS.length] ?? '#000'
      if (value === null) parts.push(text(LEFT + 4, y + BAR - 4, `${name}: failed or absent`, 'font-size="10" fill="#999"'))
      else {
        parts.push(`<rect x="${LEFT}" y="${y + 1}" width="${short(Math.max(1, x(value) - LEFT))}" height="${BAR - 2}" fill="${colour}"/>`,
          text(x(value) + 4, y + BAR - 4, short(value), 'font-size="10" fill="#333"'))
      }
      y += BAR
    }
    y += GAP
  }
  if (mark !== undefined) {
    const at = x(mark.at)
    parts.push(line(at, top, at, height - 30, '#b00020'), text(at + 4, top - 4, mark.label, 'font-size="10" fill="#b00020"'))
  }
  const width = LEFT + WIDTH + RIGHT
  return [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" role="img">`,
    `<title>${escaped(title)}</title>`, `<rect width="${width}" height="${height}" fill="#fff"/>`, ...parts, '</svg>', ''].join('\n')
}

function legend (series: readonly string[]): string[] {
  return series.flatMap((name, at) => {
    const left = LEFT + (at % 4) * 160
    const y = TOP + Math.floor(at / 4) * LEGEND_ROW
    const colour = COLOURS[at % COLOURS.length] ?? '#000'
    return [`<rect x="${left}" y="${y - 10}" width="10" height="10" fill="${colour}"/>`, text(left + 15, y, name, 'font-size="12"')]
  })
}

/** 1, 2 or 5 times a power of ten, so that about ten of them reach `most`. */
function niceStep (most: number): number {
  const raw = Math.max(most, 1e-9) / 8
  const power = 10 ** Math.floor(Math.log10(raw))
  return (([1, 2, 5].find((factor) => factor * power >= raw)) ?? 10) * power
}

function text (x: number, y: number, content: string, attributes: string): string {
  return `<text x="${short(x)}" y="${short(y)}" ${attributes}>${escaped(content)}</text>`
}

function line (x1: number, y1: number, x2: number, y2: number, colour: string): string {
  return `<line x1="${short(x1)}" y1="${y1}" x2="${short(x2)}" y2="${y2}" stroke="${colour}"/>`
}

function short (value: number): string {
  return String(Number(value.toPrecision(4)))
}

function escaped (content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
