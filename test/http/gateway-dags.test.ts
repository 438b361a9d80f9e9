import { afterAll, describe, expect, test } from '@jest/globals'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { importer } from 'ipfs-unixfs-importer'
import type { CID } from 'multiformats/cid'
import { startGateway } from '../../src/http/gateway.ts'
import { openCarStore } from '../../src/ipfs/car-store.ts'
import { ask } from '../suites/ask.ts'
import {
  type Block, block, blocksOf, blocksOfRange, DAG_CBOR, DAG_PB, directory, type FileDag, fileNode, identityCid, leaf, names, readCar, writeCar
} from '../suites/dags.ts'

const folder = mkdtempSync(join(tmpdir(), 'gateway-dags-'))
const fixtures = join(import.meta.dirname, '..', 'fixtures', 'cars')
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0

/** Serves CAR files while `use` runs. */
async function served (paths: readonly string[], use: (ask: (path: string) => Promise<Buffer>, url: string) => Promise<void>): Promise<void> {
  const store = await openCarStore(paths)
  const gateway = await startGateway({ store, listen: { host: '127.0.0.1', port: 0 } })
  try {
    await use(async (path) => {
      const answer = await ask(`${gateway.url}/ipfs/${path}`)
      if (answer.status !== 200 || !answer.whole) throw new Error(`${path}: ${answer.status} ${answer.body.toString()}`)
      return answer.body
    }, gateway.url)
  } finally {
    await gateway.close()
    await store.close()
  }
}

async function servedBlocks (blocks: readonly Block[], use: (car: (path: string) => Promise<string[]>, url: string) => Promise<void>): Promise<void> {
  const path = writeCar(join(folder, `${files++}.car`), [], blocks)
  await served([path], async (get, url) => { await use(async (query) => names((await readCar(await get(query))).blocks), url) })
}

/** Blocks below a CID, depth first, each once: by other code than the gateway's. */
function reachable (root: CID, blocks: ReadonlyMap<string, Block>, found = new Map<string, Block>()): Map<string, Block> {
  const here = blocks.get(root.toString()) ?? { cid: root, bytes: root.multihash.digest }
  if (found.has(root.toString())) return found
  found.set(root.toString(), here)
  if (root.code === DAG_PB) for (const { Hash } of dagPb.decode(here.bytes).Links) reachable(Hash, blocks, found)
  return found
}

describe.each(readdirSync(fixtures))('%s', (name) => {
  test('goes out by raw block and by CAR as it came in, repeats left out or kept', async () => {
    const { roots: [root], blocks } = await readCar(readFileSync(join(fixtures, name)))
    if (root === undefined) throw new Error(`${name} names no root`)
    const known = new Map(blocks.map((item) => [item.cid.toString(), item]))
    const below = [...reachable(root, known).values()].filter(({ cid }) => cid.multihash.code !== 0)

    await served([join(fixtures, name)], async (get) => {
      for (const { cid, bytes } of blocks) expect(Buffer.compare(await get(`${cid.toString()}?format=raw`), bytes)).toBe(0)
      const all = await readCar(await get(`${root.toString()}?format=car&dag-scope=all`))
      expect(all.roots.map(String)).toEqual([root.toString()])
      expect(names(all.blocks)).toEqual(names(below))
      expect(all.blocks.every(({ cid, bytes }) => Buffer.compare(bytes, known.get(cid.toString())?.bytes ?? Buffer.alloc(0)) === 0)).toBe(true)
      const repeats = await readCar(await get(`${root.toString()}?format=car&car-dups=y`))
      expect(new Set(names(repeats.blocks))).toEqual(new Set(names(below)))
    })
  })
})

/** A file of random shape: leaves of 0 to 40 bytes, up to 4 levels, inline bytes in any node, equal subtrees likely. */
const fileDag: fc.Arbitrary<FileDag> = fc.letrec<{ node: FileDag }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'file' },
    fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 3 })).map(([size, fill]) => leaf(Buffer.alloc(size, fill))),
    fc.tuple(fc.array(tie('node'), { maxLength: 5 }), fc.integer({ min: 0, max: 5 })).map(([children, inline]) => fileNode(children, Buffer.alloc(inline, 9)))
  )
})).node

