import { afterEach, expect, jest, test } from '@jest/globals'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { IMAGES_REMEMBERED_MAX, OPEN_DEADLINE_MS } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import type { LayerOpener } from '../../src/cache/layer-opener.ts'
import { type BookedLayer, downwards, ImageBook } from '../../src/daemon/image-book.ts'
import type { ImagePlan } from '../../src/image/plan.ts'
import type { BlockService, Waits } from '../../src/ipfs/blocks.ts'
import { ANNOTATION_TOC_DIGEST } from '../../src/oci/annotations.ts'
import { OCI_LAYER_GZIP } from '../../src/oci/media-types.ts'
import { parseCid } from '../../src/verify/cid.ts'

afterEach(() => { jest.useRealTimers() })

test('layers that do not open in time are given up, with the image and the time in the message', async () => {
  jest.useFakeTimers()
  const opener = {
    open: async (_layer: object, _blocks: object, { signal }: Waits) =>
      await new Promise((_resolve, reject) => signal?.addEventListener('abort', () => { reject(signal.reason as Error) }))
  } as unknown as LayerOpener
  const plan = { manifest: { digest: 'sha256:aa' }, layers: [layer('sha256:bb', 'sha256:bb')] } as unknown as ImagePlan
  const { opened } = new ImageBook({ opener, log: silentLog }).add(plan, {} as BlockService)
  const outcome = expect(opened).rejects.toMatchObject({
    line: `UNAVAILABLE: the layers of manifest sha256:aa did not open within ${OPEN_DEADLINE_MS} ms`
  })
  await jest.advanceTimersByTimeAsync(OPEN_DEADLINE_MS)
  await outcome
})

const cid = parseCid('bafkqaaa')
const layer = (digest: string, chainId: string, annotations: object = {}): object =>
  ({ digest, chainId, diffId: chainId, cid, annotations, mediaType: OCI_LAYER_GZIP, size: 1 })
const planOf = (...layers: object[]): ImagePlan => ({ manifest: { digest: 'sha256:aa' }, layers }) as unknown as ImagePlan
const service = {} as BlockService

/** Opens what its digest says: `good…` well, `bad…` not at all, `later…` when told. */
function bookWith (later: Map<string, (error: Error | null) => void> = new Map()): ImageBook {
  const opener = {
    open: async ({ digest }: { digest: string }) => await new Promise((resolve, reject) => {
      if (digest.startsWith('later')) later.set(digest, (error) => { if (error === null) resolve({ key: digest }); else reject(error) })
      else if (digest.startsWith('bad')) reject(new Error(`${digest} lies`))
      else resolve({ key: digest })
    })
  } as unknown as LayerOpener
  return new ImageBook({ opener, log: silentLog })
}

test('finds each layer by its chain ID, with the layers below it, nearest first', async () => {
  const book = bookWith()
  await book.add(planOf(layer('good1', 'c1'), layer('good2', 'c2'), layer('good3', 'c3')), service).opened
  expect(downwards(book.find('c3') as BookedLayer).map(({ chainId }) => chainId)).toEqual(['c3', 'c2', 'c1'])
  expect(await book.find('c2')?.opening.opened()).toMatchObject({ key: 'good2' })
  expect(book.find('c4')).toBeNull()
})

test('an image that does not open keeps no chain ID: not that of the bad layer, not those above it', async () => {
  const book = bookWith()
  await expect(book.add(planOf(layer('good1', 'c1'), layer('bad2', 'c2'), layer('good3', 'c3')), service).opened).rejects.toThrow('bad2 lies')
  expect(['c1', 'c2', 'c3'].map((chainId) => book.find(chainId) === null)).toEqual([false, true, true])
})

test('an image that claims the chain ID of another one and does not open gives it back', async () => {
  const book = bookWith()
  await book.add(planOf(layer('good1', 'c1')), service).opened
  await expect(book.add(planOf(layer('bad1', 'c1')), service).opened).rejects.toThrow('bad1 lies')
  expect(await book.find('c1')?.opening.opened()).toMatchObject({ key: 'good1' })
})

test('a layer is found while it still opens, and a later image is not undone by an earlier one that fails', async () => {
  const later = new Map<string, (error: Error | null) => void>()
  const book = bookWith(later)
  const first = book.add(planOf(layer('later1', 'c1')), service)
  expect(book.find('c1')).not.toBeNull()
  await book.add(planOf(layer('good1', 'c1')), service).opened
  later.get('later1')?.(new Error('too late'))
  await expect(first.opened).rejects.toThrow('too late')
  expect(await book.find('c1')?.opening.opened()).toMatchObject({ key: 'good1' })
})

