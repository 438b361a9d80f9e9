// The proof that a layer is what its manifest says, in one pass over the whole blob: layer digest, diffID, and for an
// eStargz layer that its TOC says exactly the tree and the bytes of the tar. Until this ran, one attested digest could
// mean two file trees. Publish runs it before it prints a CID, `verify` always, the daemon in the background.
import { SnapshotterError } from '../base/errors.ts'
import { type Digest, DigestStream } from '../verify/digest.ts'
import { firstDifference } from './compare-trees.ts'
import { freeze, type Frozen } from './freeze.ts'
import type { LayerEntry } from './layer-entry.ts'
import type { LayerIndex } from './layer-index.ts'
import { type LayerBlob, LayerStream } from './layer-stream.ts'
import { LayerTree } from './layer-tree.ts'
import { ChunkProver } from './prove-chunks.ts'
import { readTar } from './tar-reader.ts'
import { ESTARGZ_OWN_NAMES, TOC_NAME } from './toc-index.ts'
import type { TreeNode } from './tree-node.ts'

export interface LayerToProve extends LayerBlob {
  /** What `openEstargz` answered for this layer and the digest it was asked for; absent for a plain layer. */
  readonly toc?: { readonly index: LayerIndex, readonly digest: Digest } | undefined
}

export interface LayerProof {
  readonly blobBytes: number
  readonly tarBytes: number
  /** Chunks that were held against their digests. */
  readonly chunks: number
}

/** @throws DIGEST_MISMATCH, DIFFID_MISMATCH, TOC_INVALID naming the first differing path, LAYER_INVALID, LIMIT_EXCEEDED */
export async function proveLayer (layer: LayerToProve): Promise<LayerProof> {
  const source = new LayerStream(layer)
  await source.whole(async () => {
    if (layer.toc === undefined) await walkTar(source)
    else await proveToc(source, layer.toc.index, layer.toc.digest)
  })
  return { blobBytes: source.blobBytes, tarBytes: source.tarBytes, chunks: layer.toc?.index.chunks.length ?? 0 }
}

/** A plain layer is right when its tar is one that a pull can read, whole. */
async function walkTar (source: LayerStream): Promise<void> {
  const tree = new LayerTree({ origin: { what: source.what, code: 'LAYER_INVALID' } })
  for await (const event of readTar(source.tar(), source.what)) if (event.kind === 'entry') tree.apply(event.entry)
  freeze(tree.root, 'tar', 0, source.what)
}

async function proveToc (source: LayerStream, index: LayerIndex, digest: Digest): Promise<void> {
  const what = `TOC ${digest}`
  const prover = new ChunkProver(index.chunks, what)
  const tar = await readWholeTar(source, prover)
  prover.finish()
  if (tar.tocDigest !== digest) {
    throw new SnapshotterError('TOC_INVALID', `${what}: the tar of ${source.what} holds another (${tar.tocDigest ?? 'none'})`)
  }
  const difference = firstDifference({
    toc: index,
    tar: tar.frozen.index,
    compareContents: (tocInode, tarInode) => contentDifference(index, tocInode, prover, tar.frozen.nodes[tarInode])
  })
  if (difference !== null) throw new SnapshotterError('TOC_INVALID', `${what} differs from its tar at ${difference}`)
}

interface WholeTar {
  /** Each file's node has the tar offset of its first byte as dataOffset; NaN when its bytes do not stand together. */
  readonly frozen: Frozen
  readonly tocDigest: Digest | null
}

async function readWholeTar (source: LayerStream, prover: ChunkProver): Promise<WholeTar> {
  const tree = new LayerTree({ origin: { what: source.what, code: 'LAYER_INVALID' }, skip: ESTARGZ_OWN_NAMES })
  let node: TreeNode | null = null
  let toc: DigestStream | null = null
  let tocHash: DigestStream | null = null
  for await (const event of readTar(observed(source, prover), source.what)) {
    if (event.kind === 'entry') {
      node = tree.apply(event.entry)
      toc = isToc(event.entry) ? new DigestStream() : null
      tocHash = toc ?? tocHash
      continue
    }
    toc?.update(event.bytes)
    if (node === null) continue
    const start = event.tarOffset - event.fileOffset
    node.dataOffset = node.dataOffset === -1 || node.dataOffset === start ? start : Number.NaN
  }
  return { frozen: freeze(tree.root, 'tar', 0, source.what), tocDigest: tocHash?.digest() ?? null }
}

async function * observed (source: LayerStream, prover: ChunkProver): AsyncGenerator<Uint8Array> {
  for await (const piece of source.pieces()) {
    prover.add(piece)
    yield piece.bytes
  }
}

function isToc (entry: LayerEntry): boolean {
  return entry.type === 'file' && (entry.path === TOC_NAME || entry.path === `./${TOC_NAME}`)
}

function contentDifference (index: LayerIndex, tocInode: number, prover: ChunkProver, node: TreeNode | undefined): string | null {
  const inode = index.inodes[tocInode]
  if (inode === undefined || node === undefined) return 'there is no such inode'
  for (let position = inode.firstChunk; position < inode.firstChunk + inode.chunkCount; position++) {
    const fileOffset = index.chunks[position]?.fileOffset ?? Number.NaN
    if (prover.tarOffsets[position] !== node.dataOffset + fileOffset) return `its bytes from ${fileOffset} are not where the TOC says`
  }
  return null
}
