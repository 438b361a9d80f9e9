// The content store of this daemon: whatever a resolved image consists of is promised in it, and fetched from the sources
// that the image came from.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { ContentStore } from '../content/content-store.ts'
import { Promises, type ResolvedImage } from '../content/promises.ts'
import type { ImagePlan } from '../image/plan.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import { parseCid } from '../verify/cid.ts'
import type { Sources } from './sources.ts'

export class PromisedContent {
  readonly store: ContentStore
  readonly #promises: Promises
  readonly #sources: Sources

  static async open ({ root, sources, log }: { readonly root: string, readonly sources: Sources, readonly log: Log }): Promise<PromisedContent> {
    const folder = join(root, 'content')
    const fetchFrom = async function * ({ cid, gateways }: { readonly cid: string, readonly gateways: readonly string[] }, size: number, signal: AbortSignal) {
      const file = await sources.again(gateways).openFile(parseCid(cid), { signal })
      yield * file.stream(0, Math.max(size, file.size), { signal })
    }
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const promises = new Promises(join(folder, 'promises.sqlite'), fetchFrom, systemClock)
    try {
      return new PromisedContent(await ContentStore.open({ folder, log, clock: systemClock, virtual: promises }), promises, sources)
    } catch (error) {
      promises.close()
      throw error
    }
  }

  private constructor (store: ContentStore, promises: Promises, sources: Sources) {
    this.store = store
    this.#promises = promises
    this.#sources = sources
  }

  /** Index, manifest, config and layers; `name` is what containerd calls the image, where that is not its reference. */
  promise ({ index, manifest, config, layers, canonical, platform }: ImagePlan, blocks: BlockService, name: string | null = null): void {
    const gateways = this.#sources.namedIn(blocks)
    const documents = [...index === null ? [] : [index], manifest, config]
    this.#promises.add([
      ...documents.map(({ digest, bytes }) => ({ digest, size: bytes.byteLength, from: bytes })),
      ...layers.map(({ digest, size, cid }) => ({ digest, size, from: { cid: cid.toString(), gateways } }))
    ], { reference: canonical, name, manifestDigest: manifest.digest, platform, layers: layers.map(({ digest }) => digest) })
  }

  /** What was resolved here, in this life or an earlier one. */
  images (): ResolvedImage[] {
    return this.#promises.images()
  }

  async close (): Promise<void> {
    await this.store.close()
    this.#promises.close()
  }
}
