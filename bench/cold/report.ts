// Cold-start measurements → cells with medians, a table and a chart per link, and the data of the JSON file. Pure.
import type { StoredImage } from '../images/image-store.ts'
import type { PartResult } from '../part.ts'
import { type Spread, spread } from '../statistics.ts'
import type { Contender } from './contender.ts'
import { fullPull, UNPACKED } from './full-pull.ts'
import type { Link } from './links.ts'
import type { Measurement } from './measure.ts'

export interface Cell {
  readonly image: string
  readonly link: string
  readonly contender: string
  /** Null when no run of it succeeded. */
  readonly ms: Spread | null
  readonly pullMs: Spread | null
  readonly bytes: Spread | null
  readonly requests: Spread | null
  readonly cpuSeconds: Spread | null
  readonly processes: ReadonlyArray<{ readonly name: string, readonly cpuSeconds: number, readonly peakBytes: number }>
  /** Of a run that failed, when one did. */
  readonly error: string | null
  /** Of a run that was not as it should be though it ended well: a lazy contender that fetched everything. */
  readonly warning: string | null
}

export interface Conditions {
  readonly images: readonly StoredImage[]
  readonly links: readonly Link[]
  readonly contenders: readonly Contender[]
  readonly absent: ReadonlyArray<{ readonly name: string, readonly why: string }>
}

/** Cells of one image and link, in the order of first appearance. */
export function cellsOf (image: string, link: string, measurements: readonly Measurement[], errors: ReadonlyMap<string, string>): Cell[] {
  const names = [...new Set([...measurements.map(({ contender }) => contender), ...errors.keys()])].sort()
  return names.map((contender) => {
    const runs = measurements.filter((run) => run.contender === contender)
    const of = (pick: (run: Measurement) => number): Spread | null => runs.length === 0 ? null : spread(runs.map(pick))
    return {
      image, link, contender,
      ms: of(({ ms }) => ms),
      pullMs: of(({ pullMs }) => pullMs),
      bytes: of(({ bytes }) => bytes),
      requests: of(({ requests }) => requests),
      cpuSeconds: of(({ cpuSeconds }) => cpuSeconds),
      processes: processMedians(runs),
      error: errors.get(contender) ?? null,
      warning: runs.find(({ warning }) => warning !== null)?.warning ?? null
    }
  })
}

/** Of containerd's full pull of the same image over the same line; null when one of both failed. */
export function shareOf (cell: Cell, cells: readonly Cell[]): number | null {
  const full = cells.find(({ image, link, contender }) => image === cell.image && link === cell.link && contender === fullPull.name)
  return full?.ms == null || cell.ms === null ? null : cell.ms.median / full.ms.median
}

export function resultOf (cells: readonly Cell[], { images, links, contenders, absent }: Conditions): PartResult {
  const notes = [
    ...contenders.map(({ name, about }) => `${name}: ${about}`),
    ...contenders.some(({ name }) => name === fullPull.name) ? [`${UNPACKED}: second run of ${fullPull.name}, page cache dropped again`] : [],
    ...contenders.flatMap(({ name, images: some }) => onlySome(name, some, 'takes part by default with', `--contender ${name}`)),
    ...images.flatMap(({ recipe: { name, links: some } }) => onlySome(name, some, 'is measured by default over', '--link NAME')),
    ...absent.map(({ name, why }) => `absent: ${name}: ${why}`),
    ...cells.flatMap(({ image, link, contender, error }) => error === null ? [] : [`FAILED: ${image} ${link} ${contender}: ${error}`]),
    ...cells.flatMap(({ image, link, contender, warning }) => warning === null ? [] : [`NOTE: ${image} ${link} ${contender}: ${warning}`])
  ]
  return {
    tables: [{
      title: 'Cold start: from `pull` to the first line of output, medians',
      columns: ['image', 'link', 'contender', 'ms', 'share', 'p25', 'p75', 'pull ms', 'MB', 'requests', 'CPU s', 'peak MB'],
      rows: cells.map((cell) => row(cell, cells)),
      notes
    }],
    charts: links.map(({ name: link }) => ({
      name: `cold-${link}`,
      title: `Cold start at ${link}`,
      axis: "time to the first line, as a share of containerd's full pull",
      groups: images.map(({ recipe: { name: image } }) => ({
        label: image,
        bars: cells.filter((cell) => cell.image === image && cell.link === link && cell.contender !== fullPull.name)
          .map((cell) => ({ series: cell.contender, value: shareOf(cell, cells) }))
      })),
      mark: { at: 1, label: 'full pull' }
    })),
    data: {
      links,
      contenders: contenders.map(({ name, about }) => ({ name, about })),
      absent,
      images: images.map(({ recipe: { name, about, program }, imageBytes, tarBytes, layers, filesTouched, bytesTouched }) =>
        ({ name, about, program, imageBytes, tarBytes, layers, filesTouched, bytesTouched })),
      cells: cells.map((cell) => ({ ...cell, share: shareOf(cell, cells) }))
    }
  }
}

function onlySome (name: string, some: readonly string[] | undefined, does: string, option: string): string[] {
  return some === undefined ? [] : [`${name} ${does} ${some.join(', ')} only (${option})`]
}

function row (cell: Cell, cells: readonly Cell[]): string[] {
  const { image, link, contender, ms, pullMs, bytes, requests, cpuSeconds, processes } = cell
  if (ms === null) return [image, link, contender, 'failed']
  const share = shareOf(cell, cells)
  const whole = (value: number | undefined): string => value === undefined ? '' : String(Math.round(value))
  return [image, link, contender, whole(ms.median), share === null ? '' : share.toFixed(3), whole(ms.p25), whole(ms.p75), whole(pullMs?.median),
    ((bytes?.median ?? 0) / 1e6).toFixed(1), whole(requests?.median), (cpuSeconds?.median ?? 0).toFixed(2),
    processes.filter(({ peakBytes }) => peakBytes > 0).map(({ name, peakBytes }) => `${name} ${Math.round(peakBytes / 1e6)}`).join(', ')]
}

function processMedians (runs: readonly Measurement[]): Cell['processes'] {
  const names = [...new Set(runs.flatMap(({ processes }) => processes.map(({ name }) => name)))]
  return names.map((name) => {
    const found = runs.flatMap(({ processes }) => processes.filter((process) => process.name === name))
    return { name, cpuSeconds: spread(found.map(({ cpuSeconds }) => cpuSeconds)).median, peakBytes: spread(found.map(({ peakBytes }) => peakBytes)).median }
  })
}
