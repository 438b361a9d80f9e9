import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { mkdtempSync, openSync, readdirSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { CONTENT_PIECE_BYTES } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import { ContentStore } from '../../src/content/content-store.ts'
import type { VirtualBlobs } from '../../src/content/virtual-blobs.ts'
import { type Digest, digestOf } from '../../src/verify/digest.ts'
import { verifyDigest } from '../../src/verify/verified-bytes.ts'

const BYTES = Buffer.alloc(2 * CONTENT_PIECE_BYTES + 12_345, 'forty-one bytes that no piece is multiple of')
const DIGEST = digestOf(BYTES)

let folder: string
let store: ContentStore
const opened = async (virtual?: VirtualBlobs): Promise<ContentStore> =>
  await ContentStore.open({ folder, log: silentLog, clock: systemClock, ...virtual === undefined ? {} : { virtual } })
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'content-'))
  store = await opened()
})
afterEach(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})

async function put (bytes: Uint8Array, labels: Record<string, string> = {}): Promise<Digest> {
  const ingest = await store.ingest('ref', bytes.length, '')
  await ingest.write(bytes)
  return await store.commit(ingest, bytes.length, digestOf(bytes), labels)
}

async function get (digest: Digest, offset = 0, size = 0): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of store.read(digest, offset, size)) pieces.push(piece)
  return Buffer.concat(pieces)
}

const fileOf = (digest: Digest): string => join(folder, 'blobs', 'sha256', digest.slice(7))
const reopened = async (virtual?: VirtualBlobs): Promise<void> => {
  await store.close()
  store = await opened(virtual)
}

describe('a blob', () => {
  test('is read in any range, also after a restart, which knows no hash of a piece', async () => {
    await put(BYTES)
    for (let pass = 0; pass < 2; pass++) {
      await fc.assert(fc.asyncProperty(fc.nat(BYTES.length), fc.nat(BYTES.length), async (offset, size) => {
        const wanted = size === 0 ? BYTES.subarray(offset) : BYTES.subarray(offset, offset + size)
        expect((await get(DIGEST, offset, size)).equals(wanted)).toBe(true)
      }), { numRuns: 30 })
      await reopened()
    }
    await expect(get(DIGEST, BYTES.length + 1)).rejects.toMatchObject({ code: 'OUT_OF_RANGE' })
  })

  test('that is read in small steps needs the disk once a piece, and not after it was deleted', async () => {
    await put(BYTES)
    const step = 32 * 1024
    const piece = BYTES.subarray(0, CONTENT_PIECE_BYTES)
    expect((await get(DIGEST, 0, step)).equals(piece.subarray(0, step))).toBe(true)
    writeFileSync(fileOf(DIGEST), Buffer.alloc(BYTES.length, 'other bytes'))
    for (let at = step; at < piece.length; at += step) expect((await get(DIGEST, at, step)).equals(piece.subarray(at, at + step))).toBe(true)
    await expect(get(DIGEST, CONTENT_PIECE_BYTES, step)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' })
    await expect(get(DIGEST, 0, step)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await put(BYTES)
    expect((await get(DIGEST, 0, step)).equals(piece.subarray(0, step))).toBe(true)
  })

  test.each([
    ['flipped', (path: string) => { writeSync(openSync(path, 'r+'), Buffer.of(0xff), 0, 1, CONTENT_PIECE_BYTES + 5) }],
    ['cut', (path: string) => { truncateSync(path, BYTES.length - 1) }],
    ['gone', (path: string) => { rmSync(path) }],
    ['another blob', (path: string) => { writeFileSync(path, Buffer.alloc(BYTES.length, 'x')) }]
  ])('whose file is %s reaches nobody and is gone, so that a pull brings it again', async (_, harm) => {
    for (const forget of [false, true]) {
      await put(BYTES)
      harm(fileOf(DIGEST))
      if (forget) await reopened()
      if (forget && !readdirSync(join(folder, 'blobs', 'sha256')).includes(DIGEST.slice(7))) expect(store.has(DIGEST)).toBe(false)
      else await expect(get(DIGEST)).rejects.toMatchObject({ code: expect.stringMatching(/DIGEST_MISMATCH|NOT_FOUND/) as unknown })
      expect(() => store.info(DIGEST)).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }))
      expect(readdirSync(join(folder, 'blobs', 'sha256'))).toEqual([])
    }
    await put(BYTES)
    expect((await get(DIGEST)).equals(BYTES)).toBe(true)
  })

  test('is found by digest and label, and deleted once', async () => {
    await put(BYTES, { 'a.b': 'c' })
    const found = (...filters: string[]): string[] => [...store.list(filters)].flat().map(({ digest }) => digest)
    expect([found(), found('labels."a.b"==c'), found(`digest==${DIGEST}`), found('labels."a.b"==d')]).toEqual([[DIGEST], [DIGEST], [DIGEST], []])
    await store.delete(DIGEST)
    await expect(store.delete(DIGEST)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect(found()).toEqual([])
  })

  test('is listed with its neighbours in pages that a deletion between them does not disturb', async () => {
    const digests = []
    for (let at = 0; at < 250; at++) digests.push(await put(Buffer.from(`blob ${at}`)))
    const seen: string[] = []
    for (const page of store.list([])) {
      expect(page.length).toBeLessThanOrEqual(100)
      for (const { digest } of page) {
        seen.push(digest)
        await store.delete(digest)
      }
    }
    expect(seen).toEqual(digests.sort())
  })

  test('committed by many at once is there once, and deleted meanwhile leaves nothing half', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, async (_, at) => {
      const ingest = await store.ingest(`ref ${at}`, 0, '')
      await ingest.write(BYTES)
      if (at === 4) await store.delete(DIGEST).catch(() => {})
      await store.commit(ingest, 0, '', {})
    }))
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(0)
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'ALREADY_EXISTS' })
    expect((await get(DIGEST)).equals(BYTES)).toBe(true)
    expect(await store.statuses([])).toEqual([])
    expect(readdirSync(join(folder, 'ingest'))).toEqual([])
  })
})

