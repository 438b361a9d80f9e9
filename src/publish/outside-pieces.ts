// What a node needs of a published image to start it, as single blocks with the names that people know them by: both roots,
// the layout's directories and documents, and of each layer its inner nodes, its table of contents and some leaves by chance.
// Read out of the CAR, so that nobody outside is asked what is there to be asked for.
import { randomInt } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { OUTSIDE_LEAVES } from '../base/limits.ts'
import type { ImagePlan, PlannedLayer } from '../image/plan.ts'
import { resolveImage } from '../image/resolver.ts'
import type { BlockService, Waits } from '../ipfs/blocks.ts'
import { directoryShards } from '../ipfs/directory.ts'
import { decodeFileNode } from '../ipfs/unixfs-node.ts'
import { FOOTER_BYTES, parseFooter } from '../layer/estargz-footer.ts'
import { tocDigestOf } from '../layer/estargz.ts'
import { compressionOf } from '../oci/media-types.ts'
import { parseReference } from '../oci/reference.ts'
import { CODE_RAW } from '../verify/cid.ts'
import type { Digest } from '../verify/digest.ts'
import type { Published } from './publish.ts'

export interface Piece {
  readonly cid: CID
  /** `config sha256:…`, `layer sha256:…, bytes 0 to 262144`. */
  readonly of: string
  /** Of the block. */
  readonly bytes: number
  /** Where it stands in a file of several blocks: a gateway may find it through that file's root only. */
  readonly part: { readonly file: CID, readonly from: number, readonly to: number } | null
}

export interface PiecesOptions {
  /** Every block, also of other platforms and files. */
  readonly all: boolean
  readonly signal?: AbortSignal | undefined
  /** Below `most`, for the choice of leaves; default chance. */
  readonly pick?: ((most: number) => number) | undefined
}

type PublishedRoots = Pick<Published, 'cid' | 'nerdctlCid' | 'reference'> & { readonly images: ReadonlyArray<{ readonly platform: string }> }

/** `blocks` has all of the image. In an order in which a reader needs them, each block once. @throws what reading it throws */
export async function outsidePieces (published: PublishedRoots, blocks: BlockService, options: PiecesOptions): Promise<Piece[]> {
  const pieces = new Pieces(blocks, options)
  const files = new Map<Digest, NamedFile>()
  for (const { platform } of published.images) {
    for (const file of filesOf(await resolveImage(parseReference(published.reference), { blocks, platform, signal: options.signal }))) {
      if (!files.has(file.digest)) files.set(file.digest, file)
    }
  }
  await pieces.directory(parseReference(published.cid).cid, '', files)
  if (published.nerdctlCid !== null) await pieces.file(parseReference(published.nerdctlCid).cid, 'root for nerdctl', null)
  return [...pieces.found.values()]
}

interface NamedFile { readonly digest: Digest, readonly of: string, readonly layer: PlannedLayer | null }

function filesOf ({ index, manifest, config, layers }: ImagePlan): NamedFile[] {
  const named = (of: string, { digest }: { readonly digest: Digest }): NamedFile => ({ digest, of: `${of} ${digest}`, layer: null })
  return [
    ...index === null ? [] : [named('index', index)], named('manifest', manifest), named('config', config),
    ...layers.map((layer) => ({ digest: layer.digest, of: `layer ${layer.digest}`, layer }))
  ]
}

interface Leaf { readonly cid: CID, readonly from: number, readonly to: number, readonly bytes: number }

class Pieces {
  readonly found = new Map<string, Piece>()
  readonly #blocks: BlockService
  readonly #waits: Waits
  readonly #all: boolean
  readonly #pick: (most: number) => number

  constructor (blocks: BlockService, { all, signal, pick = randomInt }: PiecesOptions) {
    this.#blocks = blocks
    this.#waits = { signal }
    this.#all = all
    this.#pick = pick
  }

