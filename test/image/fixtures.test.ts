// Every CAR that foreign tools made resolves to the facts of the OCI layout it was made from. The facts are computed here from
// the OCI archive, by other code: tar-stream, JSON.parse and node:crypto.
import { describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gunzipSync } from 'node:zlib'
import type { CID } from 'multiformats/cid'
import { extract } from 'tar-stream'
import type { PlannedLayer } from '../../src/image/plan.ts'
import { resolveImage } from '../../src/image/resolver.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'

const FIXTURES = join(import.meta.dirname, '..', 'fixtures')

interface Manifest {
  readonly config: { digest: string }
  readonly layers: ReadonlyArray<{ mediaType: string, size: number, digest: string, annotations?: object }>
}

interface Facts {
  readonly manifest: string
  readonly config: string
  readonly layers: ReadonlyArray<{ digest: string, diffId: string, chainId: string, size: number, mediaType: string, annotations: object }>
  readonly blobs: ReadonlyMap<string, Buffer>
}

const CARS: ReadonlyArray<[car: string, root: string, archive: string]> = [
  ['layout-estargz-unixfs-v1-2025', 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude', 'estargz-64k.oci.tar'],
  ['layout-gzip-unixfs-v0-2015', 'QmNWUN9Hk8gMEeRUaBuznW1xv1SXGeSKqZSdesSpmiKm9L', 'umoci-gzip.oci.tar'],
  ['layout-estargz-trickle-4k', 'bafybeic4uczlpkmdcjvqryue44amdy2wdsxq2ir5syohbiin2774dbnz2a', 'estargz-64k.oci.tar'],
  ['layout-gzip-rabin', 'bafybeibtyz43uspevs3yi2y2xbxqtlrrsecwjheoifmop3fdgobw75slku', 'umoci-gzip.oci.tar'],
  ['layout-estargz-hamt', 'bafybeiade6etkd7kanrj6lmfkel5xbwiy75376wgb6pn75jlnhcqn2et44', 'estargz-64k.oci.tar'],
  ['layout-gzip-inline', 'bafybeiauut6llh7tafut5ouixk46zw6pulob35jix2lwy6rytvxxaj7fli', 'umoci-gzip.oci.tar']
]
const NERDCTL: [string, string] = ['nerdctl-estargz', 'bafkreih27ajrojltfvxnbaf7dizcbiwumkmm7kmdavc3izdgd57cij5n7q']

const sha256 = (bytes: Buffer | string): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

function factsOfLayer ({ digest, diffId, chainId, size, mediaType, annotations }: PlannedLayer): Facts['layers'][number] {
  return { digest, diffId, chainId, size, mediaType, annotations: { ...annotations } }
}

async function filesOf (archive: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const bytes = await readFile(join(FIXTURES, 'images', archive))
  for await (const entry of Readable.from([archive.endsWith('.gz') ? gunzipSync(bytes) : bytes]).pipe(extract())) {
    const parts: Buffer[] = []
    for await (const part of entry as AsyncIterable<Buffer>) parts.push(part)
    files.set(entry.header.name.replace(/^\.\//, ''), Buffer.concat(parts))
  }
  return files
}

async function factsOf (archive: string): Promise<Facts> {
  const files = await filesOf(archive)
  const json = (name: string): Record<string, unknown> => JSON.parse((files.get(name) ?? Buffer.of()).toString()) as Record<string, unknown>
  const blobName = (digest: string): string => `blobs/sha256/${digest.slice(7)}`
  const [{ digest: manifest }] = json('index.json')['manifests'] as [{ digest: string }]
  const document = json(blobName(manifest)) as unknown as Manifest
  const { diff_ids: diffIds } = json(blobName(document.config.digest))['rootfs'] as { diff_ids: string[] }
  let chainId = ''
  const layers = document.layers.map(({ mediaType, size, digest, annotations = {} }, at) => {
    const diffId = diffIds[at] ?? ''
    chainId = at === 0 ? diffId : sha256(`${chainId} ${diffId}`)
    return { mediaType, size, digest, annotations, diffId, chainId }
  })
  const blobs = new Map([...files].filter(([name]) => name.startsWith('blobs/sha256/') && name.length > 20)
    .map(([, bytes]) => [sha256(bytes), bytes]))
  return { manifest, config: document.config.digest, layers, blobs }
}

describe.each(CARS)('%s', (car, root, archive) => {
  test('resolves to the facts of its layout', async () => {
    const blocks = await MemoryBlocks.fromCar(join(FIXTURES, 'cars', `${car}.car`))
    const facts = await factsOf(archive)
    const plan = await resolveImage(parseReference(`ipfs://${root}@${facts.manifest}`), { blocks, platform: 'linux/amd64' })

    expect(plan.manifest.digest).toBe(facts.manifest)
    expect(sha256(Buffer.from(plan.manifest.bytes))).toBe(facts.manifest)
    expect(plan.config.digest).toBe(facts.config)
    expect(sha256(Buffer.from(plan.config.bytes))).toBe(facts.config)
    expect(plan.layers.map(factsOfLayer)).toEqual(facts.layers)
    expect(plan.platform).toBe('linux/amd64')
    expect(plan.canonical).toBe(`ipfs://${plan.rootCid.toV1().toString()}@${facts.manifest}`)
    for (const { cid, digest, size } of plan.layers) {
      const file = await blocks.openFile(cid)
      expect(file.size).toBe(size)
      expect(Buffer.compare(await file.read(0, size), facts.blobs.get(digest) ?? Buffer.of())).toBe(0)
    }
  })
})

test('nerdctl\'s descriptor resolves to the layers of the image it pushed', async () => {
  const [car, root] = NERDCTL
  const blocks = await MemoryBlocks.fromCar(join(FIXTURES, 'cars', `${car}.car`))
  const facts = await factsOf('estargz-64k.oci.tar')
  const plan = await resolveImage(parseReference(root), { blocks, platform: 'linux/amd64' })

  // Its manifest is another one: each descriptor got `urls`.
  expect(plan.manifest.digest).toBe('sha256:47f76817274ba6f917e16ffb4472ecc3610465a68627c51bf3976e160ce4693a')
  expect(plan.index).toBeNull()
  expect(plan.config.digest).toBe(facts.config)
  expect(plan.layers.map(factsOfLayer)).toEqual(facts.layers)
  for (const { cid, digest, size } of plan.layers) {
    expect(Buffer.compare(await (await blocks.openFile(cid)).read(0, size), facts.blobs.get(digest) ?? Buffer.of())).toBe(0)
  }
})

test('an archive that was added as one file is refused with the way to publish it', async () => {
  const blocks = await MemoryBlocks.fromCar(join(FIXTURES, 'cars', 'file-oci-archive.car'))
  const root = 'bafkreicyglwjcxqtmftxhoic5b5jxjlcncx3zvzvvp7oektvdtm5cbf3d4'

  await expect(resolveImage(parseReference(root), { blocks })).rejects.toMatchObject({
    line: `NOT_OCI: ipfs://${root} is an OCI archive, one file of 530432 bytes; ` +
      'publish it with `ipfs-snapshotter publish FILE` and use the CID that it prints'
  })
})

// SOCI's archives list an artifact beside the image: by artifactType (v2, in a nested index) or with a subject (v1).
describe.each([
  'umoci-gzip.oci.tar', 'zstd.oci.tar', 'estargz.oci.tar', 'estargz-64k.oci.tar', 'estargz-inner.oci.tar', 'zstdchunked.oci.tar',
  'zstdchunked-skopeo.oci.tar', 'soci-v1.oci.tar.gz', 'soci-v2.oci.tar.gz'
])('%s as a layout directory', (archive) => {
  test('resolves to the one image in it', async () => {
    const files = await filesOf(archive)
    const blocks = new MemoryBlocks()
    const put = (prefix: string): Record<string, CID> => Object.fromEntries([...files]
      .filter(([name, bytes]) => name.startsWith(prefix) && !name.slice(prefix.length).includes('/') && bytes.byteLength > 0)
      .map(([name, bytes]) => [name.slice(prefix.length), blocks.putFile(bytes)]))
    const root = blocks.putDirectory({ ...put(''), blobs: blocks.putDirectory({ sha256: blocks.putDirectory(put('blobs/sha256/')) }) })
    const plan = await resolveImage(parseReference(root.toString()), { blocks, platform: 'linux/amd64' })
    const manifest = JSON.parse(files.get(`blobs/sha256/${plan.manifest.digest.slice(7)}`)?.toString() ?? '') as Manifest

    expect(manifest.config.digest).toBe(plan.config.digest)
    expect(plan.config.mediaType).toBe('application/vnd.oci.image.config.v1+json')
    expect(plan.layers.map(({ digest }) => digest)).toEqual(manifest.layers.map(({ digest }) => digest))
    expect(plan.layers).toHaveLength(2)
    expect(plan.index?.digest).toBe(sha256(plan.index === null ? '' : Buffer.from(plan.index.bytes)))
  })
})
