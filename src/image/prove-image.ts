// The whole proof of an image: resolves it, has every layer proven, and then reads everything else below the root, so that
// each block matched its CID, each blob of the root its digest, and nothing that was pinned is left unread. How a layer is
// proven is the caller's: that room is this one's neighbour.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { DIRECTORY_ENTRIES_MAX, ROOT_BYTES_MAX } from '../base/limits.ts'
import type { BlockService, UnixfsFile, Waits } from '../ipfs/blocks.ts'
import type { Reference } from '../oci/reference.ts'
import { canonicalReference } from '../oci/spellings.ts'
import { CODE_RAW } from '../verify/cid.ts'
import { type Digest, DigestStream, isDigest } from '../verify/digest.ts'
import { naming } from './context.ts'
import type { ImagePlan, PlannedLayer } from './plan.ts'
import { resolveImage, type ResolveOptions } from './resolver.ts'

export interface LayerFacts {
  /** Bytes of the layer's tar. */
  readonly tarBytes: number
  /** Chunks that were held against their digests; 0 for a plain layer. */
  readonly chunks: number
  readonly lazy: boolean
}

/** Proves layer digest, diffID and, where there is one, the TOC. @throws DIGEST_MISMATCH, DIFFID_MISMATCH, TOC_INVALID … */
export type LayerProver = (layer: PlannedLayer, file: UnixfsFile, waits: Waits) => Promise<LayerFacts>

export interface ImageProof {
  readonly plan: ImagePlan
  readonly layers: ReadonlyArray<PlannedLayer & LayerFacts>
  /** Distinct files below the root that are no layers of this image: documents, other platforms' blobs. */
  readonly otherFiles: number
  readonly directories: number
  /** Bytes of layers, documents and other files that were read and hashed. */
  readonly bytesHashed: number
}

export interface ProveOptions extends ResolveOptions {
  readonly prove: LayerProver
  readonly onResolved?: ((plan: ImagePlan) => void) | undefined
  readonly onLayer?: ((layer: PlannedLayer) => void) | undefined
  readonly onProven?: ((layer: PlannedLayer, facts: LayerFacts) => void) | undefined
  /** Bytes of files that are no layers were hashed: more than before. */
  readonly onOther?: ((bytes: number) => void) | undefined
}

/** @throws what `resolveImage` and `prove` throw, and DIGEST_MISMATCH for a blob whose name lies. */
export async function proveImage (reference: Reference, options: ProveOptions): Promise<ImageProof> {
  const plan = await resolveImage(reference, options)
  options.onResolved?.(plan)
  const proven = new Map<Digest, LayerFacts>()
  const layers: Array<PlannedLayer & LayerFacts> = []
  let layerBytes = 0
  for (const layer of plan.layers) {
    const known = proven.get(layer.digest)
    const facts = known ?? await proveLayerOf(plan, layer, options)
    if (known === undefined) layerBytes += layer.size
    proven.set(layer.digest, facts)
    layers.push({ ...layer, ...facts })
  }
  const rest = new RestOfRoot(options, canonicalReference(plan.rootCid, null))
  for (const { cid, digest } of plan.layers) rest.known(cid, digest)
  const isDirectory = await rest.readDirectory(plan.rootCid, '')
  const bytesHashed = layerBytes + (isDirectory ? rest.bytes : documentBytes(plan))
  return { plan, layers, otherFiles: rest.files, directories: rest.directories, bytesHashed }
}

async function proveLayerOf (plan: ImagePlan, layer: PlannedLayer, options: ProveOptions): Promise<LayerFacts> {
  const { blocks, signal } = options
  const what = `layer ${layer.digest} of ${canonicalReference(plan.rootCid, null)}`
  return await naming(what, (async () => {
    const file = await blocks.openFile(layer.cid, { signal })
    if (file.size !== layer.size) {
      throw new SnapshotterError('DIGEST_MISMATCH',
        `${what}: the manifest says ${layer.size} bytes, the file ${layer.cid.toString()} has ${file.size}`)
    }
    options.onLayer?.(layer)
    const facts = await options.prove(layer, file, { signal })
    options.onProven?.(layer, facts)
    return facts
  })())
}

function documentBytes ({ index, manifest, config }: ImagePlan): number {
  return [index, manifest, config].reduce((sum, document) => sum + (document?.bytes.byteLength ?? 0), 0)
}

/** Reads every file below a root once; files in a blobs directory must have the digest that they are called by. */
class RestOfRoot {
  readonly #blocks: BlockService
  readonly #waits: Waits
  readonly #onBytes: (bytes: number) => void
  readonly #root: string
  /** CID → digest of the files that were read already. */
  readonly #read = new Map<string, Digest>()
  #entries = 0
  files = 0
  directories = 0
  bytes = 0

  constructor ({ blocks, signal, onOther = () => {} }: ProveOptions, root: string) {
    this.#blocks = blocks
    this.#waits = { signal }
    this.#onBytes = onOther
    this.#root = root
  }

  known (cid: CID, digest: Digest): void {
    this.#read.set(cid.toString(), digest)
  }

  /** False when the CID is no directory. */
  async readDirectory (cid: CID, path: string): Promise<boolean> {
    const entries = cid.code === CODE_RAW ? null : await naming(`${this.#root}${path}`, this.#blocks.listDirectory(cid, this.#waits))
    if (entries === null) return false
    this.directories++
    for (const entry of entries) await this.#readEntry(entry.cid, `${path}/${entry.name}`)
    return true
  }

  async #readEntry (cid: CID, path: string): Promise<void> {
    if (++this.#entries > DIRECTORY_ENTRIES_MAX) throw this.#tooMany()
    const named = digestNamedBy(path)
    const got = await this.#digestOf(cid, path)
    if (named !== null && named !== got) {
      throw new SnapshotterError('DIGEST_MISMATCH', `${this.#root}${path}: want ${named}, got ${got ?? 'a directory'}`,
        { want: named, got })
    }
  }

  /** Null for a directory, whose entries were read by then. */
  async #digestOf (cid: CID, path: string): Promise<Digest | null> {
    const known = this.#read.get(cid.toString())
    if (known !== undefined) return known
    if (await this.readDirectory(cid, path)) return null
    this.files++
    const digest = await naming(`${this.#root}${path}`, this.#hashFile(cid))
    this.#read.set(cid.toString(), digest)
    return digest
  }

  async #hashFile (cid: CID): Promise<Digest> {
    const file = await this.#blocks.openFile(cid, this.#waits)
    // A few blocks, linked again and again, may say that they are an exabyte.
    if (this.bytes + file.size > ROOT_BYTES_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `with ${file.size} bytes more the root has over ${ROOT_BYTES_MAX} bytes beside the image's layers`)
    }
    const hash = new DigestStream()
    for await (const piece of file.stream(0, file.size, this.#waits)) {
      hash.update(piece)
      this.#onBytes(piece.byteLength)
    }
    this.bytes += hash.bytes
    return hash.digest()
  }

  #tooMany (): SnapshotterError {
    return new SnapshotterError('LIMIT_EXCEEDED', `${this.#root} has more than ${DIRECTORY_ENTRIES_MAX} files and directories`)
  }
}

/** `/blobs/sha256/<hex>` of a layout, `/blobs/sha256:<hex>` and `/manifests/sha256:<hex>` of IPDR. */
function digestNamedBy (path: string): Digest | null {
  const match = /^\/(?:blobs\/sha256\/|(?:blobs|manifests)\/sha256:)(.+)$/.exec(path)
  const text = `sha256:${match?.[1] ?? ''}`
  return isDigest(text) ? text : null
}
