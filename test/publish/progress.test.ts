import { expect, test } from '@jest/globals'
import { createProgress, type ProgressEvent } from '../../src/cli/progress.ts'

const item = `sha256:${'ab'.repeat(32)}`

function watched (isTTY: boolean, events: ReadonlyArray<readonly [ms: number, event: ProgressEvent]>): string {
  let now = 0
  let written = ''
  const progress = createProgress({ isTTY, columns: 60, write: (text) => { written += text } }, { now: () => 0, nowNs: () => 0n, monotonicMs: () => now })
  for (const [ms, event] of events) {
    now = ms
    progress.report(event)
  }
  progress.finish()
  return written
}

const story: ReadonlyArray<readonly [number, ProgressEvent]> = [
  [0, { event: 'note', text: 'linux/amd64' }],
  [0, { event: 'begin', item, phase: 'read', total: 4_000_000 }],
  [50, { event: 'advance', item, bytes: 1_000_000 }],
  [5_000, { event: 'advance', item, bytes: 1_000_000 }],
  [5_010, { event: 'end', item, text: 'lazy' }]
]

test('elsewhere than on a terminal each event is a line of JSON, advances now and then', () => {
  expect(watched(false, story).trim().split('\n').map((line) => JSON.parse(line) as unknown)).toEqual([
    { event: 'note', text: 'linux/amd64' },
    { event: 'begin', item, phase: 'read', total: 4_000_000 },
    { event: 'progress', item, phase: 'read', done: 2_000_000, total: 4_000_000 },
    { event: 'end', item, text: 'lazy' }
  ])
})

test('on a terminal an item is one line that is drawn again in place and never wraps', () => {
  const written = watched(true, story)
  const shown = written.split('\u001b[1F\u001b[J')

  expect(shown[0]).toBe('linux/amd64\nsha256:abababababab  read       0 %  0.0 of 4.0 MB\n')
  expect(shown[1]).toBe('sha256:abababababab  read      50 %  2.0 of 4.0 MB\n')
  expect(shown.at(-1)).toBe('sha256:abababababab  lazy\n')
  expect(Math.max(...written.split('\n').map((line) => line.length))).toBeLessThan(70)
})

test('says nothing of an item that never began', () => {
  expect(watched(false, [[0, { event: 'advance', item, bytes: 1 }]])).toBe('')
})
