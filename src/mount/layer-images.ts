// EROFS metadata images of layers that are about to be mounted, made while containerd is still being filled. An image depends
// on the layers below only where its layer has directories that its tar does not name.
import type { OpenedLayer } from '../cache/layer-opener.ts'
import { buildErofs, type ErofsOptions } from '../erofs/build-erofs.ts'
import { layoutData } from '../layer/data-layout.ts'
import { resolveImplied } from '../layer/implied.ts'
import type { LayerIndex } from '../layer/layer-index.ts'
import { hasImplied } from '../layer/packed-index.ts'
import { digestBytes } from '../verify/digest.ts'
import { type ImageForm, imageOptions } from './driver.ts'

/** `lowers`: nearest first. */
export type ImageBuilder = (index: LayerIndex, lowers: readonly LayerIndex[], options: ErofsOptions) => Promise<Uint8Array>

export interface LayerWithLowers {
  readonly layer: OpenedLayer
  /** Nearest first. */
  readonly lowers: readonly OpenedLayer[]
}

export class LayerImages {
  readonly #build: ImageBuilder
  readonly #early = new Map<string, Promise<Uint8Array>>()

  constructor (build: ImageBuilder = buildHere) {
    this.#build = build
  }

  prepare (layer: LayerWithLowers, form: ImageForm, until: Promise<unknown>): void {
    const key = keyOf(layer, form)
    if (this.#early.has(key)) return
    const image = this.#make(layer, form)
    image.catch(() => {}) // told to whoever takes it
    this.#early.set(key, image)
    const drop = (): void => { if (this.#early.get(key) === image) this.#early.delete(key) }
    until.then(drop, drop)
  }

  /** @throws LAYER_INVALID, LIMIT_EXCEEDED, and what `build` throws */
  async take (layer: LayerWithLowers, form: ImageForm): Promise<Uint8Array> {
    const key = keyOf(layer, form)
    const early = this.#early.get(key)
    this.#early.delete(key)
    return await (early ?? this.#make(layer, form))
  }

  async #make ({ layer, lowers }: LayerWithLowers, form: ImageForm): Promise<Uint8Array> {
    const { digest, index } = layer.record
    return await this.#build(index, lowers.map(({ record }) => record.index), imageOptions(digestBytes(digest), form))
  }
}

function keyOf ({ layer, lowers }: LayerWithLowers, form: ImageForm): string {
  return [form, layer.key, ...hasImplied(layer.record.index) ? lowers.map(({ key }) => key) : []].join(' ')
}

async function buildHere (index: LayerIndex, lowers: readonly LayerIndex[], options: ErofsOptions): Promise<Uint8Array> {
  const resolved = resolveImplied(index, lowers)
  return buildErofs(resolved, layoutData(resolved), options)
}
