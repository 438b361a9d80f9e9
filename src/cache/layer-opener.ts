// Opens a layer: from our sealed record when there is one, else from its eStargz TOC (a few reads), else by one verified
// pass over the whole blob that leaves its file data in the cache. Several callers of one layer share the work, which stops
// when the last of them leaves.
import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import { sleep } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { EARLY_LEAF_BYTES, PLAIN_PASSES_MAX, UNPACK_BYTES_MIN } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'
import { SharedFlight } from '../base/shared-flight.ts'
import type { BlockService, UnixfsFile, Waits } from '../ipfs/blocks.ts'
import type { PlannedLayer } from '../image/plan.ts'
import { layoutData } from '../layer/data-layout.ts'
import { glimpseLandmark, indexHere, readToc, tailOf, type Toc, tocDigestOf } from '../layer/estargz.ts'
import type { DataLayout, LayerIndex } from '../layer/layer-index.ts'
import { inodeCount, layoutOf } from '../layer/packed-index.ts'
import { indexPlainLayer } from '../layer/plain-layer.ts'
import type { Unpacker } from '../layer/unpacking.ts'
import type { Digest } from '../verify/digest.ts'
import { DataFile, type Room } from './data-file.ts'
import { type LayerIdentity, layerKey, type LayerRecord, type LayerStore } from './layer-store.ts'

export interface OpenedLayer {
  readonly key: string
  readonly record: LayerRecord
  readonly layout: DataLayout
  /** Where the data plane keeps the layer's bytes. */
  readonly cacheFolder: string
  /** Ends when the layer survives restarts and power loss. */
  readonly saved: Promise<void>
}

export type TocIndexer = (toc: Toc, signal?: AbortSignal) => Promise<LayerIndex>

interface OpenerOptions {
  readonly store: LayerStore
  readonly log: Log
  /** See DataFile. */
  readonly room?: Room | undefined
  /** On this thread unless given. */
  readonly indexToc?: TocIndexer
  /** Of large plain layers; on this thread unless given. */
  readonly unpacker?: Unpacker
}

export class LayerOpener {
  readonly #store: LayerStore
  readonly #log: Log
  readonly #flights = new SharedFlight<OpenedLayer>()
  readonly #passes = new Semaphore(PLAIN_PASSES_MAX)
  readonly #room: Room | undefined
  readonly #indexToc: TocIndexer
  readonly #unpacker: Unpacker | undefined
  /** Opened layers whose record is not on the disk yet. */
  readonly #unsaved = new Map<string, OpenedLayer>()
  /** Bytes that were asked for before their TOC was parsed. */
  #early = 0

  constructor (options: OpenerOptions) {
    this.#store = options.store
    this.#log = options.log
    this.#room = options.room
    this.#indexToc = options.indexToc ?? indexHere
    this.#unpacker = options.unpacker
  }

  /** @throws what the sources, the formats and the digests say; the cache then holds nothing of the layer. */
  async open (layer: PlannedLayer, blocks: BlockService, waits: Waits = {}): Promise<OpenedLayer> {
    const key = layerKey(identityOf(layer))
    return await this.#flights.run(key, async (signal) =>
      this.#unsaved.get(key) ?? await this.reopen(key) ?? await this.#openNew(layer, blocks, { ...waits, signal }), waits.signal)
  }

  /** From the record alone, without network; null when there is none that we believe. */
  async reopen (key: string): Promise<OpenedLayer | null> {
    const record = await this.#store.load(key)
    return record === null ? null : { key, record, layout: layoutOf(record.index), cacheFolder: this.#store.folderOf(key), saved: Promise.resolve() }
  }

  async #openNew (layer: PlannedLayer, blocks: BlockService, waits: Waits): Promise<OpenedLayer> {
    const identity = identityOf(layer)
    // The tail's place is known from the size that the manifest states: it comes with the file's root, in one round trip.
    const ahead = identity.tocDigest === null ? [] : [{ from: tailOf(layer.size), to: layer.size }]
    const file = await blocks.openFile(layer.cid, waits, ahead)
    if (file.size !== layer.size) {
      throw new SnapshotterError('DIGEST_MISMATCH', `layer ${layer.digest}: ${layer.cid.toString()} has ${file.size} bytes, the manifest says ${layer.size}`)
    }
    const index = identity.tocDigest === null
      ? await this.#passes.run(async () => await this.#readWhole(layer, file.stream(0, file.size, waits), waits), waits)
      : await this.#readIndex(file, identity.tocDigest, waits)
    this.#log.info({ layer: layer.digest, format: index.format, inodes: inodeCount(index) }, 'layer opened')
    const record: LayerRecord = { ...identity, size: layer.size, mediaType: layer.mediaType, index }
    const key = layerKey(identity)
    const saved = this.#save(record)
    const opened = { key, record, layout: layoutOf(index), cacheFolder: this.#store.folderOf(key), saved }
    this.#unsaved.set(key, opened)
    saved.finally(() => this.#unsaved.delete(key)).catch(() => {}) // told to whoever needs the record
    return opened
  }

  async #save (record: LayerRecord): Promise<void> {
    await sleep(0) // encoding keeps this thread busy: first let requests go out
    await this.#store.save(record)
  }

  /** What the publisher marked as needed first is asked for before the TOC is parsed: its blocks wait in memory. */
  async #readIndex (file: UnixfsFile, tocDigest: Digest, waits: Waits): Promise<LayerIndex> {
    const failed = new AbortController()
    const signal = AbortSignal.any([failed.signal, ...waits.signal === undefined ? [] : [waits.signal]])
    let taken = 0
    try {
      const toc = await readToc(file, file.size, tocDigest, waits)
      taken = Math.min(glimpseLandmark(toc), EARLY_LEAF_BYTES - this.#early)
      if (taken > 0) {
        this.#early += taken
        void drain(file.stream(0, taken, { signal, keep: true }))
      }
      return await this.#indexToc(toc, waits.signal)
    } catch (error) {
      failed.abort()
      throw error
    } finally {
      this.#early -= taken
    }
  }

  async #readWhole (layer: PlannedLayer, stream: Parameters<typeof indexPlainLayer>[0]['stream'], waits: Waits): Promise<LayerIndex> {
    const folder = this.#store.folderOf(layerKey(identityOf(layer)))
    const temporary = `${folder}.new-${randomBytes(6).toString('hex')}`
    await mkdir(temporary, { recursive: true, mode: 0o700 })
    const data = await DataFile.create(temporary, this.#room)
    const unpacker = layer.size < UNPACK_BYTES_MIN ? undefined : this.#unpacker
    try {
      const index = await indexPlainLayer({ ...layer, stream, sink: data, unpacker, signal: waits.signal })
      await data.finish(index, layoutData(index))
      await rm(folder, { recursive: true, force: true })
      await rename(temporary, folder)
      return index
    } catch (error) {
      await data.close()
      await rm(temporary, { recursive: true, force: true })
      throw error
    }
  }
}

/** To the end or to the first failure, which whoever wants these bytes will meet again. */
async function drain (stream: AsyncIterable<unknown>): Promise<void> {
  const pieces = stream[Symbol.asyncIterator]()
  const next = async (): Promise<void> => { if ((await pieces.next()).done !== true) await next() }
  await next().catch(() => {})
}

/** @throws MEDIA_TYPE_UNSUPPORTED, TOC_INVALID for a layer that we cannot open at all. */
export function identityOf (layer: PlannedLayer): LayerIdentity {
  return { cid: layer.cid, digest: layer.digest, diffId: layer.diffId, tocDigest: tocDigestOf(layer) }
}
