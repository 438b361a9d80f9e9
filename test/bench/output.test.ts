// What the benchmark prints and draws.
import { describe, expect, test } from '@jest/globals'
import { type BarChart, renderChart } from '../../bench/chart.ts'
import { renderTable } from '../../bench/table.ts'

describe('renderTable', () => {
  test('makes columns as wide as needed, numbers to the right, notes below', () => {
    expect(renderTable({ title: 'T', columns: ['name', 'ms'], rows: [['a', '5'], ['longer', '1234']], notes: ['N'] })).toBe([
      'T', '', 'name      ms', '------  ----', 'a          5', 'longer  1234', '', 'N', ''].join('\n'))
  })

  test('stands rows that are short', () => {
    expect(renderTable({ title: 'T', columns: ['a', 'b'], rows: [['x']] })).toContain('\nx\n')
  })
})

describe('renderChart', () => {
  const chart: BarChart = {
    name: 'c',
    title: 'A < B & C',
    axis: 'share',
    groups: [{ label: 'python', bars: [{ series: 'one', value: 0.25 }, { series: 'two', value: 0.5 }, { series: 'gone', value: null }] }],
    mark: { at: 1, label: 'full' }
  }
  const widths = (svg: string): number[] => [...svg.matchAll(/<rect x="190" y="[\d.]+" width="([\d.]+)" height="13"/g)].map(([, width]) => Number(width))

  test('draws bars in proportion to their values', () => {
    const [one = 0, two = 0, ...rest] = widths(renderChart(chart))

    expect(rest).toEqual([])
    expect(two / one).toBeCloseTo(2, 1)
  })

  test('says which bar is missing, and escapes what it writes', () => {
    const svg = renderChart(chart)

    expect(svg).toContain('gone: failed or absent')
    expect(svg).toContain('A &lt; B &amp; C')
    expect(svg).not.toContain('A < B')
  })

  test('holds bars beyond the mark within the drawing, and a chart of nothing', () => {
    const svg = renderChart({ ...chart, groups: [{ label: 'x', bars: [{ series: 'one', value: 37.5 }] }] })

    expect(Math.max(...widths(svg))).toBeLessThanOrEqual(640)
    expect(renderChart({ ...chart, groups: [], mark: { at: 0, label: '' } })).not.toMatch(/NaN|Infinity/)
  })
})
