// Every image that other importers put into a CAR reads back as the image it was made from, whatever the gateway knows.
import { describe, expect, test } from '@jest/globals'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import { parseCid } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { CarBlocks, type Knobs } from '../fakes/gateway.ts'
import { tarFiles } from '../fakes/tar-files.ts'
import { gatewayOf, service, serviceOver } from './block-services.ts'

const fixtures = join(import.meta.dirname, '../fixtures')
const car = (name: string): string => join(fixtures, 'cars', `${name}.car`)
const image = (name: string): string => join(fixtures, 'images', `${name}.oci.tar`)

const LAYOUTS: ReadonlyArray<readonly [car: string, image: string]> = [
  ['layout-estargz-unixfs-v1-2025', 'estargz-64k'],
  ['layout-gzip-unixfs-v0-2015', 'umoci-gzip'],
  ['layout-estargz-trickle-4k', 'estargz-64k'],
  ['layout-gzip-rabin', 'umoci-gzip'],
  ['layout-estargz-hamt', 'estargz-64k'],
  ['layout-gzip-inline', 'umoci-gzip']
]

/** All files below a directory, with their bytes read in one piece. */
async function readTree (blocks: BlockService, root: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const visit = async (cid: ReturnType<typeof parseCid>, path: string): Promise<void> => {
    const entries = await blocks.listDirectory(cid)
    if (entries === null) {
      const file = await blocks.openFile(cid)
      files.set(path, Buffer.from(await file.read(0, file.size)))
      return
    }
    for (const entry of entries) await visit(entry.cid, path === '' ? entry.name : `${path}/${entry.name}`)
  }
  await visit(parseCid(root), '')
  return files
}

async function expectImage (blocks: BlockService, root: string, imageName: string): Promise<void> {
  const expected = await tarFiles(image(imageName))
  const got = await readTree(blocks, root)
  expect([...got.keys()].sort()).toEqual([...expected.keys()].sort())
  for (const [path, bytes] of expected) expect([path, got.get(path)?.equals(bytes)]).toEqual([path, true])
}

describe.each(LAYOUTS)('%s', (carName, imageName) => {
  test.each<[string, Partial<Knobs>]>([
    ['a gateway with both formats', {}],
    ['a raw-only gateway that says 406', { formats: 'raw' }],
    ['a raw-only gateway that says 400', { formats: 'raw', refusal: 400 }],
    ['a raw-only gateway that answers with web pages', { formats: 'raw', refusal: 200 }],
    ['a CAR-only gateway', { formats: 'car' }],
    ['a gateway that ignores entity-bytes', { ignoresRanges: true }],
    ['a gateway that sends blocks in another order', { reversed: true }]
  ])('reads like its image through %s', async (_name, knobs) => {
    const blocks = await CarBlocks.load(car(carName))
    const gateway = await gatewayOf(blocks, knobs)
    await expectImage(serviceOver([gateway]), blocks.root.toString(), imageName)
  })

  test('reads like its image from the CAR file itself', async () => {
    const { root } = await CarBlocks.load(car(carName))
    await expectImage(service({ sources: [{ type: 'car', path: car(carName) }], log: silentLog }), root.toString(), imageName)
  })

  test('resolves every blob by its path', async () => {
    const blocks = await CarBlocks.load(car(carName))
    const gateway = await gatewayOf(blocks)
    const over = serviceOver([gateway])
    for (const [path, bytes] of await tarFiles(image(imageName))) {
      const cid = await over.resolvePath(blocks.root, path.split('/'))
      expect(cid).not.toBeNull()
      if (cid !== null) expect(digestOf(await over.readAll(cid, 1 << 20))).toBe(digestOf(bytes))
    }
    expect(await over.resolvePath(blocks.root, ['blobs', 'sha256', 'nothing'])).toBeNull()
    expect(await over.resolvePath(blocks.root, ['index.json', 'below'])).toBeNull()
  })
})

test('an OCI archive added as one file reads as that file', async () => {
  const blocks = await CarBlocks.load(car('file-oci-archive'))
  const over = serviceOver([await gatewayOf(blocks)])
  const files = await tarFiles(image('estargz-64k'))
  const archive = await over.readAll(blocks.root, 1 << 20)
  expect(await over.listDirectory(blocks.root)).toBeNull()
  for (const bytes of files.values()) expect(Buffer.from(archive).includes(bytes)).toBe(true)
})

test('every blob that a nerdctl descriptor reaches through urls has its digest', async () => {
  interface Node { digest?: string, urls?: string[], manifests?: Node[], config?: Node, layers?: Node[] }
  const blocks = await CarBlocks.load(car('nerdctl-estargz'))
  const over = serviceOver([await gatewayOf(blocks)])
  let checked = 0
  const visit = async (node: Node): Promise<void> => {
    const url = node.urls?.find((text) => text.startsWith('ipfs://'))
    if (url === undefined || node.digest === undefined) throw new Error('descriptor without ipfs url')
    const bytes = await over.readAll(parseCid(url.slice('ipfs://'.length)), 1 << 20)
    expect(digestOf(bytes)).toBe(node.digest)
    checked++
    if (bytes[0] !== 0x7b) return
    const { manifests, config, layers } = JSON.parse(Buffer.from(bytes).toString()) as Node
    for (const child of manifests ?? []) await visit(child)
    if (config !== undefined && layers !== undefined) for (const child of [config, ...layers]) await visit(child)
  }
  await visit(JSON.parse(Buffer.from(await over.readAll(blocks.root, 1 << 20)).toString()) as Node)
  expect(checked).toBeGreaterThanOrEqual(4)
})
