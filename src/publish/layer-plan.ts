// What becomes of a layer's tar: whether a table of contents can express it, and in which order its entries are written.
// Wanted files go first, with their parents and link targets before them; everything else keeps its place. An entry whose
// place matters (a name that occurs twice, or beside its own whiteout) is never moved, so the new tar means the same.
import { show } from '../layer/layer-entry.ts'
import { ESTARGZ_OWN_NAMES, PREFETCH_LANDMARK } from '../layer/toc-index.ts'
import type { ByteSource } from './byte-source.ts'
import type { Item } from './estargz-members.ts'
import { whyNotJson } from './estargz-toc.ts'
import { cleanPath } from './prefetch-list.ts'
import { type PlacedEntry, tarEntries } from './tar-entries.ts'

export interface LayerPlan {
  /** Why the layer must stay plain, or null. */
  readonly plain: string | null
  /** Header offsets of the entries to write first, in order. */
  readonly first: readonly number[]
  /** The tar is an eStargz with a landmark of its own, which stays where it is. */
  readonly keepsLandmark: boolean
  readonly entries: number
}

interface Known {
  readonly headerOffset: number
  readonly type: PlacedEntry['type']
  readonly linkTarget: string
  readonly count: number
}

const WHITEOUT = '.wh.'

/** Reads every header once. `wanted` are cleaned paths; memory is proportional to the entries only when there are any. */
export async function planLayer (tar: ByteSource, wanted: readonly string[]): Promise<LayerPlan> {
  const known = new Map<string, Known>()
  let entries = 0
  let landmark = false
  for await (const entry of tarEntries(tar)) {
    const path = cleanPath(entry.path)
    landmark ||= path === PREFETCH_LANDMARK
    if (ESTARGZ_OWN_NAMES.has(path)) continue
    const reason = whyNotJson(entry)
    if (reason !== null) return { plain: `${show(entry.path)} ${reason}`, first: [], keepsLandmark: false, entries }
    entries++
    if (wanted.length === 0 || entry.type === 'global') continue
    const { headerOffset, type, linkTarget } = entry
    known.set(path, { headerOffset, type, linkTarget, count: (known.get(path)?.count ?? 0) + 1 })
  }
  return { plain: null, first: chooseFirst(known, wanted), keepsLandmark: landmark && wanted.length === 0, entries }
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

function chooseFirst (known: ReadonlyMap<string, Known>, wanted: readonly string[]): number[] {
  const chosen = new Set<number>()
  for (const path of wanted) {
    const needed = withNeeds(known, path)
    if (needed?.every((need) => isMovable(known, need)) !== true) continue
    for (const need of needed) chosen.add(known.get(need)?.headerOffset ?? 0)
  }
  return [...chosen]
}

/** The path, after the directories it is in and the hard link's target: those that the tar names; null when it names none. */
function withNeeds (known: ReadonlyMap<string, Known>, path: string): string[] | null {
  const entry = known.get(path)
  if (entry === undefined) return null
  const target = entry.type === 'hardlink' ? cleanPath(entry.linkTarget) : null
  if (target !== null && known.get(target)?.type !== 'file') return null
  return [...target === null ? [] : [...parentsOf(known, target), target], ...parentsOf(known, path), path]
}

function parentsOf (known: ReadonlyMap<string, Known>, path: string): string[] {
  const parts = path === '' ? [] : path.split('/')
  return parts.map((_, depth) => parts.slice(0, depth).join('/')).filter((parent) => known.has(parent))
}

function isMovable (known: ReadonlyMap<string, Known>, path: string): boolean {
  const slash = path.lastIndexOf('/') + 1
  const whiteout = `${path.slice(0, slash)}${WHITEOUT}${path.slice(slash)}`
  const entry = known.get(path)
  return entry?.count === 1 && !path.slice(slash).startsWith(WHITEOUT) && !known.has(whiteout)
}
