// Cold-start measurements become cells, shares, a table and charts.
import { describe, expect, test } from '@jest/globals'
import { cellsOf, resultOf, shareOf } from '../../bench/cold/report.ts'
import { fullPull } from '../../bench/cold/full-pull.ts'
import { LINKS } from '../../bench/cold/links.ts'
import type { Measurement } from '../../bench/cold/measure.ts'
import { RECIPES } from '../../bench/images/catalogue.ts'

const run = (contender: string, ms: number, bytes = 1e6): Measurement => ({
  contender, ms, pullMs: ms / 2, bytes, requests: 3, cpuSeconds: 1, processes: [{ name: 'node serve', cpuSeconds: 0.5, peakBytes: ms * 1e6 }], warning: null
})
const recipe = RECIPES.find(({ name }) => name === 'python') ?? RECIPES[0]
if (recipe === undefined) throw new Error('no recipes')
const image = {
  recipe, layout: '', prefetchList: '', expected: '', imageBytes: 9e6, tarBytes: 20e6, layers: 3, filesTouched: 1, bytesTouched: 1
}
const conditions = { images: [image], links: LINKS.slice(0, 1), contenders: [fullPull], absent: [{ name: 'stargz', why: 'no go on PATH' }] }
const runs = [run('ours', 100), run('ours', 300), run('ours', 200), run('containerd', 1000, 9e6), run('containerd', 2000, 9e6)]

describe('cellsOf', () => {
  test('takes medians of each contender and keeps the quartiles', () => {
    const cells = cellsOf('python', '20ms-10MB', runs, new Map())

    expect(cells.map(({ contender, ms }) => [contender, ms?.median, ms?.runs])).toEqual([['containerd', 1500, 2], ['ours', 200, 3]])
    expect(cells[1]?.ms).toMatchObject({ p25: 150, p75: 250 })
    expect(cells[1]?.processes).toEqual([{ name: 'node serve', cpuSeconds: 0.5, peakBytes: 200e6 }])
  })

  test('keeps the error of a contender that never succeeded, and of one that did at times', () => {
    const cells = cellsOf('python', '20ms-10MB', runs, new Map([['stargz', 'it broke'], ['ours', 'once']]))

    expect(cells.find(({ contender }) => contender === 'stargz')).toMatchObject({ ms: null, error: 'it broke' })
    expect(cells.find(({ contender }) => contender === 'ours')).toMatchObject({ error: 'once', ms: { runs: 3 } })
  })
})

describe('shares', () => {
  test('are of the full pull of the same image and link only', () => {
    const cells = [...cellsOf('python', '20ms-10MB', runs, new Map()), ...cellsOf('python', '80ms-10MB', [run('ours', 100)], new Map())]

    expect(cells.map((cell) => shareOf(cell, cells))).toEqual([1, 200 / 1500, null])
  })
})

describe('resultOf', () => {
  const result = resultOf(cellsOf('python', '20ms-10MB', runs, new Map([['stargz', 'it broke']])), conditions)

  test('names in the table what failed and what is absent', () => {
    const [table] = result.tables

    expect(table?.rows.map(([, , contender, ms, share]) => [contender, ms, share])).toEqual([
      ['containerd', '1500', '1.000'], ['ours', '200', '0.133'], ['stargz', 'failed', undefined]])
    expect(table?.notes).toEqual(expect.arrayContaining(['absent: stargz: no go on PATH', 'FAILED: python 20ms-10MB stargz: it broke']))
  })

  test('says of a lazy contender that it fetched everything, and keeps its time', () => {
    const [table] = resultOf(cellsOf('python', '20ms-10MB', [{ ...run('ours', 100), warning: 'not lazy: 9 of 9' }], new Map()), conditions).tables

    expect(table?.notes).toContain('NOTE: python 20ms-10MB ours: not lazy: 9 of 9')
    expect(table?.rows.map(([, , , ms]) => ms)).toEqual(['100'])
  })

  test('charts all but the yardstick, one chart a link', () => {
    expect(result.charts.map(({ name }) => name)).toEqual(['cold-20ms-10MB'])
    expect(result.charts[0]?.groups).toEqual([{ label: 'python', bars: [{ series: 'ours', value: 200 / 1500 }, { series: 'stargz', value: null }] }])
  })

  test('survives JSON', () => {
    expect(JSON.parse(JSON.stringify(result.data))).toMatchObject({
      cells: [{ contender: 'containerd', share: 1 }, {}, {}],
      images: [{ name: 'python', imageBytes: 9e6 }]
    })
  })
})
