// Opens a layer: from our sealed record when there is one, else from its eStargz TOC (a few reads), else by one verified
// pass over the whole blob that leaves its file data in the cache. Several callers of one layer share the work.
import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import { SnapshotterError } from '../base/errors.ts'
import { PLAIN_PASSES_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'
import { SingleFlight } from '../base/single-flight.ts'
import type { BlockService, Waits } from '../ipfs/blocks.ts'
import type { PlannedLayer } from '../image/plan.ts'
import { layoutData } from '../layer/data-layout.ts'
import { openEstargz, tocDigestOf } from '../layer/estargz.ts'
import type { DataLayout, LayerIndex } from '../layer/layer-index.ts'
import { indexPlainLayer } from '../layer/plain-layer.ts'
import { DataFile } from './data-file.ts'
import { type LayerIdentity, layerKey, type LayerRecord, type LayerStore } from './layer-store.ts'

export interface OpenedLayer {
  readonly key: string
  readonly record: LayerRecord
  readonly layout: DataLayout
  /** Where the data plane keeps the layer's bytes. */
  readonly cacheFolder: string
}

export class LayerOpener {
  readonly #store: LayerStore
  readonly #log: Log
  readonly #flights = new SingleFlight<OpenedLayer>()
  readonly #passes = new Semaphore(PLAIN_PASSES_MAX)

  constructor (options: { readonly store: LayerStore, readonly log: Log }) {
    this.#store = options.store
    this.#log = options.log
  }

  /** @throws what the sources, the formats and the digests say; the cache then holds nothing of the layer. */
  async open (layer: PlannedLayer, blocks: BlockService, waits: Waits = {}): Promise<OpenedLayer> {
    const key = layerKey(identityOf(layer))
    return await this.#flights.run(key, async () => await this.reopen(key) ?? await this.#openNew(layer, blocks, waits))
  }

  /** From the record alone, without network; null when there is none that we believe. */
  async reopen (key: string): Promise<OpenedLayer | null> {
    const record = await this.#store.load(key)
    return record === null ? null : { key, record, layout: layoutData(record.index), cacheFolder: this.#store.folderOf(key) }
  }

  async #openNew (layer: PlannedLayer, blocks: BlockService, waits: Waits): Promise<OpenedLayer> {
    const identity = identityOf(layer)
    const file = await blocks.openFile(layer.cid, waits)
    if (file.size !== layer.size) {
      throw new SnapshotterError('DIGEST_MISMATCH', `layer ${layer.digest}: ${layer.cid.toString()} has ${file.size} bytes, the manifest says ${layer.size}`)
    }
    const index = identity.tocDigest === null
      ? await this.#passes.run(async () => await this.#readWhole(layer, file.stream(0, file.size, waits), waits), waits)
      : await openEstargz(file, file.size, identity.tocDigest, waits)
    const record: LayerRecord = { ...identity, size: layer.size, mediaType: layer.mediaType, index }
    const key = await this.#store.save(record)
    this.#log.info({ layer: layer.digest, format: index.format, inodes: index.inodes.length, chunks: index.chunks.length }, 'layer opened')
    return { key, record, layout: layoutData(index), cacheFolder: this.#store.folderOf(key) }
  }

  async #readWhole (layer: PlannedLayer, stream: Parameters<typeof indexPlainLayer>[0]['stream'], waits: Waits): Promise<LayerIndex> {
    const folder = this.#store.folderOf(layerKey(identityOf(layer)))
    const temporary = `${folder}.new-${randomBytes(6).toString('hex')}`
    await mkdir(temporary, { recursive: true, mode: 0o700 })
    const data = await DataFile.create(temporary)
    try {
      const index = await indexPlainLayer({ ...layer, stream, sink: data, signal: waits.signal })
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

/** @throws MEDIA_TYPE_UNSUPPORTED, TOC_INVALID for a layer that we cannot open at all. */
export function identityOf (layer: PlannedLayer): LayerIdentity {
  return { cid: layer.cid, digest: layer.digest, diffId: layer.diffId, tocDigest: tocDigestOf(layer) }
}
