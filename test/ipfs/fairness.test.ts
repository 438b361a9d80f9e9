// Several images at once through one slow gateway: whoever reads one of them from end to end does not hold up the small reads of
// another. What is counted is requests that reach the gateway, never time.
import { expect, test } from '@jest/globals'
import { createServer } from 'node:http'
import { SOURCE_CONCURRENCY } from '../../src/base/limits.ts'
import type { UnixfsFile } from '../../src/ipfs/blocks.ts'
import { startFakeGateway } from '../fakes/gateway.ts'
import { blocksOf, type FileDag, fileNode, leaf } from '../suites/dags.ts'
import { onClose, serviceOver } from './block-services.ts'

const LEAF = 96 * 1024
const APART = 4 // leaves: too far from each other to come in one request
const MANY = 3 * SOURCE_CONCURRENCY

function fileOf (name: string, reads: number): FileDag {
  return fileNode(Array.from({ length: reads * APART }, (_, at) => leaf(Buffer.alloc(LEAF, `${name} ${at} `))))
}

/** A gateway that answers one request at a time, when it is told to. */
async function slowGateway (files: readonly FileDag[]) {
  const blocks = new Map(files.flatMap(blocksOf).map(({ cid, bytes }) => [cid.toString(), bytes]))
  const waiting: Array<() => void> = []
  /** Of requests, in the order of arrival. */
  const arrived: string[] = []
  let open = true
  const gateway = await startFakeGateway({ get: (cid) => blocks.get(cid.toString()) }, {}, (listener) => createServer((request, response) => {
    arrived.push(request.url ?? '')
    const go = (): void => { listener(request, response) }
    if (open) go()
    else waiting.push(go)
  }))
  onClose(async () => { await gateway.close() })
  return {
    gateway,
    arrived,
    waiting,
    close: () => { open = false },
    open: () => { open = true; for (const go of waiting.splice(0)) go() }
  }
}

async function settled (condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2_000 && !condition(); turn++) await new Promise((resolve) => setTimeout(resolve, 2))
  if (!condition()) throw new Error('it never happened')
}

async function drain (file: UnixfsFile, at: number): Promise<number> {
  let bytes = 0
  for await (const piece of file.stream(at * APART * LEAF, LEAF, {})) bytes += piece.byteLength
  return bytes
}

test.each([1, 2])('small reads of one image pass the queue of %i others that are read whole', async (others) => {
  const heavy = Array.from({ length: others }, (_, at) => fileOf(`heavy ${at}`, MANY))
  const small = fileOf('small', 4)
  const { gateway, arrived, waiting, close, open } = await slowGateway([...heavy, small])
  const service = serviceOver([gateway], { timeoutMs: 30_000 })
  const [other, ...files] = await Promise.all([small, ...heavy].map(async ({ root }) => await service.openFile(root.cid)))
  if (other === undefined) throw new Error('no file')
  close()
  const root = small.root.cid.toString()
  const isSmall = (url: string): boolean => url.includes(root) || blocksOf(small).some(({ cid }) => url.includes(cid.toString()))
  const all = files.flatMap((file) => Array.from({ length: MANY }, async (_, at) => await drain(file, at)))
  await settled(() => waiting.length === SOURCE_CONCURRENCY)

  const overtaken: number[] = []
  for (let at = 0; at < 3; at++) {
    const before = arrived.length
    const read = drain(other, at)
    await new Promise((resolve) => setTimeout(resolve, 20)) // it stands in the queue now
    for (let answered = 0; !arrived.slice(before).some(isSmall); answered++) {
      const [count, go] = [arrived.length, waiting.shift()]
      if (go === undefined) throw new Error('nothing is left to answer')
      go()
      await settled(() => arrived.length > count)
    }
    overtaken.push(arrived.slice(before).findIndex(isSmall))
    while (!(await Promise.race([read.then(() => true), new Promise<boolean>((resolve) => setTimeout(resolve, 5, false))]))) waiting.shift()?.()
    expect(await read).toBe(LEAF)
  }
  expect(Math.max(...overtaken)).toBeLessThanOrEqual(2 * others)

  open()
  expect(await Promise.all(all)).toEqual(all.map(() => LEAF))
})