function once (blocks: readonly string[]): string[] {
  return [...new Set(blocks)]
}

test('entity-bytes sends exactly the blocks that hold the range, for every file shape and range', async () => {
  await fc.assert(fc.asyncProperty(fileDag, fc.array(fc.tuple(fc.nat(200), fc.nat(200)), { minLength: 1, maxLength: 6 }), async (file, ranges) => {
    await servedBlocks(blocksOf(file), async (car) => {
      const path = `${file.root.cid.toString()}?format=car`
      expect(await car(path)).toEqual(once(names(blocksOf(file))))
      expect(await car(`${path}&dag-scope=entity&car-dups=y`)).toEqual(names(blocksOf(file)))
      for (const [a, b] of ranges) {
        const [from, to] = [Math.min(a, b) % (file.size + 1), Math.max(a, b) % (file.size + 1)]
        if (from >= to) continue
        const whole = from === 0 && to === file.size
        const wanted = names(whole ? blocksOf(file) : blocksOfRange(file, from, to))
        expect(await car(`${path}&entity-bytes=${from}:${to - 1}&car-dups=y`)).toEqual(wanted)
        expect(await car(`${path}&entity-bytes=${from}:${to - 1}`)).toEqual(once(wanted))
        expect(await car(`${path}&entity-bytes=${from - file.size}:${to - 1}`)).toEqual(once(wanted))
      }
    })
  }), { numRuns: 40 })
})

test('a file of 2^30 equal bytes in 31 blocks is walked once, not for ever', async () => {
  // Smaller than 2^31: ipfs-unixfs writes sizes between 2^31 and 2^32 wrongly.
  const levels = [leaf(Buffer.alloc(1))]
  for (let level = 0; level < 30; level++) levels.push(fileNode([levels[level] as FileDag, levels[level] as FileDag]))
  const file = levels.at(-1) as FileDag

  await servedBlocks(levels.map(({ root }) => root), async (car) => {
    const each = names(levels.map(({ root }) => root).reverse())
    expect(await car(`${file.root.cid.toString()}?format=car`)).toEqual(each)
    expect(await car(`${file.root.cid.toString()}?format=car&entity-bytes=0:*`)).toEqual(each)
    expect(await car(`${file.root.cid.toString()}?format=car&entity-bytes=1:-2`)).toEqual(each)
  })
})

describe('HAMT directories', () => {
  const content = new Map<string, Block>()
  const blockstore = {
    put: async (cid: CID, bytes: Uint8Array) => { content.set(cid.toString(), { cid, bytes }); return cid },
    get: async (cid: CID) => content.get(cid.toString())?.bytes ?? new Uint8Array(0),
    has: async (cid: CID) => content.has(cid.toString())
  }
  const entries = Array.from({ length: 2000 }, (_, number) => `entry-${number}.тест`)

  async function shardedDirectory (shardFanoutBits: number): Promise<{ root: CID, children: Map<string, CID> }> {
    const children = new Map<string, CID>()
    let root: CID | undefined
    const source = entries.map((name) => ({ path: `top/${name}`, content: Buffer.from(name) }))
    const options = { shardSplitThresholdBytes: 0, shardFanoutBits, cidVersion: 1 as const, rawLeaves: true }
    for await (const { path, cid } of importer(source, blockstore, options)) {
      if (path === 'top') root = cid
      else if (path !== undefined) children.set(path.slice('top/'.length), cid)
    }
    if (root === undefined) throw new Error('no root')
    return { root, children }
  }

  test.each([8, 4, 3])('with slots of %i bits: each name is found by the shards on its way and no others', async (bits) => {
    const { root, children } = await shardedDirectory(bits)
    await servedBlocks([...content.values()], async (car, url) => {
      let deepest = 0
      for (const name of entries.filter((_, number) => number % 20 === 0)) {
        const way = await car(`${root.toString()}/${encodeURIComponent(name)}?format=car`)
        deepest = Math.max(deepest, way.length)
        expect([way[0], way.at(-1)]).toEqual([root.toString(), children.get(name)?.toString()])
        for (const [step, cid] of way.slice(1).entries()) {
          const parent = content.get(way[step] ?? '')
          expect(dagPb.decode(parent?.bytes ?? new Uint8Array(0)).Links.map(({ Hash }) => Hash.toString())).toContain(cid)
        }
      }
      expect(deepest).toBeGreaterThan(2) // some names need a second shard, or this test proves little
      for (const name of ['nope', '00', 'F3', '', 'entry-1']) {
        const answer = await ask(`${url}/ipfs/${root.toString()}/${name === '' ? '%20' : name}?format=car`)
        expect(answer.status).toBe(404)
      }
    })
  })

  test('entity scope sends all shards and no entry, all scope sends both', async () => {
    const { root, children } = await shardedDirectory(8)
    const known = reachable(root, content)
    const shards = [...known.values()].filter(({ cid }) => cid.code === DAG_PB)
    await servedBlocks([...content.values()], async (car) => {
      expect(await car(`${root.toString()}?format=car&dag-scope=entity`)).toEqual(names(shards))
      expect(await car(`${root.toString()}?format=car`)).toEqual(names([...known.values()]))
      expect(shards.length + children.size).toBe(known.size)
    })
  })
})

