// Room in the cache, over files of a real disk: `evict` does here what the worker does.
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { CacheQuota, type ServedCache } from '../../src/cache/quota.ts'

const CHUNK = 64 * 1024
const CHUNKS = 32
let root: string
beforeAll(() => { root = mkdtempSync(join(tmpdir(), 'quota-')) })
afterAll(() => { rmSync(root, { recursive: true }) })

class Disk {
  readonly folder: string
  readonly served: ServedCache[] = []
  /** Chunks that were read since they were asked for, by name. */
  readonly used = new Map<string, Set<number>>()

  constructor (name: string) {
    this.folder = join(root, name)
  }

  layer (letter: string, serve = true): string {
    const folder = join(this.folder, letter.repeat(64))
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'record'), 'record')
    writeFileSync(join(folder, 'data'), Buffer.alloc(CHUNK * CHUNKS, letter))
    writeFileSync(join(folder, 'present'), Buffer.alloc(CHUNKS, 1))
    if (serve) this.served.push({ name: letter, folder, chunks: Array.from({ length: CHUNKS }, () => ({ size: CHUNK })) })
    return folder
  }

  quota (maxBytes: number): CacheQuota {
    return new CacheQuota({
      folder: this.folder,
      maxBytes,
      served: () => this.served,
      log: silentLog,
      used: async (name) => {
        const bits = Buffer.alloc(CHUNKS / 8)
        for (const chunk of this.used.get(name) ?? []) bits[chunk >> 3] = (bits[chunk >> 3] ?? 0) | 1 << (chunk & 7)
        this.used.delete(name)
        return bits
      },
      evict: async (name, runs) => {
        const folder = this.served.find((cache) => cache.name === name)?.folder ?? ''
        const marks = readFileSync(join(folder, 'present'))
        for (const { first, count } of runs) {
          marks.fill(0, first, first + count)
          execFileSync('fallocate', ['-p', '-o', String(first * CHUNK), '-l', String(count * CHUNK), join(folder, 'data')])
        }
        writeFileSync(join(folder, 'present'), marks)
      }
    })
  }

  present (folder: string): number[] {
    return [...readFileSync(join(folder, 'present')).entries()].filter(([, mark]) => mark === 1).map(([chunk]) => chunk)
  }

  bytes (): number {
    return readdirSync(this.folder, { recursive: true, encoding: 'utf8' }).map((name) => statSync(join(this.folder, name)))
      .reduce((sum, file) => file.isFile() ? sum + file.blocks * 512 : sum, 0)
  }
}

test('room is made before it is needed, out of what was not used', async () => {
  const disk = new Disk('used')
  const folder = disk.layer('a')
  const quota = disk.quota(CHUNKS * CHUNK)
  disk.used.set('a', new Set([0, 1, 2, 3, 30, 31]))
  const settled = await quota.admit(8 * CHUNK)

  expect(settled).not.toBeNull()
  expect(disk.bytes() + 8 * CHUNK).toBeLessThanOrEqual(CHUNKS * CHUNK)
  expect(disk.present(folder)).toEqual(expect.arrayContaining([0, 1, 2, 3, 30, 31]))
  expect(disk.present(folder).length).toBeGreaterThan(CHUNKS / 2)
})

test('what was just supplied outlives what was used before it', async () => {
  const disk = new Disk('supplied')
  const folder = disk.layer('a')
  const quota = disk.quota(CHUNKS * CHUNK)
  quota.supplied(folder, { first: 10, count: 4 }, CHUNKS)
  await quota.admit(20 * CHUNK)

  expect(disk.present(folder)).toEqual(expect.arrayContaining([10, 11, 12, 13]))
})

test('layers that nobody serves go first, the oldest before the younger, and keep their records', async () => {
  const disk = new Disk('unserved')
  const [old, young, served] = [disk.layer('a', false), disk.layer('b', false), disk.layer('c')]
  utimesSync(join(old, 'data'), 1, 1)
  utimesSync(join(young, 'data'), 1000, 1000)
  await disk.quota(3 * CHUNKS * CHUNK).admit(CHUNK)

  expect(readdirSync(old)).toEqual(['record'])
  expect(readdirSync(young).sort()).toEqual(['data', 'present', 'record'])
  expect(disk.present(served)).toHaveLength(CHUNKS)
})

test('data that may be about to be served is not old', async () => {
  const disk = new Disk('young')
  const [young, served] = [disk.layer('a', false), disk.layer('b')]
  await disk.quota(2 * CHUNKS * CHUNK).admit(4 * CHUNK)

  expect(readdirSync(young).sort()).toEqual(['data', 'present', 'record'])
  expect(disk.present(served).length).toBeLessThan(CHUNKS)
})

test('when nothing is left to go there is no room, and background work hears of it before', async () => {
  const disk = new Disk('full')
  disk.layer('a')
  const quota = disk.quota(CHUNKS * CHUNK)
  expect(await quota.admit(CHUNKS * CHUNK * 2)).toBeNull()

  const settled = await quota.admit(CHUNKS * CHUNK - 64 * 1024)
  expect(settled).not.toBeNull()
  expect(quota.hasRoom()).toBe(false)
})

test('many at once are admitted no more than there is room for', async () => {
  const disk = new Disk('at-once')
  mkdirSync(disk.folder)
  const quota = disk.quota(10 * CHUNK)
  const answers = await Promise.all(Array.from({ length: 30 }, async () => await quota.admit(CHUNK)))

  expect(answers.filter((answer) => answer !== null)).toHaveLength(10)
})
