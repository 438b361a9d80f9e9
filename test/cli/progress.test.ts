// What people and programs see of a command under way, on a clock that the test moves.
import { afterEach, describe, expect, test } from '@jest/globals'
import type { ProgressEvent } from '../../src/base/report.ts'
import { createProgress, type Progress, type Way } from '../../src/cli/progress.ts'
import { Rate } from '../../src/cli/progress-rate.ts'
import { ManualTime } from '../fakes/manual-time.ts'

const item = `sha256:${'ab'.repeat(32)}`
const MB = 1_000_000
const begun: Progress[] = []

afterEach(() => { for (const progress of begun.splice(0)) progress.finish() })

type Story = ReadonlyArray<readonly [ms: number, event: ProgressEvent]>

interface Screen { readonly columns?: number, readonly rows?: number }

function watched (way: Way, story: Story, { columns = 80, rows = 24 }: Screen = {}): string {
  const time = new ManualTime()
  const start = time.ms
  let written = ''
  const progress = createProgress({ isTTY: way === 'tty', columns, rows, write: (text) => { written += text } }, time.clock, way)
  begun.push(progress)
  for (const [ms, event] of story) {
    time.ms = start + ms
    progress.report(event)
  }
  return written
}

/** What the terminal shows in the end, as one that knows the two orders that are used. */
function screenOf (written: string, columns = 80): string[] {
  const rows: string[] = []
  for (const part of written.split(/(\u001b\[\d+F\u001b\[J|\n)/)) { // eslint-disable-line no-control-regex
    const up = /^\u001b\[(\d+)F/.exec(part) // eslint-disable-line no-control-regex
    if (up !== null) rows.splice(rows.length - Number(up[1]))
    else if (part !== '\n' && part !== '') rows.push(...part.match(new RegExp(`.{1,${columns}}`, 'g')) ?? [])
  }
  return rows
}

const linesOf = (text: string): object[] => text.trim().split('\n').map((line) => JSON.parse(line) as object)

const story: Story = [
  [0, { event: 'note', text: 'linux/amd64' }],
  [0, { event: 'begin', item, phase: 'read', total: 4 * MB }],
  [50, { event: 'advance', item, bytes: MB }],
  [4_000, { event: 'advance', item, bytes: MB }],
  [4_010, { event: 'end', item, text: 'lazy' }]
]

describe('as JSON', () => {
  test('each event is a line, advances come now and then with rate and time left', () => {
    expect(linesOf(watched('json', story))).toEqual([
      { event: 'note', text: 'linux/amd64' },
      { event: 'begin', item, phase: 'read', total: 4 * MB },
      { event: 'progress', item, phase: 'read', bytes: 2 * MB, total: 4 * MB, rate: expect.any(Number), secondsLeft: expect.any(Number) },
      { event: 'end', item, text: 'lazy' }
    ])
  })

  test('of a size that nobody knows there is a rate and no time left', () => {
    const [, progress] = linesOf(watched('json', [[0, { event: 'begin', item, phase: 'fetch', total: 0 }], [4_000, { event: 'advance', item, bytes: 8 * MB }]]))

    expect(progress).toEqual({ event: 'progress', item, phase: 'fetch', bytes: 8 * MB, total: 0, rate: 2 * MB, secondsLeft: null })
  })

  test('a clock that goes backward does not silence it', () => {
    const lines = linesOf(watched('json', [
      [100_000, { event: 'begin', item, phase: 'read', total: 4 * MB }],
      [50_000, { event: 'advance', item, bytes: MB }],
      [53_000, { event: 'advance', item, bytes: MB }]
    ]))
    expect(lines).toHaveLength(2)
    expect(lines[1]).toMatchObject({ bytes: 2 * MB, rate: null, secondsLeft: null })
  })

  test('nothing is said of an item that never began', () => {
    expect(watched('json', [[0, { event: 'advance', item, bytes: 1 }]])).toBe('')
  })
})

describe('on a terminal', () => {
  test('an item is one row that is drawn again in place, and stays when it ended', () => {
    const upTo = (count: number): string[] => screenOf(watched('tty', story.slice(0, count)))

    expect(upTo(2)).toEqual(['linux/amd64', 'sha256:abababababab  read       0%       0.0 of 4.0 MB              --:-- left'])
    expect(upTo(4)[1]).toMatch(/^sha256:abababababab {2}read {6}50% {7}2\.0 of 4\.0 MB {2}\d{3}\.\d kB\/s {3}0:0\d left$/)
    expect(upTo(5)).toEqual(['linux/amd64', 'sha256:abababababab  lazy'])
  })

  test('columns stand still from the first byte to the last, of any size', () => {
    for (const total of [900, 4 * MB, 9_999 * MB, 20_000 * MB]) {
      const advances = Array.from({ length: 100 }, (_, at): Story[number] => [at * 777, { event: 'advance', item, bytes: total / 100 }])
      const written = watched('tty', [[0, { event: 'begin', item, phase: 'read', total }], ...advances])
      const rows = written.split('\n').map((row) => row.replace(/^\u001b.*J/, '')).filter((row) => row.includes('%')) // eslint-disable-line no-control-regex

      expect(rows.length).toBeGreaterThan(50)
      for (const mark of ['% ', ' of ', ' left']) expect(new Set(rows.map((row) => row.indexOf(mark))).size).toBe(1)
      expect(Math.max(...rows.map((row) => row.length))).toBeLessThan(80)
    }
  })

  test.each([
    [60, /^sha256:abababababab {2}read {6}50% +\d{3}\.\d kB\/s {3}0:0\d left$/],
    [48, /^sha256:abababababab {2}read {6}50% {3}0:0\d left$/],
    [40, /^sha256:abababababab {2}read {3}$|^sha256:abababababab {2}read {6}50%$|^sha256:abababababab {2}read$/],
    [12, /^sha256:abab$/],
    [1, /^$/]
  ])('with %i columns it leaves out what matters least, and breaks no row', (columns, row) => {
    const rows = screenOf(watched('tty', story.slice(1, 4), { columns }), columns)
    expect(rows).toHaveLength(columns === 1 ? 0 : 1)
    expect(rows[0] ?? '').toMatch(row)
  })

  test('one that does not know its size has 80 columns', () => {
    expect(watched('tty', story.slice(1, 4), { columns: 0, rows: 0 })).toBe(watched('tty', story.slice(1, 4)))
  })

  test('more items than rows are counted, so that none is drawn where nothing can be drawn again', () => {
    const items: Story = Array.from({ length: 30 }, (_, at) => [at, { event: 'begin', item: `layer ${at}`, phase: 'open', total: 0 }])
    const rows = screenOf(watched('tty', items, { rows: 10 }))

    expect(rows).toHaveLength(9)
    expect(rows.slice(-2)).toEqual([expect.stringMatching(/^layer 7 +open/), '… and 22 more'])
  })

  test('a size that is not known shows what came and for how long', () => {
    const fetched: Story = [[0, { event: 'begin', item, phase: 'fetch', total: 0 }], [65_000, { event: 'advance', item, bytes: 8 * MB }]]
    expect(screenOf(watched('tty', fetched))[0]).toMatch(/^sha256:abababababab {2}fetch +8\.0 MB +123\.\d kB\/s +1:05$/)
  })

  test('more bytes than announced are 100 per cent', () => {
    const more: Story = [[0, { event: 'begin', item, phase: 'read', total: MB }], [900, { event: 'advance', item, bytes: 3 * MB }]]
    expect(screenOf(watched('tty', more))[0]).toMatch(/100%.*--:-- left$/)
  })

  test('names and texts give it no orders', () => {
    const evil: Story = [[0, { event: 'begin', item: 'a\u001b[2J\n', phase: 'x', total: 0 }], [0, { event: 'note', text: '\u001b]0;owned\u0007' }]]
    expect(watched('tty', evil).replace(/\u001b\[1F\u001b\[J/g, '')).not.toContain('\u001b') // eslint-disable-line no-control-regex
  })

  test('a clock that goes backward draws on', () => {
    const back: Story = [[100_000, { event: 'begin', item, phase: 'read', total: 4 * MB }], [50_000, { event: 'advance', item, bytes: 2 * MB }]]
    expect(screenOf(watched('tty', back))[0]).toMatch(/ 50% .*--:-- left$/)
  })
})

test('plain text is lines that stay, quiet is warnings only', () => {
  const warned: Story = [...story, [5_000, { event: 'note', text: 'WARNING: unproven', warning: true }]]

  expect(watched('plain', warned).split('\n')).toEqual([
    'linux/amd64', 'sha256:abababababab  read', 'sha256:abababababab  lazy', 'WARNING: unproven', ''
  ])
  expect(watched('quiet', warned)).toBe('WARNING: unproven\n')
})

describe('the rate', () => {
  test('is not known before half a second and a byte', () => {
    const rate = new Rate(0)
    rate.add(MB, 100)
    expect([rate.perSecond(400), rate.secondsLeft(MB, 2 * MB, 400), new Rate(0).perSecond(10_000)]).toEqual([null, null, null])
    expect(Math.abs((rate.perSecond(1_000) ?? 0) / MB - 1)).toBeLessThan(0.1)
  })

  test('of a steady line is that of the line, whatever the bursts', () => {
    for (const burst of [1, 10, 40]) {
      const rate = new Rate(0)
      for (let at = 1; at <= 400; at++) if (at % burst === 0) rate.add(burst * MB, at * 100)
      expect(Math.abs((rate.perSecond(40_000) ?? 0) / (10 * MB) - 1)).toBeLessThan(0.25)
    }
  })

  test('sinks while nothing comes, and then nobody knows the time left', () => {
    const rate = new Rate(0)
    for (let at = 1; at <= 100; at++) rate.add(MB, at * 100)
    const left = [10, 20, 40, 80, 900].map((seconds) => rate.secondsLeft(100 * MB, 200 * MB, seconds * 1000))

    expect(left[0]).toBe(10)
    expect(left.slice(0, 4)).toEqual(left.slice(0, 4).toSorted((a, b) => Number(a) - Number(b)))
    expect(left[4]).toBeNull()
  })

  test('leaves no time when all is there', () => {
    const rate = new Rate(0)
    rate.add(MB, 1_000)
    expect([rate.secondsLeft(MB, MB, 1_000), rate.secondsLeft(2 * MB, MB, 1_000)]).toEqual([0, null])
  })
})
