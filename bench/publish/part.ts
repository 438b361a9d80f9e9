// `npm run bench -- publish`: both formats of `publish` against `gzip -6` of the same tars, per image.
import { join } from 'node:path'
import type { BarChart } from '../chart.ts'
import { RECIPES } from '../images/catalogue.ts'
import { storedImage } from '../images/image-store.ts'
import type { BenchContext, Part, PartResult } from '../part.ts'
import type { Table } from '../table.ts'
import { type PublishRow, runPublish } from './run.ts'

const IMAGES_USUAL = ['python', 'node', 'files100k']

export const part: Part = {
  name: 'publish',
  run: async (context: BenchContext): Promise<PartResult> => {
    const names = context.images.length > 0 ? context.images : IMAGES_USUAL
    const images = []
    for (const recipe of RECIPES.filter(({ name }) => names.includes(name))) {
      const { layout } = await storedImage(context.cache, recipe, context.say)
      images.push({ name: recipe.name, layout })
    }
    const rows = await runPublish({ ...context, images, scratch: join(context.scratch, 'publish') })
    return { tables: [tableOf(rows)], charts: [chartOf(rows)], data: { rows } }
  }
}

function tableOf (rows: readonly PublishRow[]): Table {
  return {
    title: 'Publish: the whole command, proof included (goal: at most 1.00 of gzip -6)',
    columns: ['image', 'what', 's', 'p25', 'p75', 'CPU s', 'peak MB', 'MB written', 'of gzip', 'of gzip per core'],
    rows: rows.map((row) => [row.image, row.what, row.seconds.median.toFixed(1), row.seconds.p25.toFixed(1), row.seconds.p75.toFixed(1),
      row.cpuSeconds.median.toFixed(1), (row.peakBytes / 1e6).toFixed(0), (row.bytes / 1e6).toFixed(1), row.ofGzip.toFixed(2), row.ofGzipPerCore.toFixed(2)]),
    notes: ['of gzip: share of the time of gzip -6 on one tar after the other; per core: as many gzip at once as cores, one tar each']
  }
}

function chartOf (rows: readonly PublishRow[]): BarChart {
  return {
    name: 'publish',
    title: 'Publish, as a share of gzip -6 of the same tars, one after the other',
    axis: 'ratio of medians; 1 = gzip -6',
    groups: [...new Set(rows.map(({ image }) => image))].map((image) => ({
      label: image,
      bars: rows.filter((row) => row.image === image).map(({ what, ofGzip }) => ({ series: what, value: ofGzip }))
    })),
    mark: { at: 1, label: 'gzip -6' }
  }
}
