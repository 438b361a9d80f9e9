// Shorthand for tests: a tar in, its index, its contents and the flat list out.
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import { indexPlainLayer } from '../../src/layer/plain-layer.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { MemorySink, pieces } from './fixtures.ts'
import { contentsOfDevice, type Flat, flatten } from './flatten.ts'

export interface IndexedTar {
  readonly index: LayerIndex
  readonly flat: Flat
  readonly sink: MemorySink
  readonly content: (path: string) => string
}

export async function indexTar (tar: Uint8Array, pieceBytes = 10_000): Promise<IndexedTar> {
  const sink = new MemorySink()
  const digest = digestOf(tar)
  const index = await indexPlainLayer({
    stream: pieces(tar, pieceBytes), digest, diffId: digest, size: tar.byteLength, mediaType: 'application/vnd.oci.image.layer.v1.tar', sink
  })
  const contents = contentsOfDevice(index, sink.data)
  return { index, flat: flatten(index, contents), sink, content: (path) => Buffer.from(contents(inodeAt(index, path))).toString('latin1') }
}

export function inodeAt (index: LayerIndex, path: string): number {
  let position = 0
  for (const name of path.split('/').filter((part) => part !== '')) {
    const found = index.inodes[position]?.entries?.find((entry) => Buffer.from(entry.name).toString('utf8') === name)
    if (found === undefined) throw new Error(`no ${path}`)
    position = found.inode
  }
  return position
}