/** Layers open when the test says so, or when their signal fires. */
function slowBook (): { readonly book: ImageBook, readonly open: Map<string, () => void>, readonly stopped: string[] } {
  const open = new Map<string, () => void>()
  const stopped: string[] = []
  const opener = {
    open: async ({ digest }: { digest: string }, _blocks: object, { signal }: Waits) => await new Promise((resolve, reject) => {
      open.set(digest, () => { resolve({ key: digest }) })
      signal?.addEventListener('abort', () => { stopped.push(digest); reject(signal.reason as Error) })
    })
  } as unknown as LayerOpener
  return { book: new ImageBook({ opener, log: silentLog }), open, stopped }
}

test('a pull that is given up stops its openings, and leaves no chain ID', async () => {
  const { book, stopped } = slowBook()
  const { opened, giveUp } = book.add(planOf(layer('one', 'c1'), layer('two', 'c2')), service)
  giveUp()

  await expect(opened).rejects.toMatchObject({ code: 'CANCELLED' })
  expect([stopped, book.find('c1'), book.find('c2')]).toEqual([['one', 'two'], null, null])
})

test('what somebody else waits for goes on without its pull, until he leaves', async () => {
  const { book, open, stopped } = slowBook()
  const { layers: [wanted], giveUp } = book.add(planOf(layer('wanted', 'c1'), layer('unwanted', 'c2')), service)
  const leaving = new AbortController()
  const [stays, leaves] = [wanted?.opening.opened(), wanted?.opening.opened(leaving.signal)]
  giveUp()
  leaving.abort(new Error('I leave'))

  await expect(leaves).rejects.toThrow('I leave')
  expect(stopped).toEqual(['unwanted'])
  open.get('wanted')?.()
  expect(await stays).toMatchObject({ key: 'wanted' })
})

test('who comes after an opening was given up opens it anew', async () => {
  const { book, open, stopped } = slowBook()
  const { layers: [booked], giveUp } = book.add(planOf(layer('one', 'c1')), service)
  giveUp()
  const late = booked?.opening.opened()
  open.get('one')?.()

  expect([await late, stopped]).toEqual([{ key: 'one' }, ['one']])
})

test('remembers a bounded number of chain IDs, the youngest', async () => {
  const book = bookWith()
  const layers = Array.from({ length: IMAGES_REMEMBERED_MAX + 1 }, (_, at) => planOf(layer(`good${at}`, `c${at}`)))
  for (const plan of layers) await book.add(plan, service).opened
  expect(book.find('c0')).toBeNull()
  expect(book.find('c1')).not.toBeNull()
  expect(book.find(`c${IMAGES_REMEMBERED_MAX}`)).not.toBeNull()
})

/** What the collector left of these objects; the flag gives it to this file alone. */
async function alive (references: ReadonlyArray<WeakRef<object>>): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setImmediate(resolve)) // a WeakRef that was made lives as long as its turn
    collect()
  }
  return references.filter((reference) => reference.deref() !== undefined).length
}

test('keeps a small record of a layer after the pull: no index, and nothing as long as its publisher likes', async () => {
  const indexes: Array<WeakRef<object>> = []
  const plans: Array<WeakRef<object>> = []
  const asked: object[] = []
  const opener = {
    open: async (layer: { digest: string, annotations: object }) => {
      const opened = { key: layer.digest, record: { index: Array.from({ length: 1000 }, () => ({})) } }
      indexes.push(new WeakRef(opened))
      if (indexes.length > 300) asked.push(layer.annotations)
      return await Promise.resolve(opened)
    }
  } as unknown as LayerOpener
  const book = new ImageBook({ opener, log: silentLog })
  const pull = async (at: number): Promise<void> => {
    const planned = layer(`d${at}`, `c${at}`, { [ANNOTATION_TOC_DIGEST]: `sha256:${'a'.repeat(64)}`, long: 'x'.repeat(10_000) })
    plans.push(new WeakRef(planned))
    const { opened, release } = book.add(planOf(planned), service)
    if (at % 2 === 0) release() // before it is open, as a pull that fails
    await opened
    release()
  }
  const held = book.add(planOf(layer('held', 'held')), service) // a pull that goes on
  await held.opened
  for (let at = 0; at < 299; at++) await pull(at)
  expect(await alive(plans)).toBe(0)
  expect(await alive(indexes)).toBe(1)
  expect(await book.find('held')?.opening.opened()).toBe(indexes[0]?.deref())
  // What is left is enough to open it again.
  expect(await book.find('c7')?.opening.opened()).toMatchObject({ key: 'd7' })
  expect(asked).toEqual([{ [ANNOTATION_TOC_DIGEST]: `sha256:${'a'.repeat(64)}` }])
})