describe('an ingest', () => {
  test('goes on after a restart where it was, and is one blob in the end', async () => {
    const first = await store.ingest('k', BYTES.length, DIGEST)
    await first.write(BYTES.subarray(0, 700_000))
    const before = first.status
    await reopened()
    expect(await store.statuses(['ref==k'])).toEqual([before])
    const second = await store.ingest('k', BYTES.length, DIGEST)
    expect(second.digest).toBe(digestOf(BYTES.subarray(0, 700_000)))
    await second.write(BYTES.subarray(700_000))
    await store.commit(second, 0, '', {})
    expect((await get(DIGEST)).equals(BYTES)).toBe(true)
  })

  test('whose bytes the disk changed before a restart cannot become the announced blob', async () => {
    const first = await store.ingest('k', BYTES.length, DIGEST)
    await first.write(BYTES)
    writeSync(openSync(first.path, 'r+'), Buffer.of(0xff), 0, 1, 7)
    await reopened()
    const second = await store.ingest('k', BYTES.length, DIGEST)
    await expect(store.commit(second, BYTES.length, DIGEST, {})).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect(store.has(DIGEST)).toBe(false)
  })

  test('has one writer at a time, and one that is aborted tells its writer', async () => {
    const ingest = await store.ingest('k', 0, '')
    await expect(store.ingest('k', 0, '')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await store.abort('k')
    await expect(ingest.write(BYTES)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(store.commit(ingest, 0, '', {})).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await store.leave(ingest)
    expect(readdirSync(join(folder, 'ingest'))).toEqual([])
  })

  test.each(['', 'x'.repeat(5_000)])('under the ref of a stranger mind is refused (%#)', async (ref) => {
    await expect(store.ingest(ref, 0, '')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('that a crash cut off leaves no file without a record and no record without a file', async () => {
    await put(BYTES)
    await store.close()
    writeFileSync(join(folder, 'ingest', '999'), 'orphan')
    writeFileSync(fileOf(digestOf(Buffer.from('orphan'))), 'orphan')
    store = await opened()
    expect([readdirSync(join(folder, 'ingest')), readdirSync(join(folder, 'blobs', 'sha256'))]).toEqual([[], [DIGEST.slice(7)]])
  })
})

describe('a virtual blob', () => {
  class Promised implements VirtualBlobs {
    fetches = 0
    readonly #truth: Buffer | null
    #promised = true

    constructor (truth: Buffer | null) {
      this.#truth = truth
    }

    find (digest: Digest): { size: number, sinceNs: bigint } | null {
      return this.#promised && digest === DIGEST ? { size: BYTES.length, sinceNs: 1n } : null
    }

    async * fetch (): ReturnType<VirtualBlobs['fetch']> & AsyncGenerator<never> {
      this.fetches++
      if (this.#truth === null) throw new Error('no source')
      for (let at = 0; at < this.#truth.length; at += 1000) {
        const piece = this.#truth.subarray(at, at + 1000)
        yield verifyDigest(digestOf(piece), piece, 'a leaf') as never
      }
    }

    renounce (): void {
      this.#promised = false
    }
  }

  test('answers, is not listed, and is fetched once for all who read it first', async () => {
    const virtual = new Promised(BYTES)
    await reopened(virtual)
    expect(store.info(DIGEST)).toEqual({ digest: DIGEST, size: BYTES.length, createdNs: 1n, updatedNs: 1n, labels: {} })
    expect([...store.list([])]).toEqual([])
    await store.delete(DIGEST)
    const reads = await Promise.all([get(DIGEST, 5, 10), get(DIGEST), get(DIGEST, CONTENT_PIECE_BYTES)])
    expect(reads.map((bytes) => digestOf(bytes))).toEqual([BYTES.subarray(5, 15), BYTES, BYTES.subarray(CONTENT_PIECE_BYTES)].map(digestOf))
    expect([virtual.fetches, await store.statuses([])]).toEqual([1, []])
  })

  test('is fetched again when garbage collection deleted it, or the disk damaged it under a reader', async () => {
    const virtual = new Promised(BYTES)
    await reopened(virtual)
    await get(DIGEST)
    await store.delete(DIGEST)
    expect((await get(DIGEST)).equals(BYTES)).toBe(true)
    writeFileSync(fileOf(DIGEST), Buffer.alloc(BYTES.length, 'x'))
    expect((await get(DIGEST)).equals(BYTES)).toBe(true)
    expect(virtual.fetches).toBe(3)
  })

  test.each([['other bytes', Buffer.alloc(BYTES.length, 'x')], ['fewer bytes', BYTES.subarray(1)], ['more bytes', Buffer.concat([BYTES, BYTES])]])(
    'that turns out to be %s is no blob any more, so that a true one can take its place', async (_, lie) => {
      await reopened(new Promised(lie))
      await expect(get(DIGEST, 0, 10)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' })
      expect(store.has(DIGEST)).toBe(false)
      expect((await put(BYTES))).toBe(DIGEST)
    })

  test('whose sources fail stays promised', async () => {
    await reopened(new Promised(null))
    await expect(get(DIGEST)).rejects.toThrow('no source')
    expect(store.has(DIGEST)).toBe(true)
    await expect(get(DIGEST)).rejects.toThrow('no source')
  })
})
