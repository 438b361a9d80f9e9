// Images that lie: a good image's blocks in memory, with one thing changed and everything above it made anew, so that all
// blocks match their CIDs and only the image's own digests can tell.
import { gzipSync } from 'node:zlib'
import type { CID } from 'multiformats/cid'
import type { FakeBlocks } from '../fakes/gateway-dag.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { smallTar } from '../fakes/small-tar.ts'
import { blob, blobsOf, entryOf, type ImageRecipe, type Json, makeImage, makeIndex, putLayout, sha256, type TestImage } from '../fakes/test-image.ts'

/** What the fake gateway serves from. */
export function servedFrom (memory: MemoryBlocks): FakeBlocks {
  return { get: (cid) => memory.blocks.get(Buffer.from(cid.multihash.bytes).toString('hex'))?.bytes }
}

/** A plain image that can be pulled; `text` makes every digest another. */
export async function goodImage (text: string, recipe: ImageRecipe = {}): Promise<TestImage> {
  const tar = await smallTar({ 'etc/': '', 'etc/text': text })
  return makeImage({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    layers: [gzipSync(tar)],
    ...recipe,
    config: { rootfs: { type: 'layers', diff_ids: [sha256(tar)] }, ...recipe.config }
  })
}

/** A layout of the image in which the layer's name stands on other bytes. */
export function putWithLayer (memory: MemoryBlocks, image: TestImage, layer: Uint8Array): CID {
  const digest = image.layers[0]?.digest
  const blobs = blobsOf(image).map((blob) => blob.digest === digest ? { ...blob, bytes: layer } : blob)
  return putLayout(memory, { blobs, index: makeIndex([entryOf(image)]) })
}

/** The published layout with the bytes of one blob changed and its digest kept: a new root. */
export async function withAlteredBlob (memory: MemoryBlocks, root: CID, digest: string, change: (bytes: Buffer) => Buffer): Promise<CID> {
  const hex = digest.slice('sha256:'.length)
  const names = ['blobs', 'sha256']
  const directories = [root]
  for (const name of names) directories.push(await child(memory, directories.at(-1) as CID, name))
  const blob = await memory.openFile(await child(memory, directories.at(-1) as CID, hex))
  let altered = memory.putFile(change(Buffer.from(await blob.read(0, blob.size))))
  for (const [at, name] of [...[...names, hex].entries()].reverse()) {
    const entries = Object.fromEntries((await memory.listDirectory(directories[at] as CID) ?? []).map((entry) => [entry.name, entry.cid]))
    altered = memory.putDirectory({ ...entries, [name]: altered })
  }
  return altered
}

async function child (memory: MemoryBlocks, directory: CID, name: string): Promise<CID> {
  const found = await memory.resolvePath(directory, [name])
  if (found === null) throw new Error(`no ${name} in ${directory.toString()}`)
  return found
}

/** The published image with the diffIDs, and so the chain IDs, of another one of as many layers: a new root. */
export async function claiming (memory: MemoryBlocks, liar: CID, liarManifest: string, victim: CID, victimManifest: string): Promise<CID> {
  const read = async (root: CID, digest: string): Promise<Json> => {
    const cid = await memory.resolvePath(root, ['blobs', 'sha256', digest.slice(7)])
    if (cid === null) throw new Error(`no ${digest} in ${root.toString()}`)
    return JSON.parse(Buffer.from(await memory.readAll(cid, 1 << 20)).toString()) as Json
  }
  const manifest = await read(liar, liarManifest) as { config: { digest: string, mediaType: string }, mediaType: string, layers: Array<{ digest: string }> } & Json
  const theirs = await read(victim, victimManifest) as { config: { digest: string } }
  const { rootfs } = await read(victim, theirs.config.digest)
  const config = blob(manifest.config.mediaType, { ...await read(liar, manifest.config.digest), rootfs })
  const claimed = blob(manifest.mediaType, { ...manifest, config: { mediaType: config.mediaType, digest: config.digest, size: config.bytes.byteLength } })
  const layers = await Promise.all(manifest.layers.map(async ({ digest }) => [digest.slice(7), await memory.resolvePath(liar, ['blobs', 'sha256', digest.slice(7)]) as CID] as const))
  const files = Object.fromEntries([...layers, ...[config, claimed].map(({ digest, bytes }) => [digest.slice(7), memory.putFile(bytes)] as const)])
  const platform = { os: 'linux', architecture: (await read(victim, theirs.config.digest))['architecture'] }
  const index = makeIndex([{ mediaType: claimed.mediaType, digest: claimed.digest, size: claimed.bytes.byteLength, platform }])
  return memory.putDirectory({
    blobs: memory.putDirectory({ sha256: memory.putDirectory(files) }),
    'index.json': memory.putFile(index.bytes),
    'oci-layout': memory.putFile('{"imageLayoutVersion":"1.0.0"}')
  })
}
