// What is done over a layer's metadata off the JavaScript thread: a verified TOC becomes an index, an index becomes an EROFS
// metadata image. This is the entry of the threads that LayerThreads starts.
import { serveTasks, type TaskResult } from '../base/thread-tasks.ts'
import { resolveImplied } from '../layer/implied.ts'
import { decodeIndex } from '../layer/index-codec.ts'
import { layoutData } from '../layer/data-layout.ts'
import { packIndex } from '../layer/packed-index.ts'
import { indexToc } from '../layer/toc-index.ts'
import { type Digest, digestOf } from '../verify/digest.ts'
import { buildErofs, type ErofsOptions } from './build-erofs.ts'
import { practiceToc } from './warm-up.ts'

export interface TocTask {
  readonly kind: 'toc'
  /** Matched its digest. */
  readonly json: Uint8Array
  readonly tocOffset: number
  readonly tocDigest: Digest
}

export interface ImageTask {
  readonly kind: 'image'
  /** Of encodeIndex. */
  readonly record: Uint8Array
  /** Nearest first; only of an index with implied directories. */
  readonly lowers: readonly Uint8Array[]
  readonly options: ErofsOptions
}

export interface WarmTask { readonly kind: 'warm' }

export type LayerTask = TocTask | ImageTask | WarmTask

serveTasks((task) => doLayerTask(task as LayerTask)) // our own main thread

/** @throws TOC_INVALID, LAYER_INVALID, LIMIT_EXCEEDED */
function doLayerTask (task: LayerTask): TaskResult {
  switch (task.kind) {
    case 'toc': {
      const result = packIndex(indexToc(task.json, task.tocOffset, task.tocDigest))
      return { result, transfer: [result.layout.fileOffsets, result.record, result.table, result.origins].map(({ buffer }) => buffer as ArrayBuffer) }
    }
    case 'image': {
      const result = buildImage(task)
      return { result, transfer: [result.buffer as ArrayBuffer] }
    }
    case 'warm':
      practise()
      return { result: null, transfer: [] }
  }
}

function practise (): void {
  const { json, tocOffset } = practiceToc()
  const { record } = packIndex(indexToc(json, tocOffset, digestOf(json)))
  buildImage({ record, lowers: [], options: { form: 'two-devices', uuid: new Uint8Array(16) } })
}

function buildImage ({ record, lowers, options }: Omit<ImageTask, 'kind'>): Uint8Array {
  const index = resolveImplied(decodeIndex(record), lowers.map((lower) => decodeIndex(lower)))
  return buildErofs(index, layoutData(index), options)
}
