import { expect, test } from '@jest/globals'
import { missingWindows, type PlacedChunk } from '../../src/mount/layer-table.ts'
import { ReadAhead } from '../../src/mount/read-ahead.ts'

const KIB = 1024
const CHUNK = 256 * KIB

/** Files of so many chunks, each chunk a member of 256 KiB, so that four fill a leaf. */
function files (...counts: readonly number[]): PlacedChunk[] {
  let position = -1
  return counts.flatMap((count) => Array.from({ length: count }, (_, at) => {
    position++
    return {
      fileOffset: at * CHUNK, size: CHUNK, digest: new Uint8Array(32), offset: position * CHUNK, length: CHUNK,
      innerOffset: 0, dataOffset: position * CHUNK, position
    }
  }))
}

const covered = (runs: ReadonlyArray<{ readonly first: number, readonly count: number }>): number[] =>
  runs.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at))

test('of a small file the end comes first, then what follows the missed chunk, then what is before it', () => {
  const ahead = new ReadAhead(files(4, 16, 4))
  expect(ahead.after([{ first: 4, count: 1 }])).toMatchObject([{ first: 16 }, { first: 4 }, { first: 8 }, { first: 12 }])
  expect(ahead.after([{ first: 9, count: 1 }]).map(({ first }) => first)).toEqual([16, 12, 4, 8])
})

test('a file never makes its neighbours worth fetching', () => {
  const ahead = new ReadAhead(files(3, 5, 7))
  expect(covered(ahead.after([{ first: 5, count: 1 }])).sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 7])
})

test('a large file is fetched further ahead the longer it is read in order, and no longer when reads jump', () => {
  const ahead = new ReadAhead(files(1000))
  const sizes: number[] = []
  let at = 0
  for (let step = 0; step < 8; step++) {
    const runs = covered(ahead.after([{ first: at, count: 4 }]))
    expect(runs).toEqual(runs.map((_, index) => at + 4 + index))
    sizes.push(runs.length / 4)
    at += 4 + runs.length
  }
  expect(sizes).toEqual([0, 2, 4, 8, 16, 32, 32, 32])
  expect(ahead.after([{ first: 20, count: 1 }])).toEqual([])
  expect(ahead.after([{ first: 900, count: 1 }])).toEqual([])
})

test('windows cover exactly what is missing, and no more than their bytes of the blob', () => {
  const chunks = files(40)
  const present = new Set([0, 1, 7, 20])
  const windows = missingWindows(chunks, (chunk) => present.has(chunk), 4 * CHUNK)
  expect(covered(windows)).toEqual(chunks.map((_, at) => at).filter((at) => !present.has(at)))
  for (const { count, bytes } of windows) expect([count * CHUNK, bytes <= 4 * CHUNK]).toEqual([bytes, true])
  const shared = chunks.map((chunk) => ({ ...chunk, offset: 0 }))
  expect(missingWindows(shared, () => false, 4 * CHUNK)).toEqual([{ first: 0, count: 40, bytes: CHUNK }])
})

/** A layer of small files, each a member of its own. */
function smallFiles (count: number, bytes: number): PlacedChunk[] {
  return Array.from({ length: count }, (_, at) => ({
    fileOffset: 0, size: bytes, digest: new Uint8Array(32), offset: at * bytes, length: bytes, innerOffset: 0, dataOffset: at * bytes, position: at
  }))
}

test('small files that are read all over a layer make all of it worth fetching, once', () => {
  const chunks = smallFiles(8192, 4 * KIB) // 32 MiB, 128 leaves of ours
  const ahead = new ReadAhead(chunks)
  const asked = Array.from({ length: 40 }, (_, at) => ahead.everything([{ first: at * 2557 % 8192, count: 1 }]).reduce((sum, { count }) => sum + count, 0))
  expect(asked.filter((count) => count > 0)).toEqual([8192])
  expect(asked.findIndex((count) => count > 0)).toBeGreaterThanOrEqual(15)
})

test('nothing of a layer is worth fetching whose reads keep to some folders, are of large files, or few', () => {
  const folders = new ReadAhead(smallFiles(8192, 4 * KIB))
  for (let at = 0; at < 4000; at += 3) expect(folders.everything([{ first: at, count: 1 }])).toEqual([])
  const large = new ReadAhead(files(...Array.from({ length: 256 }, () => 4)))
  for (let at = 0; at < 256; at++) expect(large.everything([{ first: at * 4, count: 1 }])).toEqual([])
  const huge = new ReadAhead(smallFiles(200_000, 8 * KIB)) // 1.5 GiB: 300 reads are no reason to fetch it
  for (let at = 0; at < 300; at++) expect(huge.everything([{ first: at * 663, count: 1 }])).toEqual([])
})
