// The Grafana dashboard and the Prometheus alerts ask for metrics that `/metrics` has, by labels that these have, and leave none out.
import { expect, test } from '@jest/globals'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Metrics } from '../../src/http/metrics.ts'
import { execute } from '../e2e/command.ts'
import { figures } from '../http/figures.ts'
import { testWith } from '../peers/tools.ts'

const FOLDER = resolve(import.meta.dirname, '../../monitoring')
const ALERTS = join(FOLDER, 'alerts.yml')
/** What Prometheus adds to everything that it asks. */
const ADDED = ['instance', 'job']
const DATA_SOURCE = { type: 'prometheus', uid: '${datasource}' }

interface Target { readonly refId: string, readonly expr: string, readonly legendFormat: string, readonly datasource: object }
interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly datasource?: object
  readonly gridPos: { readonly x: number, readonly y: number, readonly w: number, readonly h: number }
  readonly targets?: readonly Target[]
}
interface Dashboard {
  readonly uid: string
  readonly title: string
  readonly schemaVersion: number
  readonly templating: { readonly list: ReadonlyArray<{ readonly name: string, readonly type: string, readonly query: unknown, readonly definition?: string }> }
  readonly panels: readonly Panel[]
}

const dashboard = JSON.parse(readFileSync(join(FOLDER, 'grafana-dashboard.json'), 'utf8')) as Dashboard
const targets = dashboard.panels.flatMap((panel) => panel.targets ?? [])
const rules = readFileSync(ALERTS, 'utf8').split(/^ {6}- alert: /m).slice(1)
const alerts = rules.map((rule) => /expr: (?:>-\n)?([^]*?)\n {8}\w+:/.exec(rule)?.[1] ?? '')

/** Every sample's name, with its labels. */
async function offered (): Promise<Map<string, string[]>> {
  const metrics = new Metrics(async () => figures)
  metrics.observeCall('Prepare', 'OK', 1)
  const { body } = await metrics.answer()
  return new Map([...body.matchAll(/^(ipfs_snapshotter_\w+)(?:\{(.*)\})? /mg)].map(([, name = '', labels = '']) =>
    [name, [...labels.matchAll(/(\w+)="/g)].map(([, label = '']) => label)]))
}

function metricsIn (expression: string): string[] {
  return [...expression.matchAll(/ipfs_snapshotter_\w+/g)].map(([name]) => name)
}

/** What this expression asks for that there is not: metrics, labels of their selectors, labels to group by. */
function unknownIn (expression: string, known: ReadonlyMap<string, readonly string[]>): string[] {
  const names = metricsIn(expression)
  const has = (name: string): readonly string[] => [...known.get(name) ?? [], ...ADDED]
  const all = names.flatMap(has)
  const selected = [...expression.matchAll(/(ipfs_snapshotter_\w+)\{([^}]*)\}/g)].flatMap(([, name = '', labels = '']) =>
    [...labels.matchAll(/(\w+) *(?:=~|!~|!=|=)/g)].flatMap(([, label = '']) => has(name).includes(label) ? [] : [`${name}{${label}}`]))
  const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels = '']) => labels.split(/, */)).filter((label) => !all.includes(label))
  return [...names.filter((name) => !known.has(name)), ...selected, ...grouped.map((label) => `by (${label})`)]
}

test('every query of dashboard and alerts names metrics and labels that there are', async () => {
  const known = await offered()
  expect(targets.length).toBeGreaterThan(20)
  expect(alerts.filter((expression) => metricsIn(expression).length === 0)).toEqual([])
  expect([...targets.map(({ expr }) => expr), ...alerts].flatMap((expression) => unknownIn(expression, known))).toEqual([])
  expect(unknownIn('sum by (colour) (ipfs_snapshotter_mounts{state="x"}) / ipfs_snapshotter_mount', known)).toEqual(
    ['ipfs_snapshotter_mount', 'ipfs_snapshotter_mounts{state}', 'by (colour)'])
})

test('a legend names labels that its query leaves', () => {
  const missing = targets.flatMap(({ expr, legendFormat }) => {
    const left = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels = '']) => labels.split(/, */))
    return [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label).filter((label) => !left.includes(label) || label === 'le')
  })
  expect(missing).toEqual([])
})

test('the dashboard shows every metric that there is', async () => {
  const shown = targets.flatMap(({ expr }) => metricsIn(expr)).map((name) => name.replace(/_(bucket|count|sum)$/, ''))
  const all = [...(await offered()).keys()].map((name) => name.replace(/_(bucket|count|sum)$/, ''))
  expect([...new Set(all)].filter((name) => !shown.includes(name))).toEqual([])
})

test('the dashboard has what Grafana imports: its data source is chosen there, its panels stand beside each other', () => {
  const { uid, title, schemaVersion, templating, panels } = dashboard
  expect({ uid, title }).toEqual({ uid: 'ipfs-snapshotter', title: 'ipfs-snapshotter' })
  expect(schemaVersion).toBeGreaterThanOrEqual(36) // panels name their data source by type and uid since then
  expect(templating.list.map(({ name, type }) => [name, type])).toEqual([['datasource', 'datasource'], ['instance', 'query']])
  expect(templating.list[0]?.query).toBe('prometheus')
  expect(templating.list[1]?.definition).toBe('label_values(ipfs_snapshotter_up_ready, instance)')
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
  expect(panels.filter(({ type }) => !['row', 'stat', 'timeseries'].includes(type))).toEqual([])
  for (const { type, datasource, targets = [], title: of } of panels) {
    if (type === 'row') continue
    expect([of, datasource, ...targets.map((target) => target.datasource)]).toEqual([of, DATA_SOURCE, ...targets.map(() => DATA_SOURCE)])
    expect(targets.map(({ refId }) => refId)).toEqual(targets.map((_, at) => String.fromCharCode(65 + at)))
  }
  const taken = new Map<string, string>()
  for (const { title: of, gridPos: { x, y, w, h } } of panels) {
    expect(x + w).toBeLessThanOrEqual(24)
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        expect([of, taken.get(`${column} ${line}`)]).toEqual([of, undefined])
        taken.set(`${column} ${line}`, of)
      }
    }
  }
})

testWith('monitoring', 'promtool')('Prometheus takes every query, and each alert comes when it should and only then', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'promtool-'))
  try {
    const filled = targets.map(({ expr }) => expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*'))
    const queries = join(folder, 'queries.yml')
    writeFileSync(queries, JSON.stringify({ groups: [{ name: 'dashboard', rules: filled.map((expr, at) => ({ record: `panel:${at}`, expr })) }] }))
    expect(await execute('promtool', ['check', 'rules', ALERTS, queries])).toMatchObject({ code: 0 })
    expect(await execute('promtool', ['test', 'rules', join(import.meta.dirname, 'alerts.promtool.yml')])).toMatchObject({ code: 0, stderr: '' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
