// An ordinary layer (a tar, perhaps gzipped) becomes a LayerIndex in one streaming pass that also stores its contents.
// Invariant: files get inodes in tar order and their bytes go to `sink` at 4 KiB-aligned places in that same order, so
// that when the pass ends every file stands where data-layout.ts says. Only contents that a later entry replaced leave
// a gap; the files behind it are then moved down, in order. The index exists only when layer digest and diffID matched.
import { createHash, hash } from 'node:crypto'
import { alignUp } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { CHUNK_BYTES_PLAIN, LAYER_CHUNKS_MAX } from '../base/limits.ts'
import { DATA_ALIGNMENT, layoutData } from './data-layout.ts'
import { freeze, type Frozen } from './freeze.ts'
import { isGzip } from './gzip-members.ts'
import type { Chunk, LayerIndex } from './layer-index.ts'
import { type LayerBlob, LayerStream, peek } from './layer-stream.ts'
import { LayerTree } from './layer-tree.ts'
import { checkLayerMediaType } from './media-type.ts'
import { readTar, type Take, type TakenEvent } from './tar-reader.ts'
import type { TreeNode } from './tree-node.ts'
import { UnpackedStream } from './unpacked-stream.ts'
import type { Unpacker } from './unpacking.ts'

const MAGIC_BYTES = 4
const DIGEST_BYTES = 32

/** Where the contents go. Nothing written may be believed, or kept, unless the pass ends well. */
export interface DataSink {
  /** `bytes` belong at `offset` of the layer's data device. They may be reused once the promise resolves. */
  readonly write: (offset: number, bytes: Uint8Array) => Promise<void>
  /** Moves written bytes down (`to` < `from`, the ranges may overlap), after the last write, in ascending order. */
  readonly move: (from: number, to: number, length: number) => Promise<void>
  /** For an Unpacker, that writes by itself what it takes. */
  readonly direct?: DirectSink | undefined
}

export interface DirectSink {
  /** Descriptor of the file in which the device's offsets are the file's. */
  readonly file: number
  /** Has `length` bytes taken to `offset`, or nowhere when there is no room; answers what `take` does. */
  readonly take: (offset: number, length: number, take: Take) => Promise<Uint8Array>
}

export interface PlainLayer extends LayerBlob {
  readonly sink: DataSink
  /** For a gzipped layer, with a sink that is direct; without it all is done here. */
  readonly unpacker?: Unpacker | undefined
}

/** @throws DIGEST_MISMATCH, DIFFID_MISMATCH, LAYER_INVALID, LIMIT_EXCEEDED, MEDIA_TYPE_UNSUPPORTED; then discard the data. */
export async function indexPlainLayer (layer: PlainLayer): Promise<LayerIndex> {
  const source = await sourceOf(layer)
  const tree = new LayerTree({ origin: { what: source.what, code: 'LAYER_INVALID' } })
  const contents = new Contents(layer.sink, source.what)
  const take = source instanceof UnpackedStream ? source.take.bind(source) : undefined
  await source.whole(async () => {
    for await (const event of readTar(source.tar(), source.what, take)) {
      if (event.kind === 'entry') contents.begin(tree.apply(event.entry))
      else if (event.kind === 'data') await contents.add(event.fileOffset, event.tarOffset, event.bytes)
      else await contents.take(event)
    }
    contents.begin(null)
  })
  const frozen = freeze(tree.root, 'tar', 0, source.what)
  await closeGaps(frozen, layer.sink)
  return frozen.index
}

async function sourceOf (layer: PlainLayer): Promise<LayerStream | UnpackedStream> {
  const { unpacker, sink: { direct }, mediaType, digest } = layer
  if (unpacker === undefined || direct === undefined) return new LayerStream(layer)
  checkLayerMediaType(mediaType, `layer ${digest}`)
  const { start, stream } = await peek(piecesOf(layer.stream), MAGIC_BYTES)
  return isGzip(start) ? new UnpackedStream({ ...layer, stream }, unpacker, direct.file) : new LayerStream({ ...layer, stream })
}

async function * piecesOf (stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield * stream
}

async function closeGaps ({ index, nodes }: Frozen, sink: DataSink): Promise<void> {
  const { fileOffsets } = layoutData(index)
  for (const [inode, node] of nodes.entries()) {
    const to = fileOffsets[inode] ?? -1
    if (to < 0 || to === node.dataOffset) continue
    for (const { start, length } of runsOf(node.chunks)) await sink.move(node.dataOffset + start, to + start, length)
  }
}

