// What becomes of a layer's tar: whether a table of contents can express it, and in which order its entries are written:
// wanted files first, everything else in its place.
import { show } from '../layer/layer-entry.ts'
import { ESTARGZ_OWN_NAMES, PREFETCH_LANDMARK } from '../layer/toc-index.ts'
import type { ByteSource } from './byte-source.ts'
import type { Item } from './estargz-members.ts'
import { whyNotJson } from './estargz-toc.ts'
import { FirstChoice } from './first-choice.ts'
import { cleanPath } from './prefetch-list.ts'
import { tarEntries } from './tar-entries.ts'

export interface LayerPlan {
  /** Why the layer must stay plain, or null. */
  readonly plain: string | null
  /** Header offsets of the entries to write first, in order. */
  readonly first: readonly number[]
  /** The tar is an eStargz with a landmark of its own, which stays where it is. */
  readonly keepsLandmark: boolean
  readonly entries: number
}

/** Reads every header once. `wanted` are cleaned paths; memory is proportional to the entries only when there are any. */
export async function planLayer (tar: ByteSource, wanted: readonly string[]): Promise<LayerPlan> {
  const choice = new FirstChoice()
  let entries = 0
  let landmark = false
  for await (const entry of tarEntries(tar)) {
    const path = cleanPath(entry.path)
    landmark ||= path === PREFETCH_LANDMARK
    if (ESTARGZ_OWN_NAMES.has(path)) continue
    const reason = whyNotJson(entry)
    if (reason !== null) return { plain: `${show(entry.path)} ${reason}`, first: [], keepsLandmark: false, entries }
    entries++
    if (wanted.length > 0 && entry.type !== 'global') choice.see(path, entry)
  }
  return { plain: null, first: choice.choose(wanted), keepsLandmark: landmark && wanted.length === 0, entries }
}

/** The new tar, item by item. */
export async function * planItems (tar: ByteSource, plan: LayerPlan): AsyncGenerator<Item, void, undefined> {
  if (plan.first.length === 0 && !plan.keepsLandmark) yield 'no-landmark'
  for (const offset of plan.first) {
    for await (const entry of tarEntries(tar, offset)) {
      yield entry
      break
    }
  }
  if (plan.first.length > 0) yield 'landmark'
  const done = new Set(plan.first)
  for await (const entry of tarEntries(tar)) {
    const path = cleanPath(entry.path)
    if (path === PREFETCH_LANDMARK && plan.keepsLandmark) yield 'landmark'
    if (!ESTARGZ_OWN_NAMES.has(path) && !done.has(entry.headerOffset)) yield entry
  }
}
