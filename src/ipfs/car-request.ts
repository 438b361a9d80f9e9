// The one CAR request that brings a list of wanted blocks: `/ipfs/{root}[/names]` with `dag-scope` and `entity-bytes`.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { keyOf } from './block-key.ts'
import type { WantList } from './block-source.ts'

/** The span of the file that the missing blocks are needed for; `bytes` is 0 outside files. */
export interface CarRange {
  readonly from: number
  readonly bytes: number
}

export function carRange (wants: WantList): CarRange {
  if (wants.target?.scope !== 'range') return { from: 0, bytes: 0 }
  let from = Infinity
  let to = 0
  for (const [, need] of wants.pending()) {
    from = Math.min(from, need.from)
    to = Math.max(to, need.to)
  }
  return to > from ? { from, bytes: to - from } : { from: 0, bytes: 0 }
}

export function carPath ({ target }: WantList, { from, bytes }: CarRange): string {
  if (target === null) throw new SnapshotterError('INTERNAL', 'these blocks have no common root')
  const path = [target.root.toString(), ...target.names.map(encodeURIComponent)].join('/')
  const range = bytes === 0 ? '' : `&entity-bytes=${from}:${from + bytes - 1}`
  return `/ipfs/${path}?format=car&dag-scope=${target.scope === 'block' ? 'block' : 'entity'}${range}`
}

/** The list with one block in it: for gateways that give single blocks only as CARs. */
export function only (cid: CID, wants: WantList): WantList {
  const key = keyOf(cid)
  return {
    target: { root: cid, names: [], scope: 'block' },
    get size () { return wants.wanted(key) === undefined ? 0 : 1 },
    get delivered () { return wants.delivered },
    what: wants.what,
    * pending () { for (const entry of wants.pending()) if (entry[0] === key) yield entry },
    wanted: (other) => other === key ? wants.wanted(key) : undefined,
    accept: (other, bytes) => { wants.accept(other, bytes) },
    begin: () => { wants.begin() }
  }
}

/** One request for all of it saves round trips. */
export function worthCar (wants: WantList): boolean {
  if (wants.size > 1) return true
  for (const [, { deep }] of wants.pending()) return deep
  return false
}