describe('other graphs', () => {
  test('DAG-CBOR documents are entered by path and followed through their links', async () => {
    const text = block('text')
    const inner = directory({ text: text.cid })
    const document = block(dagCbor.encode({ a: { list: [inner.cid, { text: text.cid }] }, b: 5 }), DAG_CBOR)
    const top = directory({ document: document.cid })
    await servedBlocks([text, inner, document, top], async (car, url) => {
      const id = top.cid.toString()
      expect(await car(`${id}?format=car`)).toEqual(names([top, document, inner, text]))
      expect(await car(`${id}/document?format=car&dag-scope=entity`)).toEqual(names([top, document]))
      expect(await car(`${id}/document/a/list/0/text?format=car`)).toEqual(names([top, document, inner, text]))
      expect(await car(`${id}/document/a/list/1?format=car`)).toEqual(names([top, document, text])) // what the path names, not its neighbours
      expect(await car(`${id}/document/b?format=car`)).toEqual(names([top, document]))
      for (const path of ['c', 'b/x', 'a/list/2', 'a/list/-1']) expect((await ask(`${url}/ipfs/${id}/document/${path}?format=car`)).status).toBe(404)
    })
  })

  test('an identity node is walked through but not sent', async () => {
    const text = block('text')
    const node = identityCid(fileNode([leaf(Buffer.from('text'))]).root.bytes, DAG_PB)
    const top = directory({ inline: node })
    await servedBlocks([text, top], async (car) => {
      expect(await car(`${top.cid.toString()}?format=car&car-dups=y`)).toEqual(names([top, text]))
      expect(await car(`${top.cid.toString()}/inline?format=car&entity-bytes=0:0`)).toEqual(names([top, text]))
    })
  })

  test('dag-pb that is no UnixFS is followed by its names and links', async () => {
    const text = block('text')
    const plain = block(dagPb.encode({ Links: [{ Name: 'text', Hash: text.cid, Tsize: 4 }] }), DAG_PB)
    const lying = block(dagPb.encode({ Data: Buffer.from('08021864', 'hex'), Links: [{ Name: '', Hash: text.cid, Tsize: 4 }] }), DAG_PB) // 100 bytes, no sizes
    await servedBlocks([text, plain, lying], async (car) => {
      expect(await car(`${plain.cid.toString()}?format=car`)).toEqual(names([plain, text]))
      expect(await car(`${plain.cid.toString()}/text?format=car`)).toEqual(names([plain, text]))
      expect(await car(`${plain.cid.toString()}?format=car&dag-scope=entity`)).toEqual(names([plain]))
      expect(await car(`${lying.cid.toString()}?format=car&entity-bytes=0:10`)).toEqual(names([lying]))
      expect(await car(`${lying.cid.toString()}?format=car`)).toEqual(names([lying, text]))
    })
  })

  test('the same bytes linked as a leaf and as a node are two blocks', async () => {
    const text = block('text')
    const node = directory({ text: text.cid })
    const asLeaf = block(node.bytes)
    const top = directory({ a: asLeaf.cid, b: node.cid })
    await servedBlocks([text, node, top], async (car) => {
      expect(await car(`${top.cid.toString()}?format=car`)).toEqual(names([top, asLeaf, node, text]))
    })
  })
})