/** What chunks cover, in as few pieces as may be. A hole stays behind: it may be terabytes, and nobody reads its place. */
function runsOf (chunks: readonly Chunk[]): Array<{ readonly start: number, length: number }> {
  const runs: Array<{ readonly start: number, length: number }> = []
  for (const { fileOffset, size } of chunks) {
    const last = runs.at(-1)
    if (last !== undefined && last.start + last.length === fileOffset) last.length += size
    else runs.push({ start: fileOffset, length: size })
  }
  return runs
}

/** Cuts the current file's content into chunks, hashes them and hands the bytes on. */
class Contents {
  readonly #sink: DataSink
  readonly #what: string
  #node: TreeNode | null = null
  #chunks: Chunk[] = []
  #open: OpenChunk | null = null
  #end = 0
  #count = 0

  constructor (sink: DataSink, what: string) {
    this.#sink = sink
    this.#what = what
  }

  /** Closes the file before and opens `node`'s, which may be null for an entry without content. */
  begin (node: TreeNode | null): void {
    this.#closeChunk()
    if (this.#node !== null && this.#chunks.length > 0) this.#node.chunks = this.#chunks
    this.#chunks = []
    this.#node = node
    if (node === null || node.size === 0) return
    node.dataOffset = this.#end
    this.#end = alignUp(this.#end + node.size, DATA_ALIGNMENT)
  }

  async add (fileOffset: number, tarOffset: number, bytes: Uint8Array): Promise<void> {
    if (this.#node === null) return // an entry of the format's own
    for (let done = 0; done < bytes.byteLength;) {
      const at = fileOffset + done
      if (this.#open !== null && this.#open.fileOffset + this.#open.size !== at) this.#closeChunk()
      const room = CHUNK_BYTES_PLAIN - at % CHUNK_BYTES_PLAIN
      const part = bytes.subarray(done, done + room)
      this.#open ??= new OpenChunk(at, tarOffset + done)
      this.#open.add(part)
      if (part.byteLength === room) this.#closeChunk()
      done += part.byteLength
    }
    await this.#sink.write(this.#node.dataOffset + fileOffset, bytes)
  }

  async take ({ fileOffset, tarOffset, length, take }: TakenEvent): Promise<void> {
    if (this.#node === null) {
      await take(null)
      return
    }
    const { direct } = this.#sink
    if (direct === undefined || this.#open !== null) throw new SnapshotterError('INTERNAL', `${this.#what}: no place for bytes that were taken`)
    const digests = await direct.take(this.#node.dataOffset + fileOffset, length, take)
    for (let done = 0; done < length; done += CHUNK_BYTES_PLAIN) {
      const size = Math.min(CHUNK_BYTES_PLAIN, length - done)
      const digest = new Uint8Array(digests.subarray(this.#digestAt(done), this.#digestAt(done) + DIGEST_BYTES)) // a copy: it is kept, the answer is not
      this.#push({ fileOffset: fileOffset + done, size, digest, offset: tarOffset + done, length: size, innerOffset: 0 })
    }
  }

  #digestAt (offset: number): number {
    return offset / CHUNK_BYTES_PLAIN * DIGEST_BYTES
  }

  #closeChunk (): void {
    if (this.#open === null) return
    this.#push(this.#open.close())
    this.#open = null
  }

  #push (chunk: Chunk): void {
    this.#chunks.push(chunk)
    if (++this.#count > LAYER_CHUNKS_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `${this.#what}: more than ${LAYER_CHUNKS_MAX} chunks`)
    }
  }
}

/** A chunk that grows. It keeps its parts, at most 256 KiB, because the one-shot hash is three times faster for one. */
class OpenChunk {
  readonly fileOffset: number
  readonly #tarOffset: number
  readonly #parts: Uint8Array[] = []
  size = 0

  constructor (fileOffset: number, tarOffset: number) {
    this.fileOffset = fileOffset
    this.#tarOffset = tarOffset
  }

  add (bytes: Uint8Array): void {
    this.size += bytes.byteLength
    this.#parts.push(bytes)
  }

  close (): Chunk {
    const [only] = this.#parts
    const digest = this.#parts.length === 1 && only !== undefined ? hash('sha256', only, 'buffer') : this.#hashParts()
    return { fileOffset: this.fileOffset, size: this.size, digest, offset: this.#tarOffset, length: this.size, innerOffset: 0 }
  }

  #hashParts (): Uint8Array {
    const hasher = createHash('sha256')
    for (const part of this.#parts) hasher.update(part)
    return hasher.digest()
  }
}