  /** The directory's own blocks, and of what it holds: named files, the layout's own, and with `all` the rest. */
  async directory (cid: CID, path: string, files: ReadonlyMap<Digest, NamedFile>): Promise<void> {
    const entries = await this.#blocks.listDirectory(cid, this.#waits)
    if (entries === null) throw new SnapshotterError('NOT_OCI', `${cid.toString()} is no directory`)
    await this.#directoryBlocks(cid, path === '' ? 'root' : `directory ${path.slice(1)}`)
    for (const { name, cid } of entries) {
      const below = `${path}/${name}`
      const file = files.get(`sha256:${name}` as Digest)
      if (below === '/blobs' || below === '/blobs/sha256') await this.directory(cid, below, files)
      else if (file !== undefined) await this.file(cid, file.of, file.layer)
      else if (this.#all || path === '') await this.file(cid, below.slice(1), null)
    }
  }

  async #directoryBlocks (cid: CID, of: string): Promise<void> {
    const bytes = await this.#blocks.get(cid, this.#waits)
    this.#add(cid, of, bytes.byteLength)
    for (const shard of directoryShards(cid, bytes)) await this.#directoryBlocks(shard, of)
  }

  /** All blocks; of a layer the nodes, the table of contents and some leaves, unless all are wanted. */
  async file (cid: CID, of: string, layer: PlannedLayer | null): Promise<void> {
    const leaves: Leaf[] = []
    await this.#tree(cid, 0, null, of, leaves)
    const [only] = leaves
    if (only !== undefined && only.cid.equals(cid)) return this.#add(cid, of, only.bytes)
    const add = ({ cid: leaf, from, to, bytes }: Leaf, name = `${of}, bytes ${from} to ${to}`): void => {
      this.#add(leaf, name, bytes, { file: cid, from, to })
    }
    if (layer === null || this.#all) {
      for (const leaf of leaves) add(leaf)
      return
    }
    const tocOffset = await this.#tocOffset(layer)
    const others = leaves.filter(({ to }) => to <= tocOffset)
    for (const leaf of leaves.slice(others.length)) add(leaf, `${of}, table of contents`)
    for (const leaf of this.#some(others)) add(leaf)
  }

  /** Adds the nodes; collects the leaves in order. `to` is what the parent says. */
  async #tree (cid: CID, from: number, to: number | null, of: string, leaves: Leaf[]): Promise<void> {
    if (cid.code === CODE_RAW && to !== null) return void leaves.push({ cid, from, to, bytes: to - from })
    const bytes = await this.#blocks.get(cid, this.#waits)
    const node = decodeFileNode(cid, bytes)
    if (node.children === 0) return void leaves.push({ cid, from, to: from + node.size, bytes: bytes.byteLength })
    this.#add(cid, `${of}, node`, bytes.byteLength)
    for (let child = 0; child < node.children; child++) {
      await this.#tree(node.cid(child), from + (node.starts[child] ?? 0), from + (node.starts[child + 1] ?? 0), of, leaves)
    }
  }

  /** Where the table of contents of a lazy layer begins; of a plain one its end. */
  async #tocOffset (layer: PlannedLayer): Promise<number> {
    if (compressionOf(layer.mediaType, layer.digest) === 'zstd' || tocDigestOf(layer) === null) return layer.size
    const file = await this.#blocks.openFile(layer.cid, this.#waits)
    return parseFooter(await file.read(layer.size - FOOTER_BYTES, FOOTER_BYTES, this.#waits))?.tocOffset ?? layer.size
  }

  #some (leaves: readonly Leaf[]): Leaf[] {
    const left = [...leaves]
    const chosen: Leaf[] = []
    while (chosen.length < OUTSIDE_LEAVES && left.length > 0) chosen.push(...left.splice(this.#pick(left.length), 1))
    return chosen.sort((one, other) => one.from - other.from)
  }

  #add (cid: CID, of: string, bytes: number, part: Piece['part'] = null): void {
    const key = cid.toString()
    if (!this.found.has(key)) this.found.set(key, { cid, of, bytes, part })
  }
}
