import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UPLOADS_AT_ONCE } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import { BlockFolder } from '../../src/ipfs/block-folder.ts'
import { GivenBlocks } from '../../src/ipfs/given-blocks.ts'
import { type Block, block, DAG_CBOR, directory, fileNode, identityCid, leaf } from '../suites/dags.ts'

const MAX = 1 << 20

let folder: string
let given: GivenBlocks
async function opened (maxBytes = MAX): Promise<GivenBlocks> {
  const store = await GivenBlocks.open({ folder, maxBytes, log: silentLog })
  await store.measured
  return store
}
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'given-'))
  given = await opened()
})
afterEach(() => { rmSync(folder, { recursive: true }) })

const fileOf = ({ cid }: Block): string => join(folder, 'sha256', Buffer.from(cid.multihash.digest).toString('hex'))
const stored = (): string[] => readdirSync(join(folder, 'sha256')).sort()
const namesOf = (...blocks: readonly Block[]): string[] => blocks.map(fileOf).map((path) => path.slice(-64)).sort()
const incoming = (): string[] => existsSync(join(folder, 'incoming')) ? readdirSync(join(folder, 'incoming')) : []
function age (...blocks: readonly Block[]): void {
  for (const one of blocks) utimesSync(fileOf(one), 1_000, 1_000)
}

async function put (...blocks: readonly Block[]): Promise<void> {
  const upload = await given.begin()
  try {
    for (const { cid, bytes } of blocks) await upload.put(cid, bytes, 'a test')
    await upload.commit()
  } finally {
    await upload.close()
  }
}

const ONE = block('one')
const TWO = block('two')
const BASE = fileNode([leaf(Buffer.from('base 1')), leaf(Buffer.from('base 2'))])
const baseBlocks = [BASE.root, ...BASE.children.map(({ root }) => root)]
const FIRST = directory({ base: BASE.root.cid, own: ONE.cid })
const SECOND = directory({ base: BASE.root.cid, own: TWO.cid })

