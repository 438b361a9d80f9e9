import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { layerKey, type LayerRecord, LayerStore } from '../../src/cache/layer-store.ts'
import { Seal } from '../../src/cache/seal.ts'
import { parseCid, rawCidOf } from '../../src/verify/cid.ts'
import { digestBytes, digestOf } from '../../src/verify/digest.ts'

let folder: string
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'layer-store-')) })
afterAll(async () => { await rm(folder, { recursive: true }) })

const BARE = { uid: 0, gid: 0, mtimeSeconds: -2, mtimeNanoseconds: 500_000_000, rdevMajor: 0, rdevMinor: 0, target: null, xattrs: [], implied: false }

function record (content: string): LayerRecord {
  const bytes = Buffer.from(content)
  return {
    digest: digestOf(Buffer.from(`blob of ${content}`)),
    diffId: digestOf(Buffer.from(`tar of ${content}`)),
    tocDigest: null,
    cid: parseCid('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'),
    size: 11,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
    index: {
      format: 'tar',
      prefetchBytes: 0,
      inodes: [
        { ...BARE, kind: 'directory', mode: 0o755, size: 0, linkCount: 2, entries: [{ name: Buffer.from('f'), inode: 1 }], firstChunk: 0, chunkCount: 0 },
        { ...BARE, kind: 'file', mode: 0o644, size: bytes.length, linkCount: 1, entries: null, firstChunk: 0, chunkCount: 1 }
      ],
      chunks: [{ fileOffset: 0, size: bytes.length, digest: digestBytes(digestOf(bytes)), offset: 512, length: bytes.length, innerOffset: 0 }]
    }
  }
}

async function openStore (name: string): Promise<LayerStore> {
  const root = join(folder, name)
  await mkdir(root, { recursive: true })
  const store = new LayerStore({ root, seal: await Seal.at(join(root, 'key')), log: silentLog })
  await store.open()
  return store
}

test('a record comes back as it was saved, also to the next process', async () => {
  const key = await (await openStore('kept')).save(record('one'))
  const loaded = await (await openStore('kept')).load(key)

  expect(key).toBe(layerKey(record('one')))
  expect(loaded).toMatchObject({ digest: record('one').digest, size: 11, mediaType: record('one').mediaType })
  expect(loaded?.index.inodes.map(({ kind, size, mtimeSeconds }) => [kind, size, mtimeSeconds])).toEqual([['directory', 0, -2], ['file', 3, -2]])
  expect(await (await openStore('kept')).load('0'.repeat(64))).toBeNull()
})

test('another TOC, diffID, blob or DAG makes another key', () => {
  const base = record('one')
  const cid = rawCidOf(base.diffId)

  expect(new Set([
    layerKey(base), layerKey({ ...base, tocDigest: base.diffId }), layerKey({ ...base, diffId: base.digest }), layerKey({ ...base, digest: base.diffId }),
    layerKey({ ...base, cid })
  ]).size).toBe(5)
})

test.each<[string, (path: string, other: string) => Promise<void>]>([
  ['a flipped bit', async (path) => {
    const bytes = await readFile(path)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    await writeFile(path, bytes)
  }],
  ['a cut file', async (path) => { await truncate(path, 40) }],
  ['an empty file', async (path) => { await truncate(path, 0) }],
  ['the record of another layer, sealed by us', async (path, other) => { await cp(other, path) }],
  ['a folder in its place', async (path) => { await rm(path); await mkdir(path) }],
  ['a file of any size', async (path) => { await truncate(path, 600 * 1024 * 1024) }]
])('%s is not believed: the layer is opened anew', async (name, damage) => {
  const store = await openStore(name)
  const key = await store.save(record('one'))
  const other = await store.save(record('other'))
  await damage(join(store.folderOf(key), 'record'), join(store.folderOf(other), 'record'))

  expect(await store.load(key)).toBeNull()
  await expect(stat(store.folderOf(key))).rejects.toMatchObject({ code: 'ENOENT' })
  expect(await store.load(other)).not.toBeNull()
})

test('what an earlier run was killed over is gone at the next start, and whole layers stay', async () => {
  const store = await openStore('killed')
  const key = await store.save(record('one'))
  const other = '7'.repeat(64)
  await mkdir(store.folderOf(`${other}.new-0123456789ab`)) // the pass over a plain layer
  await mkdir(store.folderOf(other)) // after it, before the record was written
  await writeFile(join(store.folderOf(other), 'data'), 'bytes')
  await writeFile(join(store.folderOf(key), 'record.new-0123456789ab'), 'half a record')
  const again = await openStore('killed')

  expect(await readdir(join(folder, 'killed', 'layers'))).toEqual([key])
  expect(await readdir(again.folderOf(key))).toEqual(['record'])
  expect(await again.load(key)).not.toBeNull()
})