describe('blocks that were given', () => {
  test('are there after a restart, by CIDs of either version, and hashed in each read', async () => {
    await put(ONE, ...baseBlocks)
    given = await opened()
    expect([given.blocks.blocks, given.bytes]).toEqual([4, 4 * 4_096])
    for (const { cid, bytes } of [ONE, ...baseBlocks]) expect(Buffer.from(await given.blocks.get(cid) ?? []).equals(bytes)).toBe(true)
    expect(await given.blocks.get(BASE.root.cid.toV0())).not.toBeNull()
    expect([given.blocks.has(TWO.cid), await given.blocks.get(TWO.cid)]).toEqual([false, null])
    expect(given.blocks.has(identityCid('inline'))).toBe(true)

    writeFileSync(fileOf(ONE), 'eno')
    await expect(given.blocks.get(ONE.cid)).rejects.toMatchObject({ code: 'BLOCK_HASH_MISMATCH' })
    writeFileSync(fileOf(ONE), Buffer.alloc(2_097_153))
    await expect(given.blocks.get(ONE.cid)).rejects.toMatchObject({ code: 'BLOCK_TOO_LARGE' })
    rmSync(fileOf(ONE))
    mkdirSync(fileOf(ONE))
    await expect(given.blocks.get(ONE.cid)).rejects.toMatchObject({ code: 'BLOCK_INVALID' })
    rmSync(fileOf(ONE), { recursive: true })
    symlinkSync('/dev/zero', fileOf(ONE))
    await expect(given.blocks.get(ONE.cid)).rejects.toMatchObject({ code: 'ENVIRONMENT' })
  })

  test('are seen by whoever else reads the folder, as they come and go', async () => {
    const reader = await BlockFolder.open(folder)
    expect([reader.has(ONE.cid), reader.ordinal(ONE.cid)]).toEqual([false, null])
    await put(ONE, TWO)
    expect([reader.has(ONE.cid), reader.ordinal(ONE.cid), reader.ordinal(TWO.cid), reader.ordinal(ONE.cid), reader.ordinals]).toEqual([true, 0, 1, 0, 2])
    await given.pin(ONE.cid)
    expect((await BlockFolder.open(folder)).roots.map(String)).toEqual([ONE.cid.toString()])
    await given.unpin(ONE.cid)
    expect(await reader.get(ONE.cid)).toBeNull()
    await expect(BlockFolder.open(join(folder, 'nothing'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test.each([
    ['with another hash', block('what it says').cid, Buffer.from('what it is'), 'BLOCK_HASH_MISMATCH'],
    ['of a codec that proves no image', block('x', DAG_CBOR).cid, Buffer.from('x'), 'CID_UNSUPPORTED'],
    ['that is too large', block(Buffer.alloc(2_097_153)).cid, Buffer.alloc(2_097_153), 'BLOCK_TOO_LARGE']
  ])('%s are refused, and nothing of that upload stays', async (_what, cid, bytes, code) => {
    const upload = await given.begin()
    await upload.put(ONE.cid, ONE.bytes, 'a test')
    await expect(upload.put(cid, bytes, 'a test')).rejects.toMatchObject({ code })
    await upload.close()
    expect([stored(), incoming(), given.bytes]).toEqual([[], [], 0])
  })

  test('are stored once, and a damaged one is mended by the next upload', async () => {
    await put(ONE, ONE, TWO)
    writeFileSync(fileOf(ONE), 'eno')
    await put(ONE, TWO)
    expect([readFileSync(fileOf(ONE), 'utf8'), stored(), given.bytes]).toEqual(['one', namesOf(ONE, TWO), 2 * 4_096])
  })

  test('beyond the limit are refused whole; two uploads share it; what is old and loose makes room first', async () => {
    given = await opened(3 * 4_096)
    const [first, second] = [await given.begin(), await given.begin()]
    await first.put(ONE.cid, ONE.bytes, 'a test')
    await second.put(TWO.cid, TWO.bytes, 'a test')
    await first.put(BASE.root.cid, BASE.root.bytes, 'a test')
    await expect(second.put(FIRST.cid, FIRST.bytes, 'a test')).rejects
      .toMatchObject({ code: 'LIMIT_EXCEEDED', message: expect.stringContaining('[store] max_size') })
    await second.close()
    await first.commit()
    await first.close()
    expect([stored(), incoming(), given.bytes]).toEqual([namesOf(ONE, BASE.root), [], 2 * 4_096])

    await given.pin(ONE.cid)
    age(ONE, BASE.root)
    await put(TWO, SECOND)
    expect([stored(), given.bytes]).toEqual([namesOf(ONE, TWO, SECOND), 3 * 4_096])
  })

  test('that were on their way when the process died are gone when the next one starts', async () => {
    const upload = await given.begin()
    await upload.put(ONE.cid, ONE.bytes, 'a test')
    expect(incoming()).toHaveLength(1)
    given = await opened()
    expect([stored(), incoming(), given.bytes]).toEqual([[], [], 0])
  })

  test('come by a bounded number of uploads at once', async () => {
    const asked = await Promise.allSettled(Array.from({ length: UPLOADS_AT_ONCE + 2 }, async () => await given.begin()))
    const uploads = asked.flatMap((one) => one.status === 'fulfilled' ? [one.value] : [])
    expect(uploads).toHaveLength(UPLOADS_AT_ONCE)
    await expect(given.begin()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await uploads[0]?.close()
    await (await given.begin()).close()
  })
})

describe('a pin', () => {
  test('holds all of its DAG and nothing else, after a restart too', async () => {
    await put(FIRST, SECOND, ONE, TWO, ...baseBlocks)
    await given.pin(FIRST.cid)
    await given.pin(SECOND.cid)
    given = await opened()
    await given.unpin(FIRST.cid)
    expect((await given.pins()).map(String)).toEqual([SECOND.cid.toString()])
    expect(stored()).toEqual(namesOf(SECOND, TWO, ...baseBlocks))
    await given.unpin(SECOND.cid)
    expect([stored(), given.bytes, await given.pins()]).toEqual([[], 0, []])
  })

  test('is one for both versions of its CID, and is refused where a part is missing', async () => {
    await put(...baseBlocks.slice(0, 2))
    await expect(given.pin(BASE.root.cid)).rejects.toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining(baseBlocks[2]?.cid.toString() ?? '') })
    await put(...baseBlocks.slice(2))
    await given.pin(BASE.root.cid.toV0())
    await given.pin(BASE.root.cid)
    expect((await given.pins()).map(String)).toEqual([BASE.root.cid.toV0().toString()])
    await expect(given.unpin(ONE.cid)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    await given.unpin(BASE.root.cid)
    expect(stored()).toEqual([])
  })

  test('going takes what nobody pinned only when it is old', async () => {
    await put(ONE, TWO, FIRST, ...baseBlocks)
    await given.pin(BASE.root.cid)
    age(TWO)
    await given.unpin(BASE.root.cid)
    expect(stored()).toEqual(namesOf(ONE, FIRST))
  })

  test('going leaves what an upload needs that found it here', async () => {
    await put(ONE, ...baseBlocks)
    await given.pin(BASE.root.cid)
    const upload = await given.begin()
    for (const { cid, bytes } of baseBlocks) await upload.put(cid, bytes, 'a test')
    await given.unpin(BASE.root.cid)
    await upload.commit()
    await given.pin(BASE.root.cid)
    await upload.close()
    expect(stored()).toEqual(namesOf(ONE, ...baseBlocks))
  })

  test('that is damaged lets nothing be removed, until it goes itself', async () => {
    await put(ONE, ...baseBlocks)
    await given.pin(BASE.root.cid)
    await given.pin(ONE.cid)
    writeFileSync(fileOf(BASE.root), 'something else')
    await given.unpin(ONE.cid)
    expect(stored()).toEqual(namesOf(ONE, ...baseBlocks))
    await given.unpin(BASE.root.cid)
    age(ONE, ...baseBlocks.slice(1))
    await put(TWO)
    await given.pin(TWO.cid)
    await given.unpin(TWO.cid)
    expect(stored()).toEqual([])
  })

  test('holds exactly what its DAG reaches, whatever is pinned, put and unpinned in whatever order', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.record({ root: fc.nat(3), pinned: fc.boolean() }), { maxLength: 12 }), async (steps) => {
      rmSync(folder, { recursive: true })
      given = await opened()
      const leaves = [0, 1, 2].map((number) => block(`leaf ${number}`))
      const roots = [[0, 1], [1, 2], [0, 2], [0, 1, 2]].map((of) => ({
        of, node: directory(Object.fromEntries(of.map((number) => [`${number}`, leaves[number]?.cid ?? ONE.cid])))
      }))
      const pinned = new Set<typeof roots[number]>()
      for (const step of steps) {
        const root = roots[step.root] ?? { of: [], node: ONE }
        if (step.pinned) {
          await put(root.node, ...root.of.map((number) => leaves[number] ?? ONE))
          await given.pin(root.node.cid)
          pinned.add(root)
        } else if (pinned.delete(root)) await given.unpin(root.node.cid)
        else await expect(given.unpin(root.node.cid)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
      }
      const wanted = new Set([...pinned].flatMap(({ of, node }) => namesOf(node, ...of.map((number) => leaves[number] ?? ONE))))
      expect(stored()).toEqual([...wanted].sort())
    }), { numRuns: 25 })
  })
})
